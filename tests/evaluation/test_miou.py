"""Confusion matrices and mIoU against pixel-by-pixel counting and hand-computed numbers."""

import math

import numpy as np
import pytest

from load_tf.evaluation.miou import confusion_matrix, iou, mean_iou, mean_iou_of_truth

K = 4


def brute_force(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    counts = np.zeros((K, K), np.int64)
    for row, column in zip(label.ravel(), prediction.ravel(), strict=True):
        if row != 255:
            counts[row, column] += 1
    return counts


def random_pair(seed: int, void: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 30, 2)
    label, prediction = generator.integers(0, K, (2, height, width), dtype=np.uint8)
    label[generator.random(label.shape) < void] = 255
    return label, prediction


@pytest.mark.parametrize("seed", range(5))
def test_confusion_matrix_counts_pixel_by_pixel(seed: int) -> None:
    label, prediction = random_pair(seed)
    counts = confusion_matrix(label, prediction, K)
    np.testing.assert_array_equal(counts, brute_force(label, prediction))
    assert counts.dtype == np.int64


def test_rows_are_the_truth() -> None:
    counts = confusion_matrix(np.array([[2, 2, 255]], np.uint8), np.array([[1, 2, 3]], np.uint8), K)
    assert counts[2, 1] == 1 and counts[1, 2] == 0 and counts[2, 2] == 1 and counts.sum() == 2


def test_hand_computed_iou() -> None:
    # Class 0: 3 right, 1 missed, 2 too many; class 1: 4 right, 2 missed, 1 too many; class 2 is nowhere.
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    np.testing.assert_allclose(iou(confusion), [3 / 6, 4 / 7, np.nan])
    assert mean_iou(confusion) == pytest.approx((3 / 6 + 4 / 7) / 2)


def test_a_class_only_predicted_counts_as_zero_not_as_absent() -> None:
    confusion = np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]])
    np.testing.assert_allclose(iou(confusion), [3 / 4, 1.0, 0.0])
    assert mean_iou(confusion) == pytest.approx(1.75 / 3)


def test_what_decides_is_over_the_classes_of_the_truth() -> None:
    confusion = np.array([[3, 0, 1, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    # Class 2 is only predicted: as 0 in the official mean, not at all in the other; class 3 is nowhere.
    assert mean_iou(confusion) == pytest.approx(1.75 / 3)
    assert mean_iou_of_truth(confusion) == pytest.approx(1.75 / 2)
    # A class of the truth that nobody finds counts as 0 in both.
    missed = np.array([[3, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert mean_iou(missed) == mean_iou_of_truth(missed) == pytest.approx(3 / 5 / 2)
    assert math.isnan(mean_iou_of_truth(np.zeros((K, K), np.int64)))


@pytest.mark.parametrize("seed", range(5))
def test_where_the_truth_has_all_classes_the_two_scores_are_the_same_to_the_last_bit(seed: int) -> None:
    confusion = np.random.default_rng(seed).integers(1, 999, (6, K, K))
    assert mean_iou_of_truth(confusion) == mean_iou(confusion)


def test_sets_are_scored_by_the_sum_of_their_matrices_not_by_the_mean_of_scores() -> None:
    pairs = [random_pair(seed) for seed in range(7)]
    per_image = np.stack([confusion_matrix(label, prediction, K) for label, prediction in pairs])
    whole = confusion_matrix(
        np.concatenate([label.ravel() for label, _ in pairs]), np.concatenate([p.ravel() for _, p in pairs]), K
    )
    assert mean_iou(per_image) == pytest.approx(mean_iou(whole), abs=1e-15)
    # Merged over uneven parts, it's the same.
    merged = per_image[:3].sum(0) + per_image[3:4].sum(0) + per_image[4:].sum(0)
    assert mean_iou(merged) == mean_iou(per_image)
    assert abs(np.mean([mean_iou(matrix) for matrix in per_image]) - mean_iou(whole)) > 1e-3


def test_nothing_but_void_has_no_score() -> None:
    label = np.full((3, 5), 255, np.uint8)
    confusion = confusion_matrix(label, np.ones((3, 5), np.uint8), K)
    assert confusion.sum() == 0
    assert math.isnan(mean_iou(confusion)) and np.isnan(iou(confusion)).all()
    # Beside other images, it changes nothing.
    other = confusion_matrix(*random_pair(1), K)
    assert mean_iou(np.stack([confusion, other])) == mean_iou(other)


@pytest.mark.parametrize(("label", "prediction"), [([[4]], [[1]]), ([[1]], [[4]]), ([[1]], [[255]])])
def test_values_out_of_range_are_refused(label: list, prediction: list) -> None:
    with pytest.raises(ValueError, match="expected 0 to 3"):
        confusion_matrix(np.array(label, np.uint8), np.array(prediction, np.uint8), K)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shape"):
        confusion_matrix(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), K)
