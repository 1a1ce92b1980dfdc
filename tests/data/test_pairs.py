"""Any (image, label) data as a split: what is taken, what is refused, and that nothing is read too early."""

import re
from typing import Any

import numpy as np
import pytest

from load_tf.data.dataset import Example, ExampleList
from load_tf.data.pairs import as_split
from load_tf.errors import UserError
from load_tf.randomness import generator


def pairs(count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    random = generator(1, "pairs")
    return [
        (random.integers(0, 256, (4, 6, 3)).astype(np.uint8), random.integers(0, 5, (4, 6)).astype(np.int64))
        for _ in range(count)
    ]


class Lazy:
    """A sequence that says what was read of it."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.read.append(index)
        return pairs()[index]


def test_a_sequence_is_read_only_where_it_is_asked() -> None:
    lazy = Lazy()
    split = as_split(lazy, "train")
    assert (len(split), split.ids, lazy.read) == (3, ("train_00000", "train_00001", "train_00002"), [])
    image, label, identity = split[1]
    assert lazy.read == [1] and identity == "train_00001"
    assert (image == pairs()[1][0]).all() and (label == pairs()[1][1]).all() and label.dtype == np.uint8


def test_streams_are_read_once_into_memory() -> None:
    import tensorflow as tf

    images, labels = map(np.stack, zip(*pairs(), strict=True))
    dataset = tf.data.Dataset.from_tensor_slices((images, labels[..., None], [b"a", b"b", b"c"]))
    split = as_split(dataset, "x")
    assert split.ids == ("a", "b", "c") and split[2].label.shape == (4, 6)
    assert (split[2].label == labels[2]).all() and (split[2].image == images[2]).all()
    assert as_split((pair for pair in pairs(2)), "g").ids == ("g_00000", "g_00001")


def test_a_split_stays_itself() -> None:
    split = ExampleList([Example(*pairs()[0], "mine")])
    assert as_split(split, "train") is split


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "train is empty"),
        (iter(()), "train is empty"),
        (7, "train is int"),
        ({"image": 1}, "train is dict"),
        ([np.zeros((4, 6, 3))], "train_00000 is ndarray; expected a pair"),
        ([(np.zeros((2, 4, 6, 3)), np.zeros((2, 4, 6), int))], "expected [H, W, 3]; batches must be taken apart"),
        ([(np.zeros((4, 6)), np.zeros((4, 6), int))], "shape [4, 6]; expected [H, W, 3]."),
        ([(np.zeros((4, 6, 3)), np.zeros((4, 6)))], "is float64; expected whole numbers"),
        ([(np.zeros((4, 6, 3)), np.full((4, 6), 256))], "holds 256 to 256; expected 0 to 255"),
        ([(np.zeros((4, 6, 3)), np.full((4, 6), -1))], "holds -1 to -1"),
    ],
)
def test_what_is_no_pair_is_named(given: Any, expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        as_split(given, "train")[0]
