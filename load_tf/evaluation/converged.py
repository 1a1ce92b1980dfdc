"""Whether a run began with a segmentor that was trained to its end: a gain over another one says nothing of LoAd."""

import math
from collections.abc import Sequence

import numpy as np

RISING = 0.5
"""Points of mIoU by which the last epochs of a training that has ended may still be better than those before them."""


def never_predicted(confusion: np.ndarray) -> np.ndarray:
    """Classes that the truth has and no pixel is taken for.

    Args:
      confusion: int64 [N, K, K], per image.

    Returns:
      bool [K].
    """
    summed = confusion.sum(0)
    return (summed.sum(1) > 0) & (summed.sum(0) == 0)


def unconverged(stage_one: Sequence[float], confusion: np.ndarray) -> str | None:
    """A sentence if the start is far from converged.

    Args:
      stage_one: mIoU on the hold-out, as fractions, after every epoch of stage 1; empty for a pre-trained segmentor.
      confusion: int64 [N, K, K], of the start model, per image.

    Returns:
      What shows it: the last quarter of the epochs better than the quarter before by more than `RISING`, or more than
      half of the truth's classes never predicted. None if neither is so.
    """
    found = []
    quarter = max(1, len(stage_one) // 4)
    if len(stage_one) > quarter:
        last, before = stage_one[-quarter:], stage_one[-2 * quarter : -quarter]
        rise = 100 * float(np.mean(last) - np.mean(before))
        if math.isfinite(rise) and rise > RISING:
            epochs = "its last epoch" if quarter == 1 else f"its last {quarter} epochs"
            found.append(f"stage 1 still gained {rise:.1f} points of hold-out mIoU in {epochs}")
    never, classes = int(never_predicted(confusion).sum()), int((confusion.sum((0, 2)) > 0).sum())
    if 2 * never > classes:
        found.append(f"{never} of {classes} classes are never predicted")
    if not found:
        return None
    return (
        f"the start is far from converged: {' and '.join(found)}. Train it on first (StageOne.epochs): a gain over "
        "such a start says nothing of LoAd"
    )
