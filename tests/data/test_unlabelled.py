"""Images without labels: where they are found, that no label of theirs is known, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from load_tf.data.cityscapes import cityscapes
from load_tf.data.dataset import UNLABELLED, ExampleList, SegmentationDataset, groups_of
from load_tf.data.folder import folder
from load_tf.data.groups import Groups
from load_tf.data.pairs import as_splits
from load_tf.data.partition import keyed_partition
from load_tf.data.preparation import read_all
from load_tf.data.synthetic import synthetic
from load_tf.data.unlabelled import as_unlabelled, few_labels, photos
from load_tf.data.voc import voc
from load_tf.errors import UserError


def write(path: Path, shape: tuple[int, ...] = (6, 8, 3), value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(path.name.encode()) + value).integers(0, 250, shape).astype(np.uint8)
    Image.fromarray(pixels if len(shape) == 3 else pixels % 3).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(8):
        write(tmp_path / "images" / f"a{number}.png")
        write(tmp_path / "masks" / f"a{number}.png", (6, 8))
    for number in range(3):
        write(tmp_path / "photos" / "trip" / f"a{number}.png", value=100)
    (tmp_path / "classes.txt").write_text("sky\nroad\ntree\n")
    return tmp_path


def test_a_folder_of_photos_is_a_split_without_labels(root: Path) -> None:
    dataset = folder(str(root), unlabelled="photos")
    split = dataset.split("unlabelled")
    # Their names are those of labelled images: the folder tells them apart.
    assert split.ids == ("photos/trip/a0", "photos/trip/a1", "photos/trip/a2")
    example = split[1]
    np.testing.assert_array_equal(example.image, np.asarray(Image.open(root / "photos" / "trip" / "a1.png")))
    assert example.label.shape == (6, 8) and (example.label == UNLABELLED).all()
    assert "unlabelled" not in folder(str(root)).sources
    read = read_all(dataset, ("train", "validation", "unlabelled"), "validation")
    assert len(read["unlabelled"].split) == 3 and read["unlabelled"].found.digests[0]


def test_what_is_wrong_with_photos_is_said_by_name(root: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is not a folder"):
        folder(str(root), unlabelled="nowhere").split("unlabelled")
    (root / "empty").mkdir()
    (root / "empty" / "clip.mov").write_bytes(b"x")
    with pytest.raises(UserError, match=r"empty holds no image.*clip\.mov"):
        photos(root / "empty")
    (root / "photos" / "broken.jpg").write_bytes(b"no image")
    dataset = folder(str(root), unlabelled="photos")
    with pytest.raises(UserError, match=r"broken\.jpg is no image that can be read"):
        read_all(dataset, ("train", "validation", "unlabelled"))


def test_groups_are_not_asked_of_photos(root: Path) -> None:
    table = {f"a{number}": f"patient {number}" for number in range(8)}
    dataset = folder(str(root), unlabelled="photos", groups=Groups(table=table))
    assert groups_of(dataset.split("train")) is not None
    assert groups_of(dataset.split("unlabelled")) is None


def test_a_parted_data_set_keeps_its_photos(root: Path) -> None:
    dataset = keyed_partition(folder(str(root), unlabelled="photos"), "train", 3)
    assert len(dataset.split("unlabelled")) == 3


def test_an_image_that_is_judged_on_must_not_be_among_them(root: Path) -> None:
    dataset = folder(str(root))
    sources = {**dataset.sources, "unlabelled": dataset.sources["validation"]}
    shared = SegmentationDataset("shared", dataset.class_names, dataset.colours, sources)
    with pytest.raises(UserError, match=r"splits 'validation' and 'unlabelled' share"):
        read_all(shared, ("train", "validation", "unlabelled"))


def test_equal_photos_under_other_names_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = folder(str(root))
    judged = dataset.split("validation").ids[0]
    trained = dataset.split("train").ids[0]
    for identity in (judged, trained):
        (root / "photos" / f"copy_of_{identity}.png").write_bytes((root / "images" / f"{identity}.png").read_bytes())
    read_all(folder(str(root), unlabelled="photos"), ("train", "validation", "unlabelled"))
    found = capsys.readouterr().err
    assert f"1 images of validation are equal in every pixel to images of unlabelled ('{judged}'" in found
    # On what is trained on nothing is scored.
    assert "images of unlabelled are equal" not in found and "to images of train" not in found


def test_a_class_at_the_number_of_unlabelled_is_refused() -> None:
    names = tuple(map(str, range(255)))
    colours = tuple((i, i, i) for i in range(255))
    SegmentationDataset("many", names, colours, {})
    with pytest.raises(UserError, match="255 classes and images without labels; expected at most 254"):
        SegmentationDataset("many", names, colours, {"unlabelled": lambda: ExampleList([])})


@pytest.mark.parametrize("kind", ["list", "dataset", "generator", "folder", "split"])
def test_python_takes_images_in_many_ways(kind: str, root: Path) -> None:
    images = [np.full((4, 5, 3), value, np.uint8) for value in (1, 2)]
    given = {
        "list": lambda: images,
        "dataset": lambda: tf.data.Dataset.from_tensor_slices(np.stack(images)),
        "generator": lambda: (image for image in images),
        "folder": lambda: root / "photos",
        "split": lambda: ExampleList([(image, np.zeros((4, 5), np.uint8), f"x{i}") for i, image in enumerate(images)]),
    }[kind]()
    split = as_unlabelled(given)
    assert len(split) == (3 if kind == "folder" else 2)
    assert all((split[i].label == UNLABELLED).all() for i in range(len(split)))
    if kind != "folder":
        np.testing.assert_array_equal(split[1].image, images[1])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "unlabelled is empty"),
        (7, "unlabelled is int; expected images"),
        ([(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)))], "unlabelled_00000 is a tuple of 2; expected an image"),
        ([np.zeros((2, 4, 4, 3), np.uint8)], r"uint8 \[2, 4, 4, 3\]; expected uint8 \[H, W, 3\]; batches must be"),
        ([np.zeros((4, 4, 3), np.float32)], r"unlabelled_00000 is float32 \[4, 4, 3\]"),
    ],
)
def test_what_is_no_image_is_refused(images: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_unlabelled(images)


def test_names_of_groups_are_of_labelled_images_only() -> None:
    pairs = [(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))] * 4
    splits = as_splits(pairs, pairs, "^(.)", [np.zeros((4, 4, 3), np.uint8)])
    assert list(splits) == ["train", "validation", "unlabelled"]
    assert groups_of(splits["train"]) is not None and groups_of(splits["unlabelled"]) is None


def test_few_labels_keeps_so_many_and_hides_the_rest() -> None:
    whole = synthetic(train=20, validation=4, size=(48, 64))
    few = few_labels(whole, labelled=5, seed=1)
    kept, rest = few.split("train"), few.split("unlabelled")
    assert (len(kept), len(rest)) == (5, 15)
    assert sorted((*kept.ids, *rest.ids)) == sorted(whole.split("train").ids)
    labels = {whole.split("train")[i].id: whole.split("train")[i].label for i in range(20)}
    for index in range(5):
        np.testing.assert_array_equal(kept[index].label, labels[kept[index].id])
    assert all((rest[index].label == UNLABELLED).all() for index in range(15))
    assert set(few_labels(whole, labelled=5, seed=2).split("train").ids) != set(kept.ids)
    gone = few_labels(whole, labelled=5, seed=1, keep_images=False)
    assert gone.split("train").ids == kept.ids and "unlabelled" not in gone.sources
    with pytest.raises(UserError, match=r"few_labels\.labelled is 20, but split 'train' .* has 20 images"):
        few_labels(whole, labelled=20).split("train")


def test_photos_that_were_there_come_behind_those_whose_labels_are_withheld(root: Path) -> None:
    whole = folder(str(root), unlabelled="photos")
    few = few_labels(whole, labelled=2)
    assert len(few.split("unlabelled")) == len(whole.split("train")) - 2 + 3
    assert few.split("unlabelled").ids[-3:] == whole.split("unlabelled").ids
    assert "unlabelled" not in few_labels(whole, labelled=2, keep_images=False).sources


def test_few_labels_of_a_video_are_whole_blocks_of_every_sequence() -> None:
    ids = [f"{sequence}_{frame:02d}" for sequence in "ab" for frame in range(20)]
    examples = [(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), identity) for identity in ids]
    sources = {"train": lambda: ExampleList(examples)}
    video = SegmentationDataset("video", ("x", "y"), ((0, 0, 0), (1, 1, 1)), sources, Groups("^([^_]+)_"))
    kept = few_labels(video, labelled=10, block=5).split("train").ids
    assert len(kept) == 10
    for sequence in "ab":
        frames = sorted(int(identity[2:]) for identity in kept if identity[0] == sequence)
        assert len(frames) == 5 and frames == list(range(frames[0], frames[0] + 5)) and frames[0] % 5 == 0


def test_voc_takes_a_list(tmp_path: Path) -> None:
    root = tmp_path / "VOC2012"
    for number in range(4):
        write(root / "JPEGImages" / f"2007_{number}.jpg")
    write(root / "SegmentationClass" / "2007_0.png", (6, 8))
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("2007_0\n")
    (tmp_path / "more.txt").write_text("2007_3\n2007_1\n")
    dataset = voc(str(root), unlabelled=str(tmp_path / "more.txt"))
    assert dataset.split("unlabelled").ids == ("2007_3", "2007_1")
    (tmp_path / "more.txt").write_text("2007_3\n2007_9\n")
    with pytest.raises(UserError, match=r"more\.txt names '2007_9', which .*JPEGImages does not hold"):
        dataset.split("unlabelled")
    with pytest.raises(UserError, match=r"voc\.unlabelled is 'x', but data_dir is None"):
        voc(unlabelled="x").split("unlabelled")


def test_cityscapes_takes_a_list(tmp_path: Path) -> None:
    write(tmp_path / "leftImg8bit" / "train_extra" / "augsburg" / "augsburg_000000_000000_leftImg8bit.png")
    (tmp_path / "extra.txt").write_text("augsburg/augsburg_000000_000000_leftImg8bit.png\n")
    split = cityscapes(str(tmp_path), unlabelled=str(tmp_path / "extra.txt")).split("unlabelled")
    assert split.ids == ("augsburg_000000_000000",) and (split[0].label == UNLABELLED).all()
