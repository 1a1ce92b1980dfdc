"""Whether the game teaches anything: plain-language warnings for the states in which it can't.

A discriminator at chance has no gradient worth following, a perfect one has found something other than labels or has
saturated, and a segmentor that does not move learns nothing from either. Numbers that are no longer numbers stop
a training here, too.
"""

import math
from collections.abc import Mapping

from load_tf.errors import UserError

CHANCE = 0.55
"""Pair accuracy up to which a discriminator is at chance: 0.5 and two standard errors of 400 pairs."""
PERFECT = 0.995
AGREEMENT = 0.1
"""Mean cosine of two batches' gradients below which following them is a random walk."""
UNMOVED_SHARE = 1e-4
"""Share of changed labels below which the segmentor does not move: a pixel in 10,000."""


def discriminator_warning(measured: Mapping[str, float]) -> str | None:
    """What is wrong with a discriminator, from its `pair_measures` on the hold-out."""
    if "place_auc" in measured:
        if measured["place_auc"] > CHANCE:
            return None
        return (
            f"the discriminator is at chance: it tells {measured['place_auc']:.0%} of the hold-out's right places from "
            "wrong ones, so its gradient is noise; give it more epochs, or another learning rate"
        )
    pairs = measured["pair_accuracy"]
    if pairs <= CHANCE:
        for name, other in (("real", "fake"), ("fake", "real")):
            if measured[f"{name}_accuracy"] >= 0.99 and measured[f"{other}_accuracy"] <= 0.01:
                return f"the discriminator has collapsed: it takes every map for {name}; lower its learning rate"
        return (
            f"the discriminator is at chance: it ranks {pairs:.0%} of the hold-out's pairs right, so its gradient is "
            "noise; give it more epochs, another learning rate, or a narrower image_range"
        )
    if pairs >= PERFECT and min(measured["real_accuracy"], measured["fake_accuracy"]) >= PERFECT:
        return (
            f"the discriminator is perfect: it tells {measured['fake_accuracy']:.1%} of the generated maps from ground "
            "truth; look for a leak (void, padding, resizing), or lower sufficient_accuracy"
        )
    return None


def direction_warning(agreement: float | None) -> str | None:
    """What is wrong with a gradient that is about to be followed, from `direction.agreement`."""
    if agreement is None or agreement >= AGREEMENT:
        return None
    return (
        "the discriminator's gradient is noise: batches of images agree on where the segmentor should go by a cosine "
        f"of {agreement:.2f}, whatever pairs it ranks right; give it Discriminator.weights = 'imagenet', more epochs, "
        "or a lower Sampling.temperature (docs/discriminator.md)"
    )


def segmentor_warning(changed_share: float | None, gradient_norm: float | None) -> str | None:
    """What is wrong with the last update of a cycle."""
    if gradient_norm is not None and gradient_norm == 0:
        return "no gradient reaches the segmentor: the discriminator's logits are constant or saturated"
    if changed_share is not None and changed_share < UNMOVED_SHARE:
        return (
            f"the segmentor does not move: {100 * changed_share:.4f} % of its labels differ from the start model's at "
            "the end of the cycle; raise AdversarialTraining.learning_rate or the updates per iteration"
        )
    return None


def peak_warning(holdout_gain: float, untouched_gain: float, images: int) -> str | None:
    """What is wrong with a peak: it is better than the start model on the hold-out and worse on other images.

    Args:
      holdout_gain: in mIoU as a fraction, over the model its cycle started from.
      untouched_gain: that on the watched images, which decided nothing.
      images: how many of these there are.
    """
    gained, lost = 100 * holdout_gain, -100 * untouched_gain
    # By the two decimals that are printed: less is no loss worth a warning.
    if not (round(gained, 2) > 0 and round(lost, 2) > 0):
        return None
    return (
        f"the peak gains {gained:.2f} points on the hold-out but loses {lost:.2f} on {images} watched images that "
        "decide nothing: the hold-out does not speak for the rest; take more images for it, of other scenes"
    )


def refuse_non_finite(what: str, where: str, setting: str, **values: float) -> None:
    """Stops a training that has nothing to fall back on.

    Args:
      what: is trained, e.g. "stage 1".
      where: e.g. "in epoch 3".
      setting: the parameter to lower.
      values: numbers by name.

    Raises:
      UserError: naming the first value that is not finite.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise UserError(
                f"{what}: the {name.replace('_', ' ')} is {value} {where}; lower {setting} and start a new run "
                "directory, or look at the data with load_tf.check_dataset."
            )
