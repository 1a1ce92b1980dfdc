"""LoAd: the adversarial objective alone, under Algorithm 1."""

import dataclasses

from load_tf.algorithm import lookahead
from load_tf.algorithm.lookahead import Game, Lookahead, State
from load_tf.methods.method import Method


@dataclasses.dataclass(frozen=True)
class LoAd(Method):
    """Lookahead adversarial learning (Jamali-Rad, Szabo, Presutto 2020)."""

    title = "LoAd"

    def play(self, game: Game, settings: Lookahead, state: State | None) -> State:
        return lookahead.play(game, settings, state)
