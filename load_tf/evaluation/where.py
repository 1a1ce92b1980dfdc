"""Where a gain is: near true boundaries or away from them, on outlines, in the number of pieces, in class proportions.

A gain that a constant added to every class's logit could have brought shows in the proportions; one that a better
outline brings, near the boundaries.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from load_tf.evaluation.bootstrap import Groups, counts_of, mean_gain_over_runs
from load_tf.evaluation.miou import iou_of_truth, mean_over_present
from load_tf.evaluation.shapes import TOLERANCE, WIDTHS, Shapes, boundary_f1

NOTES = (
    f"Within w pixels: less than w away from a pixel at a true boundary. mIoU there is over the classes that the truth "
    f"has there. Boundary F1: the share of boundary pixels with one of the same class in the other map less than "
    f"{100 * TOLERANCE:g} % of the image's diagonal away, precision and recall by class and image, averaged over an "
    "image's classes and then over images; a class's own is over the images where it has a boundary, true or "
    "predicted. Pixels of a wrong share: half of the summed differences between predicted and true class proportions. "
    "Void counts nowhere: its border is no boundary.",
)
"""What the numbers mean."""
_WITHOUT = "Gains in boundary F1, shares and components have no interval."

Measured = tuple[np.ndarray, Shapes]
"""Confusion matrices int64 [N, K, K] and the shapes of the same N images."""


def where(
    class_names: Sequence[str],
    baseline: Measured,
    load: Measured | None = None,
    *,
    chosen: Sequence[int] | None = None,
    groups: Groups = None,
    seed: int = 0,
    draws: int = 10_000,
) -> dict[str, Any] | None:
    """The measures of a run, or, without `load`, of a model alone, as they stand in `summary.json`.

    Args:
      class_names: K names.
      baseline: of the segmentor before LoAd.
      load: of the same images after LoAd.
      chosen: which images it is over; None: all.
      groups: N labels, of images that the bootstrap draws together; None: every image for itself.
      seed: of the bootstrap.
      draws: of the bootstrap.

    Returns:
      `images`; `measures`, each with `name`, `baseline`, `load`, `gain`, `gain_low`, `gain_high` in per cent and
      points, and for an mIoU the share of `pixels` it is over; `classes`, for each name `boundary_f1` (before, after),
      `components` and `proportion` (true, before, after); `notes`. What does not apply is None. None if there is no
      image, or no pixel is counted.
    """
    images = np.arange(len(baseline[0])) if chosen is None else np.asarray(chosen, np.int64)
    sides = [(side[0][images], Shapes(*(counts[images] for counts in side[1]))) for side in (baseline, load) if side]
    if not sides[0][0].any():
        return None
    labels = None if groups is None else [groups[i] for i in images]
    measures = [
        _miou_row(name, [region(*side) for side in sides], int(sides[0][0].sum()), labels, seed, draws)
        for name, region in _regions()
    ]
    measures.append(_row("boundary F1", [_mean_f1(shapes) for _, shapes in sides]))
    proportions = [_proportions(confusion) for confusion, _ in sides]
    measures.append(_row("pixels of a wrong share", [np.abs(own - true).sum() / 2 for true, own in proportions]))
    return {
        "images": len(images),
        "measures": measures,
        "classes": {
            name: {
                "boundary_f1": _per_cents([_class_f1(shapes)[k] for _, shapes in sides]),
                "components": [
                    int(sides[0][1].components[:, 0, k].sum()),
                    *(int(shapes.components[:, 1, k].sum()) for _, shapes in sides),
                ],
                "proportion": _per_cents([proportions[0][0][k], *(own[k] for _, own in proportions)]),
            }
            for k, name in enumerate(class_names)
        },
        "notes": [*NOTES, *([_WITHOUT] if load else [])],
    }


def text(found: dict[str, Any]) -> str:
    """What `where` found of one model, as two tables for a terminal."""
    rows = [["where", "", "pixels"]]
    for measure in found["measures"]:
        pixels = measure.get("pixels")
        rows.append([measure["name"], number(measure["baseline"]), "" if pixels is None else f"{pixels:.1f} %"])
    classes = [["class", "boundary F1", "components", "of the truth", "% of pixels", "of the truth"]]
    for name, of in found["classes"].items():
        (pieces, own_pieces), (share, own_share) = of["components"], of["proportion"]
        cells = [number(of["boundary_f1"][0]), str(own_pieces), str(pieces), number(own_share), number(share)]
        classes.append([name, *cells])
    return f"{_aligned(rows)}\n{_aligned(classes)}\n" + "".join(f"{note}\n" for note in found["notes"])


def number(value: float | None) -> str:
    """Two decimals; nothing where nothing applies."""
    return "" if value is None else f"{value:.2f}"


def _regions() -> list[tuple[str, Any]]:
    """Names, and functions from a side to the counts [N, 3 K] of a part of the pixels."""
    parts: list[tuple[str, Any]] = [
        (f"mIoU within {width} pixels of a boundary", lambda _, shapes, i=i: _flat(shapes.trimap[:, i]))
        for i, width in enumerate(WIDTHS)
    ]
    return [*parts, ("mIoU elsewhere", lambda confusion, shapes: counts_of(confusion) - _flat(shapes.trimap[:, -1]))]


def _flat(counts: np.ndarray) -> np.ndarray:
    """[N, 3, K] as [N, 3 K]."""
    return counts.reshape(len(counts), -1)


def _miou_row(
    name: str, counts: Sequence[np.ndarray], pixels: int, groups: Groups, seed: int, draws: int
) -> dict[str, Any]:
    scores = [float(mean_over_present(iou_of_truth(*np.split(side.sum(0), 3)))) for side in counts]
    row = _row(name, scores)
    if len(counts) > 1:
        found = mean_gain_over_runs(counts[0][None], counts[1][None], groups=groups, seed=seed, draws=draws)
        row |= dict(zip(("gain_low", "gain_high"), _per_cents([found.low, found.high]), strict=True))
    return {**row, "pixels": 100 * int(np.split(counts[0], 3, axis=1)[1].sum()) / pixels}


def _row(name: str, scores: Sequence[float]) -> dict[str, Any]:
    before, after = [*_per_cents(scores), None][:2]
    gain = None if before is None or after is None else after - before
    return {"name": name, "baseline": before, "load": after, "gain": gain, "gain_low": None, "gain_high": None}


def _mean_f1(shapes: Shapes) -> float:
    return float(mean_over_present(mean_over_present(boundary_f1(shapes.boundary))))


def _class_f1(shapes: Shapes) -> np.ndarray:
    return mean_over_present(boundary_f1(shapes.boundary).T)


def _proportions(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 [K] twice: the classes' shares of all counted pixels in the truth and in the prediction."""
    summed = confusion.sum(0)
    return summed.sum(1) / summed.sum(), summed.sum(0) / summed.sum()


def _per_cents(fractions: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else 100 * float(value) for value in fractions]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Names to the left, numbers to the right, a rule under the first row."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() + "\n" for row in lines
    )
