"""Data sets as they lie on disks: a folder for every split, lists of pairs and of paths."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from load_tf.data.dataset import SegmentationDataset, notes_of
from load_tf.data.folder import folder
from load_tf.data.groups import Groups
from load_tf.data.inspection import Inspection, read_examples
from load_tf.errors import UserError

NAMES = ("sky", "tree", "road")
Put = Callable[..., np.ndarray]


@pytest.fixture(name="put")
def _put(tmp_path: Path) -> Put:
    """Writes an image and a mask of three labels under the folder; returns the labels."""
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))

    def put(image: str, mask: str, number: int = 0) -> np.ndarray:
        random = np.random.default_rng(number)
        pixels = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        labels = random.integers(0, 3, (6, 8), dtype=np.uint8)
        for name, array in ((image, pixels), (mask, labels)):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / name)
        return labels

    return put


def ids(dataset: SegmentationDataset) -> dict[str, tuple[str, ...]]:
    return {name: dataset.split(name).ids for name in dataset.sources}


@pytest.mark.parametrize(
    "image, mask, named",
    [
        ("{}/{}.png", "{}annot/{}.png", {}),
        ("{}/images/{}.png", "{}/masks/{}.png", {}),
        ("{}/images/{}.jpg", "{}/labels/{}.png", {}),
        ("images/{}/{}.png", "masks/{}/{}.png", {"images": "images/{split}", "masks": "masks/{split}"}),
        ("photos-{}/{}.PNG", "truth/{}/{}.png", {"images": "photos-{split}", "masks": "truth/{split}"}),
    ],
)
def test_a_folder_for_every_split(put: Put, tmp_path: Path, image: str, mask: str, named: dict[str, str]) -> None:
    labels = [
        put(image.format(at, i), mask.format(at, i), n)
        for n, (at, i) in enumerate(
            [("train", "b"), ("train", "a"), ("valid" if "PNG" in image else "val", "c"), ("test", "d")]
        )
    ]
    dataset = folder(str(tmp_path), **named)
    assert ids(dataset) == {"train": ("a", "b"), "validation": ("c",), "test": ("d",)}
    np.testing.assert_array_equal(dataset.split("train")[1].label, labels[0])
    np.testing.assert_array_equal(dataset.split("test")[0].label, labels[3])


def test_lists_choose_from_the_folder_of_their_split(put: Put, tmp_path: Path) -> None:
    for number, name in enumerate(("train/a", "train/b", "val/c", "val/d", "test/e")):
        put(f"images/{name}.png", f"masks/{name}.png", number)
    (tmp_path / "train.txt").write_text("b\n")
    (tmp_path / "val.txt").write_text("images/val/d.png\nc.png")
    dataset = folder(str(tmp_path), "images/{split}", "masks/{split}")
    assert ids(dataset) == {"train": ("b",), "validation": ("d", "c")}
    (tmp_path / "train.txt").write_text("b\nc\n")
    with pytest.raises(UserError, match=r"train\.txt names 1 id without an image: 'c'"):
        dataset.split("train")


def test_ids_that_two_splits_have_get_the_folder_before_them(put: Put, tmp_path: Path) -> None:
    for number, name in enumerate(("train/0", "train/1", "val/0")):
        put(f"{name}.png", f"{name.replace('/', 'annot/')}.png", number)
    assert ids(folder(str(tmp_path))) == {"train": ("train/0", "train/1"), "validation": ("val/0",)}


def test_a_split_without_a_folder_and_images_without_masks_are_named(put: Put, tmp_path: Path) -> None:
    put("train/a.png", "trainannot/a.png")
    with pytest.raises(
        UserError, match=r"has no folder of the split 'validation'; expected .*/val or .*/validation or"
    ):
        folder(str(tmp_path)).split("validation")
    put("val/a.png", "valannot/a.png")
    (tmp_path / "valannot/a.png").unlink()
    assert folder(str(tmp_path)).split("train").ids == ("train/a",)
    with pytest.raises(UserError, match=r"1 files of .* have no mask: '.*val/a\.png'"):
        folder(str(tmp_path)).split("validation")


def test_the_default_folder_comes_first(put: Put, tmp_path: Path) -> None:
    for number in range(5):
        put(f"images/{number}.png", f"masks/{number}.png", number)
    put("train/a.png", "trainannot/a.png")
    assert sorted(sum(ids(folder(str(tmp_path))).values(), ())) == [*"01234"]


def test_subfolders_named_as_splits_are_worth_a_look(put: Put, tmp_path: Path) -> None:
    for number in range(5):
        for at in ("train", "val"):
            put(f"images/{at}/{number}.png", f"masks/{at}/{number}.png", number)
    (notes,) = notes_of(folder(str(tmp_path)).split("train"))
    assert "has the subfolders train and val, but training and validation images are drawn" in notes.remarks[0]
    assert "folder.images = 'images/{split}' and folder.masks = 'masks/{split}'" in notes.remarks[0]
    assert notes_of(folder(str(tmp_path), "images/{split}", "masks/{split}").split("train"))[0].remarks == ()


def test_camvid_as_segnet_ships_it(put: Put, tmp_path: Path) -> None:
    """Lists of images and masks, by paths of another machine; void is 11."""
    names = {"train": ["0001TP_1", "0016E5_2"], "val": ["0001TP_3"], "test": ["Seq05_4"]}
    meant = {}
    for split, stems in names.items():
        lines = []
        for number, stem in enumerate(stems):
            labels = meant[stem] = put(f"{split}/{stem}.png", f"{split}annot/{stem}.png", number)
            labels[0, :4] = 11
            Image.fromarray(labels).save(tmp_path / f"{split}annot/{stem}.png")
            lines.append(f"/SegNet/CamVid/{split}/{stem}.png /SegNet/CamVid/{split}annot/{stem}.png\n")
        (tmp_path / f"{split}.txt").write_text("".join(lines))
    dataset = folder(str(tmp_path), void=11, groups=Groups("^([^_]+)_"))
    assert ids(dataset) == {"train": ("0001TP_1", "0016E5_2"), "validation": ("0001TP_3",), "test": ("Seq05_4",)}
    for split in dataset.sources:
        for example in (dataset.split(split)[place] for place in range(len(dataset.split(split)))):
            np.testing.assert_array_equal(example.label, np.where(meant[example.id] == 11, 255, meant[example.id]))
    with pytest.raises(UserError, match=r"holds the label 11 \(4 pixels\)"):
        folder(str(tmp_path)).split("train")[0]


@pytest.mark.parametrize("between", ["\t", ",", ";", "  "])
def test_pairs_by_any_path(put: Put, tmp_path: Path, between: str) -> None:
    put("a/x.png", "b/m1.png", 1)
    put("c/x.png", "b/m2.png", 2)
    (tmp_path / "train.txt").write_text(f"a/x.png{between}b/m1.png\n")
    (tmp_path / "val.txt").write_text(f"{tmp_path}/c/x.png{between}{tmp_path}/b/m2.png\n")
    # Two images of one name: then their paths are the ids.
    assert ids(folder(str(tmp_path))) == {"train": ("a/x",), "validation": ("c/x",)}


def test_faulty_lists_of_pairs_are_refused_by_name(put: Put, tmp_path: Path) -> None:
    put("a/x.png", "b/x.png")
    (tmp_path / "val.txt").write_text("a/x.png b/x.png\n")
    for text, message in (
        ("a/x.png b/x.png\n", r"train\.txt and .*val\.txt both name 'x'"),
        ("a/x.png b/x.png\na/x.png b/x.png", r"train\.txt names 'x' more than once"),
        (
            "a/x.png b/gone.png\na/gone.png b/x.png",
            r"train\.txt names 'b/gone\.png', which is not in .*\. So are 1 more",
        ),
        ("a/x.png b/x.png\na/x.png\n", r"has the line 'a/x\.png'; expected an image and its mask, as in its first"),
        ("../a/x.png b/x.png\n", r"train\.txt names '\.\./a/x\.png', which is not in"),
    ):
        (tmp_path / "train.txt").write_text(text)
        with pytest.raises(UserError, match=message):
            folder(str(tmp_path)).split("train")
    (tmp_path / "train.txt").unlink()
    with pytest.raises(UserError, match=r"has no list of the split 'train'"):
        folder(str(tmp_path)).split("train")


def test_lists_of_paths(put: Put, tmp_path: Path) -> None:
    for number, name in enumerate(("a", "sub/b", "c d")):
        put(f"images/{name}.png", f"masks/{name}.png", number)
    (tmp_path / "train.txt").write_text("/elsewhere/photos/images/a.png\nimages/c d.png\n")
    (tmp_path / "val.txt").write_text("images/sub/b.png\n")
    assert ids(folder(str(tmp_path))) == {"train": ("a", "c d"), "validation": ("sub/b",)}
    # A path whose file is another folder's is not taken for one of the same name.
    (tmp_path / "train.txt").write_text("other/a.png\n")
    with pytest.raises(UserError, match=r"train\.txt names 1 id without an image: 'other/a'"):
        folder(str(tmp_path)).split("train")


def test_suffixes_on_both_sides_and_upper_case_extensions(put: Put, tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        put(f"images/{name}_rgb.PNG", f"masks/{name}_mask.PNG", number)
    (tmp_path / "train.txt").write_text("a\n")
    (tmp_path / "val.txt").write_text("b\n")
    dataset = folder(str(tmp_path), image_suffix="_rgb", mask_suffix="_mask")
    assert ids(dataset) == {"train": ("a",), "validation": ("b",)} and dataset.split("train")[0].id == "a"


def test_a_split_of_files_is_read_once_by_several_threads(put: Put, tmp_path: Path) -> None:
    """What is noticed does not depend on who comes first."""
    for number in range(12):
        put(f"train/{number:02d}.png", f"trainannot/{number:02d}.png", number)
        picture = Image.open(tmp_path / f"trainannot/{number:02d}.png")
        picture.putpalette([0, 0, 0, 9 + number % 2, 0, 0, 0, 9, 0])
        picture.save(tmp_path / f"trainannot/{number:02d}.png")
    found = []
    for _ in range(3):
        split = folder(str(tmp_path)).split("train")
        assert all(read_examples(split, 3, "x", Inspection.empty("x", split.ids)))
        found.append(notes_of(split)[0].palettes.suspicions())
    assert found[0] == found[1] == found[2] and "00.png' and (10, 0, 0) in" in found[0][0]
