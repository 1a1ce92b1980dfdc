"""Data sets that are folders of images and masks."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import gin
import numpy as np
import pytest
from PIL import Image

from load_tf.data.colours import qualitative_palette
from load_tf.data.dataset import groups_of
from load_tf.data.folder import folder
from load_tf.data.groups import Group, Groups
from load_tf.errors import UserError

pytestmark = pytest.mark.portable

Maker = Callable[..., Path]
NAMES = ("sky", "tree", "road")


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Makes a folder with images and masks of the ids, and the text files given."""

    def make(ids: list[str], **files: str) -> Path:
        (tmp_path / "classes.txt").write_text("\n".join(NAMES))
        for number, id_ in enumerate(ids):
            random = np.random.default_rng(number)
            for kind, array in (
                ("images", random.integers(0, 256, (6, 8, 3), dtype=np.uint8)),
                ("masks", random.integers(0, 3, (6, 8), dtype=np.uint8)),
            ):
                path = tmp_path / kind / f"{id_}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
        for name, text in files.items():
            (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
        return tmp_path

    return make


def test_camvid(shared: Path) -> None:
    dataset = folder(str(shared / "data/camvid"))
    assert dataset.name == "camvid"
    assert dataset.class_names[:3] == ("sky", "building", "pole") and dataset.num_classes == 11
    assert (len(dataset.split("train")), len(dataset.split("validation"))) == (367, 101)
    example = dataset.split("validation")[0]
    assert example.id == "0016E5_07959"
    assert example.image.shape == (180, 240, 3)
    stored = np.asarray(Image.open(shared / "data/camvid/masks/0016E5_07959.png"))
    np.testing.assert_array_equal(example.label, stored)
    assert set(np.unique(stored)) <= {*range(11), 255} and 255 in stored


def test_lists_give_the_splits_in_their_order(make: Maker) -> None:
    root = make(["a", "b", "c", "sub/d"], train="c\na.png\n\n", val="sub/d\n", test="b")
    dataset = folder(str(root))
    assert {name: dataset.split(name).ids for name in dataset.sources} == {
        "train": ("c", "a"),
        "validation": ("sub/d",),
        "test": ("b",),
    }
    np.testing.assert_array_equal(
        dataset.split("train")[1].image, np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    )


def test_without_lists_a_keyed_draw_divides_the_images(make: Maker) -> None:
    ids = [f"i{number}" for number in range(10)]
    root = make(ids)
    first = folder(str(root), validation_fraction=0.3)
    train, validation = first.split("train").ids, first.split("validation").ids
    assert len(validation) == 3 and sorted(train + validation) == ids
    assert folder(str(root), validation_fraction=0.3).split("train").ids == train
    assert any(folder(str(root), validation_fraction=0.3, seed=s).split("train").ids != train for s in (1, 2))
    assert "test" not in first.sources


def test_a_draw_keeps_groups_whole(make: Maker) -> None:
    ids = [f"{name}_{number}" for name in "abcde" for number in range(4)]
    root = make(ids)
    for groups, whole in (
        (Groups("^(.)"), {identity: Group(identity[0]) for identity in ids}),
        # Of all images: blocks of the drawn ones alone would be others.
        (Groups(block=3), {identity: Group("", place // 3) for place, identity in enumerate(ids)}),
    ):
        dataset = folder(str(root), validation_fraction=0.4, groups=groups)
        found = {name: dataset.split(name) for name in ("train", "validation")}
        of = {name: dict(zip(split.ids, groups_of(split), strict=True)) for name, split in found.items()}
        assert of["train"] | of["validation"] == whole and len(of["train"]) + len(of["validation"]) == 20
        assert set(of["train"].values()).isdisjoint(of["validation"].values())
        assert len(of["validation"]) in (8, 9) and len(set(of["validation"].values())) > 1
        assert found["validation"][0].id == found["validation"].ids[0]
    # Negative control: without groups the draw divides some.
    plain = folder(str(root), validation_fraction=0.4)
    assert {i[0] for i in plain.split("train").ids} & {i[0] for i in plain.split("validation").ids}


def test_lists_are_taken_as_they_are_whatever_the_groups(make: Maker) -> None:
    root = make(["a_1", "a_2", "b_1", "b_2"], train="a_1\nb_2", val="b_1\na_2")
    dataset = folder(str(root), groups=Groups("^(.)", block=1))
    assert groups_of(dataset.split("train")) == (Group("a", 0), Group("b", 0))
    assert groups_of(dataset.split("validation")) == (Group("b", 0), Group("a", 0))
    with pytest.raises(UserError, match=r"does not match 1 of 2 ids: 'b_2'"):
        folder(str(root), groups=Groups("^(a)")).split("train")


def test_splits_are_found_when_opened_not_before(make: Maker) -> None:
    root = make(["a"], train="a")
    dataset = folder(str(root), images="pictures")
    os.rename(root / "images", root / "pictures")
    assert dataset.split("train").ids == ("a",)


def test_non_ascii_names_match_in_any_normal_form(make: Maker) -> None:
    decomposed = unicodedata.normalize("NFD", "Straße é")
    root = make([decomposed], train=unicodedata.normalize("NFC", decomposed), val="b")
    assert folder(str(root)).split("train")[0].id == unicodedata.normalize("NFC", decomposed)


def test_mask_suffix(make: Maker) -> None:
    root = make(["a"], train="a")
    os.rename(root / "masks/a.png", root / "masks/a_L.png")
    assert folder(str(root), mask_suffix="_L").split("train")[0].id == "a"


def test_painted_masks_need_colours(make: Maker) -> None:
    root = make(["a"], train="a")
    expected = folder(str(root)).split("train")[0].label
    colours = np.array([(200, 0, 0), (0, 99, 0), (0, 0, 50)], np.uint8)
    painted = colours[expected]
    painted[0, 0] = (224, 224, 192)
    Image.fromarray(painted).save(root / "masks/a.png")
    with pytest.raises(UserError, match=r"a\.png is an RGB image and no colour table"):
        folder(str(root)).split("train")[0]
    expected = expected.copy()
    expected[0, 0] = 255
    (root / "colours.txt").write_text("200 0 0 sky\n0,99,0\n0 0 50\troad\n")
    dataset = folder(str(root))
    assert dataset.colours == tuple(tuple(colour) for colour in colours.tolist())
    np.testing.assert_array_equal(dataset.split("train")[0].label, expected)
    table = {(200, 0, 0): 2, (0, 99, 0): 255, (0, 0, 50): 0, (224, 224, 192): 1}
    relabelled = folder(str(root), colour_table=table).split("train")[0].label
    np.testing.assert_array_equal(relabelled, np.array([2, 255, 0, *[1] * 253], np.uint8)[expected])


def test_colours_without_any_are_told_apart_at_a_glance(make: Maker) -> None:
    assert folder(str(make(["a"]))).colours == qualitative_palette(3)


@pytest.mark.parametrize(
    "files, message",
    [
        ({"train": "a\nb\na", "val": "c"}, r"train\.txt names 'a' more than once"),
        ({"train": "a", "val": "a\nb"}, r"train\.txt and .*val\.txt both name 'a'"),
        ({"train": " \n", "val": "a"}, r"train\.txt is empty"),
        ({"train": "a\nx\ny", "val": "b"}, r"train\.txt names 2 ids without an image: 'x', 'y'"),
        ({"val": "a"}, "no list of the split 'train'; expected train.txt"),
        ({"train": "../images/a"}, "without an image"),
    ],
)
def test_faulty_lists_are_refused_by_name(make: Maker, files: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        folder(str(make(["a", "b", "c"], **files))).split("train")


def test_images_without_masks_and_masks_without_images(make: Maker) -> None:
    root = make(["a", "b", "c", "d"])
    (root / "masks/b.png").unlink()
    with pytest.raises(UserError, match=r"1 files of .* have no mask: '.*images/b\.png'"):
        folder(str(root)).split("train")
    (root / "train.txt").write_text("a\nb")
    with pytest.raises(UserError, match=r"train\.txt names 1 id without a mask: 'b'"):
        folder(str(root)).split("train")
    (root / "train.txt").unlink()
    (root / "images/b.png").unlink()
    (root / "images/c.png").unlink()
    with pytest.raises(UserError, match=r"1 files of .* have no image: '.*masks/c\.png'"):
        folder(str(root)).split("train")


def test_two_images_of_one_id(make: Maker) -> None:
    root = make(["a", "b"])
    Image.new("RGB", (8, 6)).save(root / "images/a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png have the same id 'a'"):
        folder(str(root)).split("train")


def test_wrong_labels_and_missing_files_are_named_on_access(make: Maker) -> None:
    root = make(["a"], train="a")
    split = folder(str(root)).split("train")
    Image.fromarray(np.full((6, 8), 7, np.uint8)).save(root / "masks/a.png")
    with pytest.raises(UserError, match=r"masks/a\.png holds the label 7 \(48 pixels\); expected 0 to 2"):
        split[0]
    (root / "masks/a.png").unlink()
    with pytest.raises(UserError, match=r"masks/a\.png can't be read: No such file"):
        split[0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"data_dir": "nowhere"}, "nowhere is not a folder"),
        ({"class_names": ["a", "b", "a"]}, "names 'a' more than once"),
        ({"colours": [(0, 0, 0), (1, 1, 1), (0, 0, 300)]}, r"\(0, 0, 300\) is not a colour"),
        ({"colour_table": {(0, 0, 0): 3}}, "the label 3; expected 0 to 2"),
        ({"validation_fraction": 1.5}, "validation_fraction is 1.5"),
        ({"colours": [(0, 0, 0)]}, "3 class names but 1 colours"),
    ],
)
def test_faulty_arguments_are_refused(make: Maker, arguments: dict[str, object], message: str) -> None:
    root = make(["a"])
    with pytest.raises(UserError, match=message):
        folder(**{"data_dir": str(root), **arguments})


def test_faulty_text_files_are_refused(make: Maker) -> None:
    root = make(["a"], colours="0 0 0\n1 1 1\nred 2 2")
    with pytest.raises(UserError, match=r"colours\.txt has a line that does not start with three numbers"):
        folder(str(root))
    (root / "classes.txt").write_bytes(b"caf\xe9\nbar")
    with pytest.raises(UserError, match=r"classes\.txt is not UTF-8 text \(byte 3\)"):
        folder(str(root))
    (root / "classes.txt").unlink()
    with pytest.raises(UserError, match=r"has no classes.txt"):
        folder(str(root))


def test_file_name_that_is_no_unicode(make: Maker) -> None:
    root = make(["a"])
    try:
        (root / "images" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    with pytest.raises(UserError, match=r"xff\.png' is not UTF-8"):
        folder(str(root)).split("train")


def test_configured_by_gin(make: Maker) -> None:
    from load_tf.experiment import registry

    assert registry.DATASETS, "importing it registers all of them"
    root = make(["a", "b"])
    text = "folder.groups = @groups()\ngroups.pattern = '^(.)'\ngroups.block = 10"
    gin.parse_config(f"folder.data_dir = '{root}'\n{text}")
    try:
        assert registry.configured(folder)().groups == Groups("^(.)", block=10)
    finally:
        gin.clear_config()
    with gin.unlock_config():
        gin.parse_config(f"folder.data_dir = '{root}'\nfolder.colour_table = {{(1, 2, 3): 0}}\nfolder.name = 'mine'")
    try:
        assert registry.configured(folder)().name == "mine"
    finally:
        gin.clear_config()
