"""How sure a gain is: paired bootstrap over images or groups of images, and a t interval over runs.

Images are drawn with replacement, as many as there are; both models are scored on the same draw, so what makes an image
easy or hard for both cancels. Neighbours of a video resemble each other: drawn one by one, they make an interval far
too short. So images can be given groups (a clip, a drive, a block of frames), which are then drawn whole.

Both models are scored over one set of classes, those that the truth of the draw has, as in `miou.mean_iou_of_truth`.

The interval of one run speaks of other images from the same source, not of other seeds or other runs;
`mean_gain_over_runs` speaks of both.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from scipy.special import stdtrit

from load_tf import randomness
from load_tf.evaluation.miou import iou_of_truth, mean_over_present

_CHUNK_ELEMENTS = 2_000_000
"""Draws are made in chunks of at most so many (draw, image) pairs: 16 MB each of indices and of counts."""

Groups = Sequence[Hashable] | None
"""One label for every image; images of equal labels are drawn together. None: every image is drawn for itself."""


@dataclasses.dataclass(frozen=True, eq=False)
class GainIntervals:
    """Gains of one model over another, in IoU as a fraction, with the bounds of their intervals.

    Attributes:
      gain: float64 [K], the classes' gain over all images; NaN for a class that the truth lacks.
      low: float64 [K], the lower bounds; NaN where no draw's truth has the class, or only one group's.
      high: float64 [K], the upper bounds.
      miou_gain: the gain in mIoU over the classes that the truth has.
      miou_low: its lower bound; NaN for a single group.
      miou_high: its upper bound.
      level: the intervals' nominal coverage.
      draws: how many resamples they rest on.
      groups: how many groups of images they rest on; None if the images were drawn as independent.
    """

    gain: np.ndarray
    low: np.ndarray
    high: np.ndarray
    miou_gain: float
    miou_low: float
    miou_high: float
    level: float
    draws: int
    groups: int | None = None


def paired_bootstrap(
    baseline: np.ndarray,
    other: np.ndarray,
    *,
    groups: Groups = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> GainIntervals:
    """Confidence intervals of the gain of `other` over `baseline`.

    A class absent from a resample's truth is left out of that resample's mean for both models.

    Without groups the interval is the percentile interval over the draws. Of few groups that would be too short, so
    with groups it is the t interval gain -+ t * s * sqrt(G / (G - 1)): s is the standard deviation over the draws, the
    root makes up for the bootstrap taking G groups for the population, and t, with G - 1 degrees of freedom, for how
    little a few groups say about s. G is the number of groups, and for a class the number of those whose truth has it.
    Groups have to be long against the time over which neighbours resemble each other; what resemblance is left between
    groups still makes intervals too short.

    Args:
      baseline: int [N, K, K], confusion matrices per image.
      other: int [N, K, K], of the same images in the same order.
      groups: N labels: images with the same one are drawn together; None: every image for itself.
      draws: resamples.
      seed: of the resamples; those of equal N (or number of groups), draws and seed are the same.
      level: nominal coverage, in (0, 1).

    Raises:
      ValueError: if the shapes differ or aren't [N, K, K] with N > 0, the truth of the two isn't the same, or there are
        not N labels.
    """
    _check(baseline, other, draws, level)
    counts = [_by_group(counts_of(confusion), groups) for confusion in (baseline, other)]
    gains, mean_gains = [], []
    for weights in _resamples(len(counts[0]), draws, seed):
        scores = [_iou(weights @ per_group) for per_group in counts]
        gains.append(scores[1] - scores[0])
        mean_gains.append(mean_over_present(scores[1]) - mean_over_present(scores[0]))
    before, after = (_iou(per_group.sum(0)) for per_group in counts)
    gain, miou_gain = after - before, float(mean_over_present(after) - mean_over_present(before))
    centre = np.array([*gain, miou_gain])
    drawn = np.concatenate([np.concatenate(gains), np.concatenate(mean_gains)[:, None]], axis=1)
    if groups is None:
        low, high = _quantiles(drawn, ((1 - level) / 2, (1 + level) / 2))
    else:
        having = np.array([*(np.split(counts[0], 3, axis=1)[1] > 0).sum(0), len(counts[0])])
        half = _t(having - 1, level) * np.sqrt(_variance_of_groups(drawn, having))
        low, high = centre - half, centre + half
    return GainIntervals(
        gain=gain,
        low=low[:-1],
        high=high[:-1],
        miou_gain=miou_gain,
        miou_low=float(low[-1]),
        miou_high=float(high[-1]),
        level=level,
        draws=draws,
        groups=None if groups is None else len(counts[0]),
    )


@dataclasses.dataclass(frozen=True)
class MeanGain:
    """The mean gain of several runs, as a fraction, with the bounds of its interval."""

    gain: float
    low: float
    """NaN, like `high`, where there is nothing to estimate an interval from: one run on one group."""
    high: float
    spread: float
    """Standard deviation over the runs; 0 for one."""
    kind: str
    """What the interval is and what it speaks of, as in "t over 3 seeds and 20 groups"."""


def mean_gain_over_runs(
    before: np.ndarray,
    after: np.ndarray,
    *,
    less: Sequence[np.ndarray] = (),
    groups: Groups = None,
    starts: Sequence[Hashable] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> MeanGain:
    """The mean gain over runs that differ in their seed or start, with an interval over other runs and other images.

    Runs from one start resemble each other as neighbouring images do. Where several starts have several runs, the gain
    of a start is the mean of its runs', and the interval is over starts.

    Several runs: a t interval about the mean. Its variance is that between the S runs, divided by S, plus that of the
    runs' mean gain between draws of the G groups, times G / (G - 1). Its t is Cochran's: the mean of those of S - 1 and
    G - 1 degrees of freedom, weighted by the two variances. It holds the mean gain at least as often as it says, for
    three runs up to 2 points more often; with Satterthwaite's degrees of freedom it would be 2 points less often where
    the runs differ most. What runs differ in by image is in both variances, which makes it longer, not shorter.
    Resampling three runs, as one resamples images, would take their variance for a third smaller than it is and would
    not know that three tell little about it.

    One run: the interval of `paired_bootstrap`, which speaks of images alone.

    Args:
      before: int [S, N, 3 K], for every run and image (or group of images) `counts_of` the start model.
      after: int [S, N, 3 K], of the result.
      less: `before` and `after` of S other runs, on the same images, whose gains are taken off, run by run; or nothing.
      groups: N labels: rows with the same one are drawn together; None: every row for itself.
      starts: S labels, of what each run started from; None: each from its own.
      draws: resamples of the groups.
      seed: of the resamples.
      level: nominal coverage, in (0, 1).

    Raises:
      ValueError: if the shapes differ or are not [S, N, 3 K], or there are not N labels.
    """
    counts = [before, after, *less]
    if (
        len(less) not in (0, 2)
        or before.ndim != 3
        or before.shape[2] % 3
        or any(side.shape != before.shape for side in counts)
    ):
        shapes = " and ".join(str(side.shape) for side in counts)
        raise ValueError(f"counts of shape {shapes}; expected [S, N, 3 K] each time, and two or four of them.")
    signs = (-1, 1, 1, -1)[: len(counts)]
    sides = [[_by_group(run, groups) for run in side] for side in counts]
    labels = range(len(before)) if starts is None else starts
    names = list(dict.fromkeys(labels))
    # [starts, runs]: what the mean of each start's runs weighs.
    share = np.array([[label == name for label in labels] for name in names], np.float64)
    share /= share.sum(1, keepdims=True)

    def gains_of(total: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Of every start, with the groups added up in some way."""
        per_run = [
            sum(sign * _miou(total(run)) for sign, run in zip(signs, runs, strict=True))
            for runs in zip(*sides, strict=True)
        ]
        return share @ np.array(per_run)

    gains = gains_of(lambda run: run.sum(0))
    runs, rows = len(gains), len(sides[0][0])
    drawn = []
    for weights in _resamples(rows, draws, seed):
        drawn.append(np.mean(gains_of(functools.partial(np.matmul, weights)), axis=0))
    found, mean = np.concatenate(drawn)[:, None], float(gains.mean())
    what = "seed" if starts is None else "start"
    over = "images as independent" if groups is None else f"{rows} group{'s' if rows != 1 else ''}"
    if runs == 1 and groups is None:
        low, high = _quantiles(found, ((1 - level) / 2, (1 + level) / 2))
        return MeanGain(mean, float(low[0]), float(high[0]), 0.0, f"over {over}, one {what}")
    parts = [(float(_variance_of_groups(found, np.array([rows]))[0]), rows - 1)]
    if runs == 1:
        half = _t_half_width(parts, level)
        return MeanGain(mean, mean - half, mean + half, 0.0, f"t over {over}, one {what}")
    spread = float(gains.std(ddof=1))
    half = _t_half_width([(spread**2 / runs, runs - 1), *(parts if rows > 1 else [])], level)
    return MeanGain(mean, mean - half, mean + half, spread, f"t over {runs} {what}s and {over}")


def counts_of(confusion: np.ndarray) -> np.ndarray:
    """All that an IoU needs of confusion matrices: correct, true and predicted pixels.

    Args:
      confusion: int [N, K, K].

    Returns:
      int [N, 3 K].
    """
    correct = np.diagonal(confusion, axis1=1, axis2=2)
    return np.concatenate([correct, confusion.sum(2), confusion.sum(1)], axis=1)


def share_of_draws_won(
    baseline: np.ndarray, other: np.ndarray, draws: int = 2000, seed: int = 0, *, groups: Groups = None
) -> float:
    """Share of paired draws of the images in which the other model's mIoU is higher; a tie counts half.

    Both models' mIoU is over the classes that the draw's truth has. A share from few groups says little: of one group
    every draw is the same, and the share 0, 0.5 or 1.

    Args:
      baseline: int [N, K, K], confusion matrices per image.
      other: int [N, K, K], of the same images in the same order.
      draws: resamples.
      seed: of the resamples.
      groups: N labels: images with the same one are drawn together; None: every image for itself.

    Raises:
      ValueError: as `paired_bootstrap`.
    """
    _check(baseline, other, draws, 0.5)
    counts = [_by_group(counts_of(confusion), groups) for confusion in (baseline, other)]
    won = 0.0
    for weights in _resamples(len(counts[0]), draws, seed):
        before, after = (_miou(weights @ per_group) for per_group in counts)
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


def _iou(counts: np.ndarray) -> np.ndarray:
    """float64 [..., K] of [..., 3 K]; NaN where the truth lacks the class."""
    return iou_of_truth(*np.split(counts, 3, axis=-1))


def _miou(counts: np.ndarray) -> np.ndarray:
    """float64 [...] of [..., 3 K]: the mean over the classes that the truth has."""
    return mean_over_present(_iou(counts))


def _by_group(counts: np.ndarray, groups: Groups) -> np.ndarray:
    """float64 [G, C]: the sums of [N, C] over every group, in the order of their first image; exact below 2^53."""
    counts = counts.astype(np.float64)
    if groups is None:
        return counts
    if len(groups) != len(counts):
        raise ValueError(f"{len(groups)} group labels for {len(counts)} images; expected one each.")
    places: dict[Hashable, int] = {}
    rows = [places.setdefault(label, len(places)) for label in groups]
    sums = np.zeros((len(places), counts.shape[1]))
    np.add.at(sums, rows, counts)
    return sums


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


def _variance_of_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """float64 [K]: the variance of every column [D, K] over the draws, as that of G groups of a larger population.

    The bootstrap takes the groups for the population, whose variance is smaller by (G - 1) / G. NaN for fewer than two
    groups (int [K]); draws that are NaN do not count.
    """
    present = ~np.isnan(values)
    count = np.maximum(present.sum(0), 1)
    mean = np.where(present, values, 0.0).sum(0) / count
    variance = np.where(present, (values - mean) ** 2, 0.0).sum(0) / count
    enough = groups > 1
    return np.where(enough, variance * groups / np.where(enough, groups - 1, 1), np.nan)


def _t_half_width(parts: Sequence[tuple[float, int]], level: float) -> float:
    """Half of a t interval's length from independent variances and their degrees of freedom (Cochran's t)."""
    variances = np.array([variance for variance, _ in parts])
    total = float(variances.sum())
    if not total > 0:  # nothing varies, or NaN: nothing to estimate it from
        return total
    weighted = variances * _t(np.array([freedom for _, freedom in parts]), level)
    return float(weighted.sum() / np.sqrt(total))


def _t(freedom: np.ndarray, level: float) -> np.ndarray:
    """Student's t for a two-sided interval; NaN where there is no degree of freedom."""
    return np.where(freedom > 0, stdtrit(np.maximum(freedom, 1), (1 + level) / 2), np.nan)
