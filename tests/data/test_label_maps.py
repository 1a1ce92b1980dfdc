"""The label of every number in masks."""

from collections.abc import Mapping
from pathlib import Path

import gin
import numpy as np
import pytest
from PIL import Image

from load_tf.data.cityscapes import train_ids
from load_tf.data.folder import folder
from load_tf.data.label_maps import label_table
from load_tf.errors import UserError

NAMES = ("sky", "tree", "road")


def test_without_either_the_number_is_the_label() -> None:
    assert label_table(None, None, NAMES) is None


def test_void_under_another_number() -> None:
    table = label_table(None, 11, NAMES)
    assert table is not None
    assert table.pop(11) == 255 and all(number == label for number, label in table.items()) and len(table) == 255
    assert label_table(None, 65535, NAMES)[65535] == 255  # type: ignore[index]
    assert label_table({0: 0, 9: 1}, 11, NAMES) == {0: 0, 9: 1, 11: 255}


def test_maps_by_name() -> None:
    table = label_table("reduce_zero_label", None, NAMES)
    assert table is not None and (table[0], table[1], table[254], table[255]) == (255, 0, 253, 255)
    assert label_table("cityscapes", None, NAMES) == dict(enumerate(train_ids()))


@pytest.mark.parametrize(
    "label_map, void, message",
    [
        (
            {0: 0, 255: 3},
            None,
            "gives 255 the label 3; expected whole numbers, and labels from 0 to 2, or 255 for void",
        ),
        ({-1: 0}, None, "gives -1 the label 0"),
        ({0: 0.5}, None, r"gives 0 the label 0\.5"),
        ("ade", None, "is 'ade'; expected 'reduce_zero_label' or 'cityscapes', or labels by number"),
        (None, 1, "folder.void is 1, which is the number of the class 'tree'; expected another"),
        (None, 0, "use folder.label_map = 'reduce_zero_label'"),
        (None, -1, "folder.void is -1; expected a whole number of at least 0"),
        ({0: 0, 4: 1}, 4, "folder.void is 4, which is the number of the class 'tree'"),
    ],
)
def test_faulty_maps_are_refused(label_map: Mapping[int, int] | str | None, void: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        label_table(label_map, void, NAMES)


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    Image.fromarray(np.zeros((2, 4, 3), np.uint8)).save(tmp_path / "images/a.png")
    (tmp_path / "train.txt").write_text("a")
    return tmp_path


def test_a_folder_with_a_map_that_gin_binds(root: Path) -> None:
    from load_tf.experiment import bindings, registry

    values = np.array([[0, 128, 255, 0], [0, 128, 255, 255]], np.uint8)
    Image.fromarray(values).save(root / "masks/a.png")
    with gin.unlock_config():
        gin.parse_config(f"folder.data_dir = '{root}'\nfolder.label_map = {{0: 0, 128: 255, 255: 2}}")
    try:
        bindings.refuse_wrong_types()
        label = registry.configured(folder)().split("train")[0].label
        np.testing.assert_array_equal(label, [[0, 255, 2, 0], [0, 255, 2, 2]])
        gin.parse_config("folder.label_map = 'cityscapes'\nfolder.void = 34")
        bindings.refuse_wrong_types()
    finally:
        gin.clear_config()


def test_16_bits_whose_values_fit(root: Path) -> None:
    values = np.array([[0, 1, 2, 65535]] * 2, np.uint16)
    Image.fromarray(values).save(root / "masks/a.png")
    label = folder(str(root), void=65535).split("train")[0].label
    np.testing.assert_array_equal(label, [[0, 1, 2, 255]] * 2)
    with pytest.raises(UserError, match="labels as 65535; expected 0 to 255"):
        folder(str(root)).split("train")[0]


def test_colours_given_twice_are_refused(root: Path) -> None:
    (root / "colours.txt").write_text("0 0 0\n1 2 3\n0 0 0\n")
    with pytest.raises(UserError, match=r"give \(0, 0, 0\) to 'sky' and to 'road'; expected a colour of its own"):
        folder(str(root))
