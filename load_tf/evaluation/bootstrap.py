"""How sure a gain is: paired bootstrap over images.

Images are drawn with replacement, as many as there are; both models are scored on the same draw, so what makes an image
easy or hard for both cancels. The interval is the percentile interval over the draws. It speaks of other images from
the same source, not of other seeds or other runs.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from load_tf import randomness
from load_tf.evaluation.miou import iou, iou_of_counts, mean_iou, mean_over_present

_CHUNK_ELEMENTS = 2_000_000
"""Draws are made in chunks of at most so many (draw, image) pairs: 16 MB each of indices and of counts."""


@dataclasses.dataclass(frozen=True, eq=False)
class GainIntervals:
    """Gains of one model over another, in IoU as a fraction, with the bounds of their intervals.

    Attributes:
      gain: float64 [K], the classes' gain over all images; NaN for a class that one of the two has no IoU for.
      low: float64 [K], the lower bounds; NaN where no draw had an IoU of both.
      high: float64 [K], the upper bounds.
      miou_gain: the gain in mIoU.
      miou_low: its lower bound.
      miou_high: its upper bound.
      level: the intervals' nominal coverage.
      draws: how many resamples they rest on.
    """

    gain: np.ndarray
    low: np.ndarray
    high: np.ndarray
    miou_gain: float
    miou_low: float
    miou_high: float
    level: float
    draws: int


def paired_bootstrap(
    baseline: np.ndarray, other: np.ndarray, *, draws: int = 10_000, seed: int = 0, level: float = 0.95
) -> GainIntervals:
    """Confidence intervals of the gain of `other` over `baseline`.

    A class absent from a resample (empty union) is left out of that resample's mean, as in `mean_iou`.

    Args:
      baseline: int [N, K, K], confusion matrices per image.
      other: int [N, K, K], of the same images in the same order.
      draws: resamples.
      seed: of the resamples; those of equal N, draws and seed are the same.
      level: nominal coverage, in (0, 1).

    Raises:
      ValueError: if the shapes differ or aren't [N, K, K] with N > 0, or the truth of the two isn't the same.
    """
    _check(baseline, other, draws, level)
    counts = [_counts(baseline), _counts(other)]
    gains, mean_gains = [], []
    for weights in _resamples(len(baseline), draws, seed):
        scores = [iou_of_counts(*np.split(weights @ per_image, 3, axis=1)) for per_image in counts]
        gains.append(scores[1] - scores[0])
        mean_gains.append(mean_over_present(scores[1]) - mean_over_present(scores[0]))
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = _quantiles(np.concatenate(gains), tails)
    miou_low, miou_high = _quantiles(np.concatenate(mean_gains)[:, None], tails)
    return GainIntervals(
        gain=iou(other.sum(0)) - iou(baseline.sum(0)),
        low=low,
        high=high,
        miou_gain=mean_iou(other) - mean_iou(baseline),
        miou_low=float(miou_low[0]),
        miou_high=float(miou_high[0]),
        level=level,
        draws=draws,
    )


def _check(baseline: np.ndarray, other: np.ndarray, draws: int, level: float) -> None:
    shape = baseline.shape
    if other.shape != shape or len(shape) != 3 or shape[1] != shape[2] or not shape[0]:
        raise ValueError(f"confusion matrices of shape {shape} and {other.shape}; expected [N, K, K] twice, N > 0.")
    if not np.array_equal(baseline.sum(2), other.sum(2)):
        raise ValueError("the two models' confusion matrices don't agree on the truth: not the same images in order.")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws {draws} and level {level}; expected at least 1, and a level in (0, 1).")


def _counts(confusion: np.ndarray) -> np.ndarray:
    """float64 [N, 3 K]: correct, true and predicted pixels, all that an IoU needs; exact, being far below 2^53."""
    correct = np.diagonal(confusion, axis1=1, axis2=2)
    return np.concatenate([correct, confusion.sum(2), confusion.sum(1)], axis=1).astype(np.float64)


def _resamples(images: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yields float64 [n, N]: how often each image is in each of n resamples, in all `draws` of them."""
    generator = randomness.generator(seed, "paired bootstrap", images)
    step = max(1, _CHUNK_ELEMENTS // images)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = generator.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def _quantiles(values: np.ndarray, tails: tuple[float, float]) -> np.ndarray:
    """float64 [2, K]: quantiles of every column [D, K] over what isn't NaN."""
    result = np.full((2, values.shape[1]), np.nan)
    for k, column in enumerate(values.T):
        present = column[~np.isnan(column)]
        if present.size:
            result[:, k] = np.quantile(present, tails)
    return result
