"""Gradient descent-ascent in rounds, without cross-entropy: LoAd without going back and without the buffer."""

import dataclasses

from load_tf.algorithm import alternating
from load_tf.algorithm.lookahead import Game, Lookahead, State
from load_tf.methods.method import Method


@dataclasses.dataclass(frozen=True)
class DescentAscent(Method):
    """LoAd's objective, discriminator and schedule; it never goes back, and remembers no degraded maps.

    A round is what a cycle is in LoAd, and momentum starts from zero in both. Where every cycle ends on its peak, LoAd
    has nothing to go back from and is this method bit for bit.

    Attributes:
      remembers: whether the maps of the last `Lookahead.max_buffer_sets` rounds are aggregated: LoAd's buffer without
        its going back. (Its going back without the buffer is `LoAd` with `Lookahead.max_buffer_sets = 1`.)
    """

    remembers: bool = False
    title = "descent-ascent"

    def play(self, game: Game, settings: Lookahead, state: State | None) -> State:
        return alternating.play(game, settings, state, remembers=self.remembers)
