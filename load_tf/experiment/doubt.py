"""Whether a user's own network scores better under the other convention than under the one it is run with.

A network trained with half-pixel centres loses up to nine points with aligned corners, and the other way round, without
any error. A few dozen images tell.
"""

import numpy as np
import tensorflow as tf

from load_tf.data.dataset import Split, Subset
from load_tf.discriminator.grid import Size
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou
from load_tf.experiment.plan import Plan
from load_tf.segmentors.convention import Convention

IMAGES = 36
"""How many of the hold-out are scored under both conventions, at most."""

POINTS = 1.0
"""How much better, in per cent mIoU, the other one has to be to be worth a sentence."""


def better_convention(plan: Plan, holdout: Split) -> str | None:
    """Scores some hold-out images under both conventions.

    Args:
      plan: the experiment; its segmentor can segment.
      holdout: the hold-out.

    Returns:
      A sentence if the other one scores better by more than `POINTS`; None if it does not, or there is none that the
      network takes.
    """
    other = plan.segmentor.doubt
    if other is None:
        return None
    some = Subset(holdout, tuple(np.unique(np.linspace(0, len(holdout) - 1, IMAGES).round().astype(int)).tolist()))
    sizes = {tuple(some[index].image.shape[:2]) for index in range(len(some))}
    crop = other.crop_for(sizes)
    present = _score(plan, some, plan.segmentor.convention, plan.crop)
    try:
        score = _score(plan, some, other, crop)
    except (ValueError, tf.errors.OpError):
        return None  # the network does not take the other sizes after all
    if score <= present + POINTS:
        return None
    setting = f"{other.upsampling!r}, {other.multiple}, {other.offset}"
    return (
        f"the segmentor scores {score:.2f} on {len(some)} hold-out images of {_words(other, crop)}, but {present:.2f} "
        f"as it is run, with {_words(plan.segmentor.convention, plan.crop)}: if it was trained that way, "
        f"say so with keras_model.upsampling = {other.upsampling!r}, or convention=load_tf.Convention({setting})"
    )


def _score(plan: Plan, split: Split, convention: Convention, crop: Size) -> float:
    """mIoU in per cent."""
    experiment = plan.experiment
    evaluator = Evaluator(
        plan.segmentor.model,
        split,
        crop,
        experiment.dataset.num_classes,
        experiment.evaluation_batch_size,
        convention=convention,
        strategy=plan.strategy,
    )
    return 100 * mean_iou(evaluator.evaluate(f"hold-out, {convention.upsampling}").sum(axis=0))


def _words(convention: Convention, crop: Size) -> str:
    return f"{crop[0]} x {crop[1]} pixels and {convention.describe().removeprefix('bilinear, ')}"
