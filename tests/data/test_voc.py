"""PASCAL VOC 2012: the folder, the download, and the tensorflow-datasets builder, on made-up and on real images."""

import os
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from load_tf.data.colours import voc_palette
from load_tf.data.records import prepare_builder
from load_tf.data.voc import ARCHIVE_URL, CLASS_NAMES, VocSegmentation, voc, voc_config
from load_tf.errors import UserError

TRAIN, VALIDATION, ADDED = ("2007_000001", "2007_000002", "2007_000003"), ("2008_000004", "2008_000005"), "2009_000006"


def make_voc(root: Path, augmented: bool = True) -> Path:
    """Writes `VOCdevkit/VOC2012` with tiny pictures; returns it."""
    root = root / "VOCdevkit" / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    for folder in (lists, root / "JPEGImages", root / "SegmentationClass", root / "SegmentationClassAug"):
        folder.mkdir(parents=True)
    for number, id_ in enumerate((*TRAIN, *VALIDATION, ADDED)):
        random = np.random.default_rng(number)
        Image.fromarray(random.integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(root / f"JPEGImages/{id_}.jpg")
        labels = random.choice([0, 3, 20, 255], (10, 12)).astype(np.uint8)
        mask = Image.fromarray(labels).convert("P")
        mask.putdata(labels.ravel().tolist())
        mask.putpalette([value for colour in voc_palette() for value in colour])
        if id_ != ADDED:
            mask.save(root / f"SegmentationClass/{id_}.png")
        if id_ not in VALIDATION:
            Image.fromarray(labels).save(root / f"SegmentationClassAug/{id_}.png")
    (lists / "train.txt").write_text("\n".join(TRAIN) + "\n")
    (lists / "val.txt").write_text("\n".join(VALIDATION) + "\n")
    (lists / "trainaug.txt").write_text("\n".join((*TRAIN, ADDED)) + "\n")
    if not augmented:
        (root / "SegmentationClassAug").rename(root.parent / "Elsewhere")
        (lists / "trainaug.txt").rename(root.parent / "trainaug.txt")
    return root


def labels_of(id_: str) -> np.ndarray:
    random = np.random.default_rng((*TRAIN, *VALIDATION, ADDED).index(id_))
    random.integers(0, 256, (10, 12, 3), dtype=np.uint8)
    return random.choice([0, 3, 20, 255], (10, 12)).astype(np.uint8)


class VocSegmentationTest(tfds.testing.DatasetBuilderTestCase):
    """What tensorflow-datasets asks of every builder."""

    DATASET_CLASS = VocSegmentation
    SPLITS = {"train": 3, "validation": 2, "train_aug": 4}  # noqa: RUF012 (the base class's habit)
    OVERLAPPING_SPLITS = ["train_aug"]  # noqa: RUF012

    @classmethod
    def setUpClass(cls) -> None:
        cls._folder = tempfile.TemporaryDirectory()
        make_voc(Path(cls._folder.name))
        cls.EXAMPLE_DIR = cls._folder.name
        super().setUpClass()

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        cls._folder.cleanup()


def test_archive_is_the_official_one() -> None:
    info = VocSegmentation.url_infos[ARCHIVE_URL]
    assert info.size == 1_999_639_040
    # The md5 that torchvision publishes is 6cd6e144f989b92b3379bac3b3de84fd; this is the sha256 of the same archive.
    assert info.checksum == "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb"
    assert ARCHIVE_URL.endswith(info.filename)


def test_class_names_are_those_of_the_paper(shared: Path) -> None:
    rows = (shared / "paper/table1.csv").read_text().splitlines()[1:-1]
    assert tuple(row.split(",")[0] for row in rows) == CLASS_NAMES


@pytest.mark.parametrize("level", [0, 1, 2])
def test_folder_is_found_at_any_level(tmp_path: Path, level: int) -> None:
    root = make_voc(tmp_path)
    dataset = voc(str((root, root.parent, root.parent.parent)[level]))
    assert {name: dataset.split(name).ids for name in dataset.sources} == {
        "train": TRAIN,
        "validation": VALIDATION,
        "train_aug": (*TRAIN, ADDED),
    }
    for split, place, id_ in (("validation", 1, VALIDATION[1]), ("train_aug", 3, ADDED)):
        np.testing.assert_array_equal(dataset.split(split)[place].label, labels_of(id_))


def test_augmented_masks_may_lie_elsewhere(tmp_path: Path) -> None:
    root = make_voc(tmp_path, augmented=False)
    with pytest.raises(UserError, match=r"no split 'train_aug': expected trainaug.txt or train_aug.txt"):
        voc(str(root)).split("train_aug")
    assert voc(str(root), augmented_dir=str(root.parent / "Elsewhere")).split("train_aug").ids == (*TRAIN, ADDED)


def test_a_list_of_paths_will_do(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    lines = [f"/JPEGImages/{id_}.jpg /SegmentationClassAug/{id_}.png" for id_ in (*TRAIN, ADDED)]
    (root / "ImageSets/Segmentation/trainaug.txt").write_text("\n".join(lines))
    assert voc(str(root)).split("train_aug").ids == (*TRAIN, ADDED)
    # In a validation list, too; what it shares is found all the same.
    lines = [f"/JPEGImages/{id_}.jpg /SegmentationClass/{id_}.png" for id_ in (*VALIDATION, ADDED)]
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(lines))
    with pytest.raises(UserError, match=f"names 1 images of the validation split: '{ADDED}'"):
        voc(str(root)).split("train_aug")


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("train", "2007_000001\n2010_1\n", r"train\.txt names 1 id without an image: '2010_1'"),
        ("train", "2009_000006\n", r"train\.txt names 1 id without a mask: '2009_000006'"),
        ("train", "", r"train\.txt is empty"),
        ("train", "2007_000001\n2007_000001", r"train\.txt names '2007_000001' more than once"),
        ("trainaug", "2008_000004\n2007_000001", "names 1 images of the validation split: '2008_000004'"),
    ],
)
def test_faulty_lists_are_refused_by_name(tmp_path: Path, name: str, text: str, message: str) -> None:
    root = make_voc(tmp_path)
    (root / f"ImageSets/Segmentation/{name}.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        voc(str(root)).split("train" if name == "train" else "train_aug")


def test_missing_folder_is_refused_when_opened_not_before(tmp_path: Path) -> None:
    missing, empty = voc(str(tmp_path / "nowhere")), voc(str(tmp_path))
    with pytest.raises(UserError, match="nowhere is not a folder; expected a VOC2012 folder"):
        missing.split("train")
    with pytest.raises(UserError, match=r"does not contain PASCAL VOC 2012; expected .*SegmentationClass"):
        empty.split("train")


def test_download_is_prepared_once_and_read_at_random(tmp_path: Path) -> None:
    root = make_voc(tmp_path / "source")
    dataset = voc(prepared_dir=str(tmp_path / "prepared"))
    target = "tensorflow_datasets.core.download.DownloadManager.download_and_extract"
    with mock.patch(target, return_value=root.parent.parent) as download:
        prepared = dataset.split("train_aug")
        dataset.split("train")
        download.assert_called_once_with(ARCHIVE_URL)
    direct = voc(str(root)).split("train_aug")
    assert prepared.ids == direct.ids
    for index in (3, 0, 2):
        for one, other in zip(prepared[index], direct[index], strict=True):
            np.testing.assert_array_equal(one, other)


def test_failed_download_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    target = "tensorflow_datasets.core.download.DownloadManager.download_and_extract"
    with mock.patch(target, side_effect=OSError("no route to host")), pytest.raises(UserError) as caught:
        voc(prepared_dir=str(tmp_path)).split("train")
    assert "could not be prepared (no route to host); check the connection, or fetch http" in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if "record" in path.name or "incomplete" in path.name]


def test_faulty_mask_stops_the_preparation_by_name(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    Image.fromarray(np.full((10, 12), 77, np.uint8)).save(root / f"SegmentationClass/{TRAIN[1]}.png")
    builder = VocSegmentation(config=voc_config(str(root)), data_dir=str(tmp_path / "prepared"))
    with pytest.raises(UserError, match=rf"SegmentationClass/{TRAIN[1]}\.png holds the label 77"):
        prepare_builder(builder, "")
    assert not builder.is_prepared()


def test_other_sources_are_prepared_in_other_folders(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    first = voc_config(str(root)).name
    assert voc_config(str(root)).name == first
    os.utime(root / f"SegmentationClass/{TRAIN[1]}.png", ns=(1, 1))
    second = voc_config(str(root)).name
    (root / "ImageSets/Segmentation/train.txt").write_text(TRAIN[0])
    assert len({first, second, voc_config(str(root)).name}) == 3


def test_folder_prepared_in_another_format_is_refused(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    builder = VocSegmentation(config=voc_config(str(root)), data_dir=str(tmp_path / "prepared"))
    builder.download_and_prepare()
    again = VocSegmentation(config=voc_config(str(root)), data_dir=str(tmp_path / "prepared"))
    with pytest.raises(UserError, match="prepared in another file format than array_record"):
        prepare_builder(again, "")


def test_real_images(shared: Path) -> None:
    dataset = voc(str(shared / "data/VOC2012"))
    train, validation = dataset.split("train"), dataset.split("validation")
    assert (len(train), len(validation)) == (437, 949)
    example = validation[validation.ids.index("2007_000033")]
    assert example.image.shape == (366, 500, 3)
    stored = np.asarray(Image.open(shared / "data/VOC2012/SegmentationClass/2007_000033.png"))
    np.testing.assert_array_equal(example.label, stored)
    assert set(np.unique(stored)) == {0, 1, 255}


@pytest.mark.slow
def test_builder_on_the_real_images(shared: Path, tmp_path: Path) -> None:
    config = voc_config(str(shared / "data/VOC2012"))
    builder = VocSegmentation(config=config, data_dir=str(tmp_path))
    prepare_builder(builder, "")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 437,
        "validation": 949,
    }
    direct = voc(str(shared / "data/VOC2012")).split("validation")
    record = builder.as_data_source("validation", decoders={"image": tfds.decode.SkipDecoding()})[7]
    assert record["id"].decode() == direct.ids[7]
    assert record["image"] == (shared / f"data/VOC2012/JPEGImages/{direct.ids[7]}.jpg").read_bytes()
    np.testing.assert_array_equal(record["label"][..., 0], direct[7].label)
