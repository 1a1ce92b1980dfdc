"""Where a label map is right and wrong: near boundaries or inside, on which outlines, in how many pieces.

Three measures of one image, each as counts, so that those of many images can be added up or drawn again:

* the pixels within some distance of a true boundary, the trimap of Krähenbühl and Koltun 2011,
* the boundary F1 of Csurka et al. 2013,
* connected components by class.

**Void.** Void pixels count nowhere, and the border of a void region is no boundary. But PASCAL VOC and others paint the
outline of every object void, so two classes touch nowhere. So void pixels first take the class of the nearest pixel
that has one, in the truth and, from the same pixel, in the prediction. A thin void outline then has the boundary in its
middle, a region that is void on one side of a class has none there, and what was predicted on void changes nothing.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from load_tf.data.dataset import IGNORE_LABEL

WIDTHS = (3, 5, 10)
"""Of the trimaps: a pixel is within w pixels if it is less than w away, in the plane, from the nearest pixel at a true
boundary. With w = 1 those would be the two rows of pixels that touch along a boundary."""
TOLERANCE = 0.0075
"""Of the boundary F1, as a share of the image's diagonal; the paper's."""

_EIGHT = np.ones((3, 3), bool)
"""Pixels that touch at a corner are connected: a thin class on a slant is one piece."""


class Shapes(NamedTuple):
    """Counts of N images, or of one, then without the first axis."""

    trimap: np.ndarray
    """int64 [N, len(WIDTHS), 3, K]: correct, true and predicted pixels of every class within each of `WIDTHS`."""
    boundary: np.ndarray
    """int64 [N, 4, K]: true boundary pixels, those of them that were found, predicted ones, those that are right."""
    components: np.ndarray
    """int64 [N, 2, K]: connected components in the truth and in the prediction."""


def zeros(num_images: int, num_classes: int) -> Shapes:
    """Of images in which nothing has been counted yet."""
    return Shapes(
        np.zeros((num_images, len(WIDTHS), 3, num_classes), np.int64),
        np.zeros((num_images, 4, num_classes), np.int64),
        np.zeros((num_images, 2, num_classes), np.int64),
    )


def shapes(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> Shapes:
    """Measures one image.

    A boundary pixel is one with a neighbour of another class above, below, left or right; the edge of the image is no
    boundary. It belongs to its own class. It is found, or right, if the other map has a boundary pixel of the same
    class less than `TOLERANCE` of the diagonal away.

    Args:
      truth: uint8 [H, W], values in {0..K-1, 255}; 255 is void.
      prediction: uint8 [H, W], values in [0, K).
      num_classes: K.

    Returns:
      Its counts, all 0 if everything is void.

    Raises:
      ValueError: if the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"label map of shape {truth.shape} against prediction of shape {prediction.shape}.")
    counted = truth != IGNORE_LABEL
    if not counted.any():
        return Shapes(*(array[0] for array in zeros(1, num_classes)))
    tolerance = TOLERANCE * float(np.hypot(*truth.shape))
    reachable = counted
    if not counted.all():
        box = _around(~counted)
        depth, nearest = ndimage.distance_transform_edt(~counted[box], return_indices=True)
        truth, prediction, reachable = truth.copy(), prediction.copy(), counted.copy()
        for label_map in (truth, prediction):
            label_map[box] = label_map[box][tuple(nearest)]
        # Far inside a void region there are boundaries between classes that nobody has drawn.
        reachable[box] = depth < tolerance
    edges = at_boundary(truth)
    return Shapes(
        _trimap(truth, prediction, edges, counted, num_classes),
        _boundary(truth, prediction, edges & reachable, at_boundary(prediction) & reachable, tolerance, num_classes),
        np.stack([_components(label_map, counted, num_classes) for label_map in (truth, prediction)]),
    )


def at_boundary(label_map: np.ndarray) -> np.ndarray:
    """bool [H, W]: pixels with a neighbour of another class above, below, left or right."""
    found = np.zeros(label_map.shape, bool)
    for first, second in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = label_map[first] != label_map[second]
        found[first] |= differs
        found[second] |= differs
    return found


def _around(pixels: np.ndarray) -> tuple[slice, slice]:
    """The least box with some pixels and their neighbours, one of which is the nearest that is none of them."""
    rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def squared_distances(pixels: np.ndarray, limit: int) -> np.ndarray:
    """To the nearest of some pixels, exact where it is less than a limit. A tenth of a whole distance transform's time.

    Args:
      pixels: bool [H, W].
      limit: in pixels, from 1 to 11.

    Returns:
      uint8 [H, W]: the squared distance in the plane; `limit` squared or more where that is no less.
    """
    in_column = np.where(pixels, np.uint8(0), np.uint8(limit))
    for _ in range(limit - 1):
        np.minimum(in_column[1:], in_column[:-1] + np.uint8(1), out=in_column[1:])
        np.minimum(in_column[:-1], in_column[1:] + np.uint8(1), out=in_column[:-1])
    column = in_column * in_column
    nearest = column.copy()
    for step in range(1, limit):
        aside = column + np.uint8(step * step)
        np.minimum(nearest[:, step:], aside[:, :-step], out=nearest[:, step:])
        np.minimum(nearest[:, :-step], aside[:, step:], out=nearest[:, :-step])
    return nearest


def _trimap(
    truth: np.ndarray, prediction: np.ndarray, edges: np.ndarray, counted: np.ndarray, num_classes: int
) -> np.ndarray:
    result = np.zeros((len(WIDTHS), 3, num_classes), np.int64)
    if not edges.any():
        return result
    distance = squared_distances(edges, max(WIDTHS))
    for counts, width in zip(result, WIDTHS, strict=True):
        inside = (distance < width * width) & counted
        true, predicted = truth[inside], prediction[inside]
        for row, values in zip(counts, (true[true == predicted], true, predicted), strict=True):
            row[:] = np.bincount(values, minlength=num_classes)
    return result


def _boundary(
    truth: np.ndarray,
    prediction: np.ndarray,
    true_edges: np.ndarray,
    predicted_edges: np.ndarray,
    tolerance: float,
    num_classes: int,
) -> np.ndarray:
    sides = [_Outline.of(label_map, edges) for label_map, edges in ((truth, true_edges), (prediction, predicted_edges))]
    rows = []
    for own, other in zip(sides, sides[::-1], strict=True):
        near = own.classes[own.near(other, tolerance)]
        rows += [np.bincount(classes, minlength=num_classes) for classes in (own.classes, near)]
    return np.stack(rows)


class _Outline(NamedTuple):
    """The boundary pixels of one map."""

    drawn: np.ndarray
    """uint8 [H + 2, W + 2]: their classes, `IGNORE_LABEL` everywhere else."""
    places: np.ndarray
    """int64 [N, 2]: row and column."""
    classes: np.ndarray
    """uint8 [N]"""

    @classmethod
    def of(cls, label_map: np.ndarray, edges: np.ndarray) -> "_Outline":
        drawn = np.pad(np.where(edges, label_map, np.uint8(IGNORE_LABEL)), 1, constant_values=IGNORE_LABEL)
        return cls(drawn, np.column_stack(np.nonzero(edges)), label_map[edges])

    def near(self, other: "_Outline", tolerance: float) -> np.ndarray:
        """bool [N]: which have a pixel of their class in the other, less than the tolerance away."""
        # Most are found at their own place or beside it, without a search.
        near = np.zeros(len(self.classes), bool)
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                if np.hypot(row, column) < tolerance:
                    places = self.places + np.array([1 + row, 1 + column])
                    near |= other.drawn[tuple(places.T)] == self.classes
        far = ~near
        if far.any() and len(other.classes):
            # The class as a third coordinate keeps classes further apart than any tolerance: one tree serves them all.
            own, others = (
                np.column_stack([places, sum(self.drawn.shape) * classes.astype(np.int64)])
                for places, classes in ((self.places[far], self.classes[far]), (other.places, other.classes))
            )
            tree = cKDTree(others, balanced_tree=False, compact_nodes=False)
            near[far] = np.isfinite(tree.query(own, distance_upper_bound=tolerance)[0])
        return near


def _components(label_map: np.ndarray, counted: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [K]: those that hold a counted pixel."""
    found = np.zeros(num_classes, np.int64)
    for k, box in enumerate(ndimage.find_objects(label_map + np.uint8(1))):
        if box is not None:
            pieces, _ = ndimage.label(label_map[box] == k, _EIGHT)
            found[k] = np.count_nonzero(np.bincount(pieces[counted[box]])[1:])
    return found


def boundary_f1(boundary: np.ndarray) -> np.ndarray:
    """The F1 of precision and recall of boundary pixels, 2 P R / (P + R), as Csurka et al. 2013 define it.

    Args:
      boundary: int64 [..., 4, K], as in `Shapes`.

    Returns:
      float64 [..., K] in [0, 1]; NaN where neither map has a boundary of the class, 0 where only one has.
    """
    true, found, predicted, right = np.moveaxis(boundary.astype(np.float64), -2, 0)
    recall = np.divide(found, true, out=np.zeros_like(true), where=true > 0)
    precision = np.divide(right, predicted, out=np.zeros_like(true), where=predicted > 0)
    both = recall + precision
    score = np.divide(2 * precision * recall, both, out=np.zeros_like(true), where=both > 0)
    return np.where(true + predicted > 0, score, np.nan)
