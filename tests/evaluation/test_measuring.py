"""Shapes that threads fill in are those that one would have measured image by image."""

import threading
import time

import numpy as np
import pytest

from load_tf.evaluation import measuring
from load_tf.evaluation.measuring import Measuring
from load_tf.evaluation.shapes import Shapes, shapes, zeros

IMAGES = np.random.default_rng(0).integers(0, 3, (20, 2, 30, 40), dtype=np.uint8)


def test_every_image_has_its_own_shapes() -> None:
    found = zeros(len(IMAGES), 3)
    with Measuring(found, threads=3) as threads:
        for row in reversed(range(len(IMAGES))):
            threads.add(row, *IMAGES[row])
    for row, (truth, prediction) in enumerate(IMAGES):
        for counts, expected in zip(found, shapes(truth, prediction, 3), strict=True):
            np.testing.assert_array_equal(counts[row], expected)


def test_images_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two threads a fifth image is not taken before the first is measured."""
    goes_on, begun = threading.Event(), []

    def slow(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> Shapes:
        begun.append(None)
        assert goes_on.wait(60)
        return shapes(truth, prediction, num_classes)

    monkeypatch.setattr(measuring, "shapes", slow)
    with Measuring(zeros(5, 3), threads=2) as threads:
        for row in range(4):
            threads.add(row, *IMAGES[row])
        fifth = threading.Thread(target=threads.add, args=(4, *IMAGES[4]))
        fifth.start()
        time.sleep(0.2)
        assert fifth.is_alive() and len(begun) == 2
        goes_on.set()
        fifth.join(60)
        assert not fifth.is_alive()


def test_what_goes_wrong_in_a_thread_is_raised() -> None:
    with pytest.raises(ValueError, match="against prediction"), Measuring(zeros(1, 3)) as threads:
        threads.add(0, IMAGES[0, 0], IMAGES[0, 1, :5])
    # What ends it from outside stays what it is, and nobody waits for the rest.
    with pytest.raises(KeyboardInterrupt), Measuring(zeros(1, 3)) as threads:
        threads.add(0, IMAGES[0, 0], IMAGES[0, 1, :5])
        raise KeyboardInterrupt
