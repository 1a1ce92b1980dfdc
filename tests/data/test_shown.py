"""Data sets and splits as a prompt and a notebook show them: no pixels, nothing is opened, nothing becomes a tag."""

from typing import Any

import numpy as np

from load_tf.data.dataset import Example, ExampleList, Grouped, Joined, SegmentationDataset, Subset
from load_tf.data.groups import Groups
from load_tf.data.synthetic import synthetic


def refuse() -> Any:
    raise AssertionError("a split was opened")


DATASET = SegmentationDataset(
    "photos", ("sky", "<b>bad</b>"), ((1, 2, 3), (40, 50, 60)), {"train": refuse, "validation": refuse}
)


def test_a_data_set_in_a_line() -> None:
    assert repr(DATASET) == "<SegmentationDataset 'photos': 2 classes, splits 'train', 'validation'>"


def test_a_data_set_in_a_notebook() -> None:
    page = DATASET._repr_html_()
    assert page.startswith("<table>") and page.count("<tr>") == 2 and "photos: splits train, validation" in page
    assert "rgb(40,50,60)" in page and "&lt;b&gt;bad" in page and "<b>" not in page


def test_splits_in_a_line() -> None:
    split = ExampleList(
        [Example(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), f"x_{i}") for i in range(5)]
    )
    assert repr(split) == "<ExampleList of 5 examples: 'x_0', 'x_1', ..., 'x_4'>"
    assert repr(Subset(split, (1, 3))) == "<Subset of 2 examples: 'x_1', 'x_3'>"
    assert repr(Joined(split, split)).startswith("<Joined of 10 examples: 'x_0', 'x_1', ...")
    grouped = Grouped(split, Groups(block=2).labels(split.ids))
    assert repr(grouped).startswith("<Grouped of 5 examples in 3 groups: 'x_0'")
    assert repr(synthetic(train=40).split("train")) == (
        "<SyntheticScenes of 40 examples: 'train_00000', 'train_00001', ..., 'train_00039'>"
    )
