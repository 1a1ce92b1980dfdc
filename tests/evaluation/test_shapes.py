"""Trimaps, boundary F1 and components of label maps that can be counted by hand."""

import math

import numpy as np
import pytest
from scipy import ndimage

from load_tf.evaluation import shapes as module
from load_tf.evaluation.shapes import WIDTHS, at_boundary, boundary_f1, shapes, squared_distances

VOID = 255


def square(top: int, left: int, side: int = 100, size: tuple[int, int] = (300, 400)) -> np.ndarray:
    """Class 1 on class 0; the diagonal of 300 x 400 is 500 pixels, of which 0.75 % are 3.75."""
    label_map = np.zeros(size, np.uint8)
    label_map[top : top + side, left : left + side] = 1
    return label_map


@pytest.mark.parametrize(("shift", "found"), [(0, 396), (1, 396), (3, 396), (4, 204)])
def test_a_square_that_is_shifted_less_than_the_tolerance_has_every_boundary_pixel(shift: int, found: int) -> None:
    """With 4 pixels, 99 of the upper and the lower side are less than 3.75 from the other's, 2 x 3 of one more side."""
    counts = shapes(square(100, 100), square(100, 100 + shift), 2)
    # The outline of a square of 100 x 100, and the one that the other class has around it.
    assert counts.boundary[:, 1].tolist() == [396, found, 396, found]
    assert counts.boundary[[0, 2], 0].tolist() == [400, 400]
    assert boundary_f1(counts.boundary)[1] == pytest.approx(found / 396)


def test_a_shift_by_one_pixel_is_a_column_of_the_trimap() -> None:
    truth, prediction = np.zeros((2, 20, 60), np.uint8)
    truth[:, 30:], prediction[:, 31:] = 1, 1
    counts = shapes(truth, prediction, 3)
    for width, (correct, true, predicted) in zip(WIDTHS, counts.trimap, strict=True):
        # `width` columns on either side; the first column of class 1 is taken for class 0.
        assert true.tolist() == [20 * width, 20 * width, 0]
        assert correct.tolist() == [20 * width, 20 * (width - 1), 0]
        assert predicted.tolist() == [20 * (width + 1), 20 * (width - 1), 0]
    same = shapes(truth, truth, 3).trimap
    assert (same[:, 0] == same[:, 1]).all() and (same[:, 0] == same[:, 2]).all()


def test_an_object_that_is_split_has_two_components() -> None:
    truth = square(10, 10, side=20, size=(40, 50))
    prediction = truth.copy()
    prediction[:, 20] = 0
    assert shapes(truth, prediction, 3).components.tolist() == [[1, 1, 0], [1, 2, 0]]
    # A speck of the class elsewhere is one more; pieces that touch at a corner are one.
    prediction[0, 0] = 1
    assert shapes(truth, prediction, 3).components[1].tolist() == [1, 3, 0]
    slanted = np.eye(30, dtype=np.uint8)
    assert shapes(slanted, slanted, 2).components[0].tolist() == [1, 1]


def test_the_border_of_void_is_no_boundary_and_what_is_predicted_there_counts_nowhere() -> None:
    truth = np.zeros((30, 40), np.uint8)
    truth[:, 25:] = VOID
    nothing, wild = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    wild[:, 25:] = np.random.default_rng(0).integers(0, 3, (30, 15))
    for prediction in (nothing, wild):
        counts = shapes(truth, prediction, 3)
        assert not counts.trimap.any() and not counts.boundary.any()
        assert counts.components.tolist() == [[1, 0, 0], [1, 0, 0]]
    # Painted as a class, the same border is one.
    painted = np.where(truth == VOID, 1, truth).astype(np.uint8)
    counts = shapes(painted, nothing, 3)
    assert counts.boundary[0].tolist() == [30, 30, 0] and counts.trimap[0, 1].tolist() == [90, 90, 0]


def test_a_void_outline_has_the_boundary_in_its_middle() -> None:
    """As PASCAL VOC paints objects: without this, it would have no boundaries at all."""
    whole = square(100, 100)
    truth = whole.copy()
    truth[97:203, 97:203] = VOID
    truth[102:198, 102:198] = 1
    counts = shapes(truth, whole, 2)
    assert boundary_f1(counts.boundary).tolist() == [1, 1]
    assert (counts.trimap[:, 0] == counts.trimap[:, 1]).all() and counts.trimap[0].any()
    assert not (counts.trimap[:, 1].sum(1) > (truth != VOID).sum()).any()
    # Anything on the void is the same, and one pixel beside it is not.
    wild = np.where(truth == VOID, np.random.default_rng(1).integers(0, 2, truth.shape), whole).astype(np.uint8)
    for one, other in zip(shapes(truth, wild, 2), counts, strict=True):
        np.testing.assert_array_equal(one, other)
    wild[150, 96] = 1
    assert (shapes(truth, wild, 2).trimap != counts.trimap).any()


def test_boundaries_far_inside_a_void_region_are_nobodys() -> None:
    """Between two classes a wedge of void opens; nearest pixels divide it by a line that no one has drawn."""
    truth = np.full((300, 400), VOID, np.uint8)
    truth[:, :100], truth[:, 300:] = 0, 1
    counts = shapes(truth, np.where(truth == VOID, 0, truth).astype(np.uint8), 2)
    assert not counts.boundary.any() and not counts.trimap.any()
    narrow = truth.copy()
    narrow[:, 97:303] = VOID
    narrow[:, :198], narrow[:, 202:] = 0, 1
    assert shapes(narrow, np.where(narrow == VOID, 0, narrow).astype(np.uint8), 2).boundary[1].tolist() == [300, 300]


def test_an_image_of_nothing_but_void_counts_nothing() -> None:
    counts = shapes(np.full((5, 7), VOID, np.uint8), np.zeros((5, 7), np.uint8), 4)
    assert [array.shape for array in counts] == [(len(WIDTHS), 3, 4), (4, 4), (2, 4)]
    assert not any(array.any() for array in counts)
    with pytest.raises(ValueError, match=r"\(5, 7\) against"):
        shapes(np.zeros((5, 7), np.uint8), np.zeros((7, 5), np.uint8), 4)


def test_equal_a_count_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 0.08)
    generator = np.random.default_rng(5)
    for _ in range(4):
        coarse = generator.integers(0, 4, (2, 5, 6), dtype=np.uint8)
        truth, prediction = coarse.repeat(5, axis=1).repeat(4, axis=2)
        prediction = np.where(generator.random(prediction.shape) < 0.03, 3, prediction).astype(np.uint8)
        counts = shapes(truth, prediction, 4)
        expected = plain_boundary(truth, prediction, 4, 0.08 * np.hypot(*truth.shape))
        np.testing.assert_array_equal(counts.boundary, expected)
        edges, places = np.argwhere(at_boundary(truth)), np.argwhere(truth < 255)
        away = np.linalg.norm(places[:, None] - edges, axis=-1).min(1).reshape(truth.shape)
        for width, (correct, true, _) in zip(WIDTHS, counts.trimap, strict=True):
            assert true.sum() == (away < width).sum()
            assert correct.sum() == (truth == prediction)[away < width].sum()


@pytest.mark.parametrize("share", [0.0, 0.002, 0.02, 0.5, 1.0])
def test_distances_are_those_of_a_whole_transform_up_to_their_limit(share: float) -> None:
    pixels = np.random.default_rng(3).random((50, 70)) < share
    # A transform needs a pixel to measure from.
    expected = ndimage.distance_transform_edt(~pixels) if pixels.any() else np.full(pixels.shape, np.inf)
    for limit in (1, 3, 11):
        found = squared_distances(pixels, limit)
        near = expected < limit
        np.testing.assert_array_equal(found[near], np.rint(expected[near] ** 2))
        assert (found[~near] >= limit**2).all()


def test_void_takes_its_class_from_the_same_pixel_as_in_the_whole_image() -> None:
    generator = np.random.default_rng(8)
    for top, left, height, width in ((3, 5, 20, 9), (0, 0, 12, 50), (25, 40, 15, 20)):
        truth = generator.integers(0, 5, (40, 60), dtype=np.uint8)
        truth[top : top + height, left : left + width][generator.random((40, 60))[:height, :width] < 0.9] = VOID
        void = truth == VOID
        depth, nearest = ndimage.distance_transform_edt(void, return_indices=True)
        box = module._around(void)
        assert depth.max() > 1 and np.count_nonzero(void[box]) == np.count_nonzero(void)
        within = ndimage.distance_transform_edt(void[box], return_indices=True)[1]
        corner = np.array([side.start for side in box])[:, None, None]
        np.testing.assert_array_equal((within + corner)[:, void[box]], nearest[:, void])


def plain_boundary(truth: np.ndarray, prediction: np.ndarray, num_classes: int, tolerance: float) -> np.ndarray:
    """True pixels, found ones, predicted ones, right ones, by loops."""

    def points(label_map: np.ndarray, k: int) -> list[tuple[int, int]]:
        found = []
        for y, x in np.argwhere(label_map == k):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [at for at in around if 0 <= at[0] < label_map.shape[0] and 0 <= at[1] < label_map.shape[1]]
            if any(label_map[at] != k for at in inside):
                found.append((y, x))
        return found

    result = np.zeros((4, num_classes), np.int64)
    for k in range(num_classes):
        true, predicted = points(truth, k), points(prediction, k)
        for row, own, other in ((0, true, predicted), (2, predicted, true)):
            near = [at for at in own if any(math.dist(at, b) < tolerance for b in other)]
            result[row : row + 2, k] = len(own), len(near)
    return result


def test_f1_of_counts() -> None:
    #                  right, half, only true, only predicted, neither
    boundary = np.array([[10, 10, 5, 0, 0], [10, 5, 0, 0, 0], [8, 4, 0, 7, 0], [8, 1, 0, 0, 0]])
    expected = [1, 2 * 0.25 * 0.5 / 0.75, 0, 0, np.nan]
    np.testing.assert_allclose(boundary_f1(boundary), expected)
    np.testing.assert_allclose(boundary_f1(np.stack([boundary, boundary])), [expected, expected])
