"""A race in place of a census: an evaluation that stops as soon as the images seen so far decide.

After an update Algorithm 1 asks two things of the hold-out: is the model the best of its cycle, and has it fallen to
the lower bound? Most models are far from both. A model of which all images are known, the start model or the best of
its cycle, is the reference: what the new model does otherwise on the images that were drawn is an estimate, by simple
random sampling without replacement, of what it does otherwise on all of them. The hold-out is the whole population
here, so neighbouring frames do no harm: what is estimated is the score of these very images.

The draw looks three times, after an eighth, a quarter and a half of the images, and the error is divided among these
looks and the two questions. A model that may be the best is always evaluated in full.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from load_tf.evaluation.miou import iou_of_truth, mean_iou_of_truth, mean_over_present
from load_tf.randomness import generator

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of the images, seen at each look."""

LEAST = 32
"""Images that a look has at least: a standard deviation of fewer says little."""

CAUTION = 4
"""Student's t is asked for a so much smaller error. A few images, those with rare classes, make most of a difference;
where the draw has missed them, the estimate is off and its standard error too small, both at once."""

_QUESTIONS = 2


class Bounds(NamedTuple):
    """What a score is asked about, mIoU as fractions; the cycle ends at `floor`, a peak is above `best`."""

    floor: float
    best: float


class Estimate(NamedTuple):
    """mIoU of all images as a fraction, and its standard error; exact at 0."""

    miou: float
    error: float


def stages(images: int, batch_size: int) -> list[int]:
    """How many images have been seen at each look but the last, which is at all of them.

    Args:
      images: N, of the hold-out.
      batch_size: a look begins no batch that it does not fill.

    Returns:
      Ascending, each a multiple of the batch size below N; none where N is too small for a race.
    """
    wanted = {-(-max(int(images * share), LEAST) // batch_size) * batch_size for share in SHARES}
    return sorted(seen for seen in wanted if seen <= images / 2)


def estimate(reference: np.ndarray, seen: np.ndarray, found: np.ndarray) -> Estimate:
    """The score of a model of which some images are known.

    An image's part in the difference of both scores is that of the mean IoU's linear part at the estimated counts.

    Args:
      reference: int64 [N, K, K], another model's matrices of all images.
      seen: int [n], which images are known, drawn without replacement; 2 or more.
      found: int64 [n, K, K], the model's matrices of these.
    """
    images, count = len(reference), len(seen)
    changes = (found - reference[seen]).astype(np.float64)
    total = np.maximum(reference.sum(0) + changes.sum(0) * (images / count), 0.0)
    truth, correct = reference.sum(axis=(0, 2)), np.diagonal(total)
    union, there = np.maximum(truth + total.sum(0) - correct, 1.0), truth > 0
    more_correct = np.diagonal(changes, axis1=1, axis2=2)
    more_union = changes.sum(1) - more_correct
    parts = (more_correct / union - correct * more_union / union**2)[:, there].mean(1)
    error = images * parts.std(ddof=1) * np.sqrt((1 - count / images) / count)
    return Estimate(float(mean_over_present(iou_of_truth(correct, truth, total.sum(0)))), float(error))


def decided(found: Estimate, bounds: Bounds, seen: int, error: float) -> bool:
    """Whether an estimate answers both questions, and the model is not to be the best.

    Args:
      found: from `seen` images.
      bounds: what is asked.
      seen: how many images, which gives the degrees of freedom.
      error: the chance, at the most, that a race stops with another answer than all images would give, in (0, 0.5).
    """
    reach = stdtrit(seen - 1, 1 - error / (CAUTION * len(SHARES) * _QUESTIONS)) * found.error
    low, high = found.miou - reach, found.miou + reach
    return bool(high < bounds.best and (low > bounds.floor or high < bounds.floor))


def race(
    reference: np.ndarray,
    bounds: Bounds,
    error: float,
    batch_size: int,
    key: tuple[int, ...],
    evaluate: Callable[[np.ndarray], np.ndarray],
) -> tuple[float, np.ndarray | None, int]:
    """Evaluates a model until it is known where its score lies.

    Args:
      reference: int64 [N, K, K], matrices of another model, near to it.
      bounds: what is asked.
      error: as `decided`.
      batch_size: as `stages`.
      key: of the order in which images are drawn, the seed first; another one for every model.
      evaluate: gives the model's int64 [n, K, K] for n indices.

    Returns:
      The mIoU as a fraction, estimated where the race stopped; the matrices of all images, or None if it stopped; how
      many images were looked at.
    """
    images = len(reference)
    order = generator(key[0], "race", *key[1:]).permutation(images)
    found = np.zeros_like(reference)
    done = 0
    for stage in stages(images, batch_size):
        found[order[done:stage]] = evaluate(order[done:stage])
        done = stage
        guess = estimate(reference, order[:done], found[order[:done]])
        if decided(guess, bounds, done, error):
            return guess.miou, None, done
    found[order[done:]] = evaluate(order[done:])
    return mean_iou_of_truth(found.sum(axis=0)), found, images
