"""Cityscapes, on made-up files of its layout: the real ones can't be had without registration."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from load_tf.data.cityscapes import CLASS_NAMES, COLOURS, cityscapes, train_ids
from load_tf.errors import UserError

IDS = {"train": ("bonn", 3), "val": ("ulm", 2), "test": ("köln", 1)}


@pytest.fixture
def extracted(tmp_path: Path) -> Path:
    """`leftImg8bit` and `gtFine` with tiny pictures; the label of a pixel is its number modulo 34."""
    for number, (split, (city, count)) in enumerate(IDS.items()):
        city = "koeln" if city == "köln" else city
        for index in range(count):
            name = f"{city}_{index:06d}_000019"
            pixels = np.random.default_rng(10 * number + index).integers(0, 256, (8, 9, 3), dtype=np.uint8)
            labels = (np.arange(72).reshape(8, 9) % 34).astype(np.uint8)
            for kind, suffix, array in (
                ("leftImg8bit", "leftImg8bit", pixels),
                ("gtFine", "gtFine_labelIds", labels),
                ("gtFine", "gtFine_instanceIds", labels),
            ):
                path = tmp_path / kind / split / city / f"{name}_{suffix}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return tmp_path


def expected_label() -> np.ndarray:
    table = train_ids()
    return table[np.arange(72).reshape(8, 9) % 34]


def test_train_ids_are_the_official_ones() -> None:
    table = train_ids()
    assert len(CLASS_NAMES) == len(COLOURS) == 19
    # Label ids that are evaluated: 34 ids, of which 19 are.
    assert np.flatnonzero(table != 255).tolist() == [
        *(7, 8, 11, 12, 13, 17, 19, 20, 21, 22),
        *(23, 24, 25, 26, 27, 28, 31, 32, 33),
    ]
    assert table[table != 255].tolist() == list(range(19))
    assert (table[7], table[26], table[0], table[255]) == (0, 13, 255, 255)
    assert CLASS_NAMES[13] == "car" and COLOURS[13] == (0, 0, 142)


def test_extracted_folder(extracted: Path) -> None:
    dataset = cityscapes(str(extracted))
    assert dataset.split("train").ids == tuple(f"bonn_{index:06d}_000019" for index in range(3))
    example = dataset.split("validation")[1]
    assert example.id == "ulm_000001_000019"
    np.testing.assert_array_equal(example.image, np.random.default_rng(11).integers(0, 256, (8, 9, 3), dtype=np.uint8))
    np.testing.assert_array_equal(example.label, expected_label())


def test_prepared_by_tensorflow_datasets(extracted: Path, tmp_path: Path) -> None:
    manual = tmp_path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    for folder, name in (("leftImg8bit", "leftImg8bit_trainvaltest"), ("gtFine", "gtFine_trainvaltest")):
        with zipfile.ZipFile(manual / f"{name}.zip", "w") as archive:
            for path in sorted((extracted / folder).rglob("*.png")):
                archive.write(path, path.relative_to(extracted))
    direct = cityscapes(str(extracted)).split("train")
    prepared = cityscapes(str(tmp_path / "tfds")).split("train")
    assert sorted(prepared.ids) == sorted(direct.ids)
    for index, id_ in enumerate(prepared.ids):
        example, other = prepared[index], direct[direct.ids.index(id_)]
        assert example.id == id_
        np.testing.assert_array_equal(example.image, other.image)
        np.testing.assert_array_equal(example.label, other.label)


def test_missing_files_are_named(extracted: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a folder"):
        cityscapes("nowhere").split("train")
    (extracted / "gtFine/train/bonn/bonn_000001_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(UserError, match=r"1 images of .* have no _gtFine_labelIds.png: 'bonn/bonn_000001_000019'"):
        cityscapes(str(extracted)).split("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"leftImg8bit_trainvaltest\.zip.*give the extracted folder"):
        cityscapes(str(tmp_path / "empty")).split("train")
