"""Alternating gradient descent-ascent without cross-entropy: what diverges, and what LoAd is made for."""

import dataclasses

import gin

from load_tf.methods.method import Method


@gin.configurable
@dataclasses.dataclass(frozen=True)
class DescentAscent(Method):
    """LoAd's objective, discriminator and schedule; it never goes back and remembers no degraded maps."""

    title = "descent-ascent"
