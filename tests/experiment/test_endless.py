"""Data without an end are refused: by what they say, or when memory is full; those with an end are read as they are."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.pairs import as_split
from load_tf.errors import UserError
from load_tf.experiment import endless

IMAGE, LABEL = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)
PAIRS = [(IMAGE, LABEL)] * 3


def dataset() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((np.stack([IMAGE] * 3), np.stack([LABEL] * 3)))


def for_ever() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    while True:
        yield IMAGE, LABEL


@pytest.mark.parametrize(
    "data",
    [
        dataset().repeat(),
        dataset().shuffle(3).repeat().map(lambda image, label: (image, label)),
        itertools.cycle(PAIRS),
        itertools.repeat(PAIRS[0]),
    ],
)
def test_what_says_that_it_has_no_end(data: Any) -> None:
    with pytest.raises(UserError, match=r"the training data are \w+ without an end; expected every image once: leave"):
        endless.finite(data, "training")


@pytest.mark.parametrize(
    "data", [dataset(), dataset().repeat(2).take(3), PAIRS, iter(PAIRS), itertools.repeat(PAIRS[0], 3)]
)
def test_what_has_an_end_is_read(data: Any) -> None:
    assert len(as_split(endless.finite(data, "training"), "train")) == 3


def test_what_does_not_say_so_fills_no_more_than_the_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    one = IMAGE.nbytes + LABEL.nbytes
    monkeypatch.setattr(endless, "free_memory", lambda: 10 * one / 0.8)
    with pytest.raises(UserError, match="the validation data gave 11 images without coming to an end"):
        as_split(endless.finite(for_ever(), "validation"), "validation")
    for data in (itertools.islice(for_ever(), 10), dataset().repeat(3)):
        assert len(as_split(endless.finite(data, "validation"), "validation")) in (9, 10)
    with pytest.raises(UserError, match="gave 11 images"):
        as_split(endless.finite(dataset().repeat(4), "validation"), "validation")


def test_the_memory_there_is() -> None:
    assert 2**26 < endless.free_memory() < 2**45
