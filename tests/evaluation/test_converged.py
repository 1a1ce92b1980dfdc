"""Starts that are not converged are said to be, and others are not."""

import numpy as np
import pytest

from load_tf.evaluation.converged import never_predicted, unconverged


def confusion(predicted: list[int], classes: int = 5) -> np.ndarray:
    """Two images with ten pixels of every class but the last; only some classes are predicted."""
    matrices = np.zeros((2, classes, classes), np.int64)
    for k in range(classes - 1):
        matrices[:, k, k if k in predicted else predicted[0]] = 10
    return matrices


def test_a_class_that_nothing_is_taken_for() -> None:
    assert never_predicted(confusion([0, 2])).tolist() == [False, True, False, True, False]
    wrong = confusion([0, 2])
    wrong[1, 0, 0], wrong[1, 0, 1] = 9, 1
    assert not never_predicted(wrong)[1], "predicted, and never right"


@pytest.mark.parametrize(
    ("epochs", "predicted", "says"),
    [
        ([], [0, 1, 2, 3], None),
        ([], [0, 1], None),
        ([], [0], "3 of 4 classes are never predicted"),
        ([0.4], [0, 1, 2, 3], None),
        ([0.3, 0.4], [0, 1, 2, 3], "stage 1 still gained 10.0 points of hold-out mIoU in its last epoch"),
        ([0.1, 0.5, 0.6, 0.604], [0, 1, 2, 3], None),
        ([0.1, 0.5, 0.6, 0.606], [0, 1, 2, 3], "gained 0.6 points of hold-out mIoU in its last epoch"),
        # One lucky epoch of eight: the last two are no better than the two before.
        ([0.1, 0.3, 0.5, 0.55, 0.6, 0.6, 0.58, 0.62], [0, 1, 2, 3], None),
        (
            [0.1, 0.3, 0.5, 0.55, 0.6, 0.6, 0.62, 0.64],
            [0, 1, 2, 3],
            "gained 3.0 points of hold-out mIoU in its last 2 ",
        ),
        ([0.5, float("nan")], [0, 1, 2, 3], None),
    ],
)
def test_what_is_said_of_a_start(epochs: list[float], predicted: list[int], says: str | None) -> None:
    found = unconverged(epochs, confusion(predicted))
    assert found is None if says is None else found is not None and says in found and "Train it on first" in found


def test_both_are_said() -> None:
    found = unconverged([0.1, 0.2], confusion([0]))
    assert found is not None and "in its last epoch and 3 of 4 classes" in found
