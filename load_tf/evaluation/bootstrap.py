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


@dataclasses.dataclass(frozen=True)
class MeanGain:
    """The mean gain of several runs, as a fraction, with the bounds of its interval over other seeds and images."""

    gain: float
    low: float
    high: float
    spread: float
    """Standard deviation over the runs; 0 for one."""


def over_seeds_and_images(
    before: np.ndarray, after: np.ndarray, *, draws: int = 10_000, seed: int = 0, level: float = 0.95
) -> MeanGain:
    """The mean gain over runs that differ in their seed, with an interval that resamples seeds and images together.

    Every draw takes as many seeds as there are and as many images as there are, both with replacement; all its seeds
    are scored on the same images.

    Args:
      before: int [S, N, 3 K], for every seed and image (or group of images) `counts_of` the start model.
      after: int [S, N, 3 K], of the result.
      draws: resamples.
      seed: of the resamples.
      level: nominal coverage, in (0, 1).

    Raises:
      ValueError: if the shapes differ or are not [S, N, 3 K].
    """
    if before.shape != after.shape or before.ndim != 3 or before.shape[2] % 3:
        raise ValueError(f"counts of shape {before.shape} and {after.shape}; expected [S, N, 3 K] twice.")

    def miou(counts: np.ndarray) -> np.ndarray:
        return mean_over_present(iou_of_counts(*np.split(counts.astype(np.float64), 3, axis=-1)))

    runs, images = before.shape[:2]
    gains = miou(after.sum(1)) - miou(before.sum(1))
    random = randomness.generator(seed, "seeds", runs, images)
    found = []
    for weights in _resamples(images, draws, seed):
        per_run = np.stack([miou(weights @ a) - miou(weights @ b) for b, a in zip(before, after, strict=True)], axis=1)
        drawn = random.integers(runs, size=per_run.shape)
        found.append(np.take_along_axis(per_run, drawn, axis=1).mean(axis=1))
    low, high = np.quantile(np.concatenate(found), ((1 - level) / 2, (1 + level) / 2))
    spread = float(gains.std(ddof=1)) if runs > 1 else 0.0
    return MeanGain(float(gains.mean()), float(low), float(high), spread)


def counts_of(confusion: np.ndarray) -> np.ndarray:
    """All that an IoU needs of confusion matrices: correct, true and predicted pixels.

    Args:
      confusion: int [N, K, K].

    Returns:
      int [N, 3 K].
    """
    correct = np.diagonal(confusion, axis1=1, axis2=2)
    return np.concatenate([correct, confusion.sum(2), confusion.sum(1)], axis=1)


def share_of_draws_won(baseline: np.ndarray, other: np.ndarray, draws: int = 2000, seed: int = 0) -> float:
    """Share of paired draws of the images in which the other model's mIoU is higher; a tie counts half.

    Args:
      baseline: int [N, K, K], confusion matrices per image.
      other: int [N, K, K], of the same images in the same order.
      draws: resamples.
      seed: of the resamples.

    Raises:
      ValueError: as `paired_bootstrap`.
    """
    _check(baseline, other, draws, 0.5)
    counts = [_counts(baseline), _counts(other)]
    won = 0.0
    for weights in _resamples(len(baseline), draws, seed):
        before, after = (
            mean_over_present(iou_of_counts(*np.split(weights @ per_image, 3, axis=1))) for per_image in counts
        )
        won += float(np.sum(after > before) + np.sum(after == before) / 2)
    return won / draws


def _check(baseline: np.ndarray, other: np.ndarray, draws: int, level: float) -> None:
    shape = baseline.shape
    if other.shape != shape or len(shape) != 3 or shape[1] != shape[2] or not shape[0]:
        raise ValueError(f"confusion matrices of shape {shape} and {other.shape}; expected [N, K, K] twice, N > 0.")
    if not np.array_equal(baseline.sum(2), other.sum(2)):
        raise ValueError("the two models' confusion matrices don't agree on the truth: not the same images in order.")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws {draws} and level {level}; expected at least 1, and a level in (0, 1).")


def _counts(confusion: np.ndarray) -> np.ndarray:
    """float64 [N, 3 K]: exact, being far below 2^53."""
    return counts_of(confusion).astype(np.float64)


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
