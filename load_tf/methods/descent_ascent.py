"""Gradient descent-ascent in rounds, without cross-entropy: LoAd without going back and without the buffer."""

import dataclasses

from load_tf.methods.method import Method


@dataclasses.dataclass(frozen=True)
class DescentAscent(Method):
    """LoAd's objective, discriminator and schedule; it never goes back and remembers no degraded maps.

    A round is what a cycle is in LoAd, and momentum starts from zero in both. Where every cycle ends on its peak, LoAd
    has nothing to go back from and is this method bit for bit.
    """

    title = "descent-ascent"
