"""Whether the game teaches anything: plain-language warnings for the states in which it can't.

A discriminator at chance has no gradient worth following, a perfect one has found something other than labels or has
saturated, and a segmentor that does not move learns nothing from either.
"""

from collections.abc import Mapping

CHANCE = 0.55
"""Pair accuracy up to which a discriminator is at chance: 0.5 and two standard errors of 400 pairs."""
PERFECT = 0.995
UNMOVED_SHARE = 1e-4
"""Share of changed labels below which the segmentor does not move: a pixel in 10,000."""


def discriminator_warning(measured: Mapping[str, float]) -> str | None:
    """What is wrong with a discriminator, from its `pair_measures` on the hold-out."""
    pairs = measured["pair_accuracy"]
    if pairs <= CHANCE:
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
