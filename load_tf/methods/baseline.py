"""The segmentor as stage 1 leaves it: the baseline column, and a start that several runs can share."""

import dataclasses

from load_tf.algorithm.lookahead import Game, Lookahead, State, evaluate_start
from load_tf.methods.method import Supervised


@dataclasses.dataclass(frozen=True)
class Baseline(Supervised):
    """No second stage: the hold-out is evaluated once."""

    title = "baseline"

    def play(self, game: Game, settings: Lookahead, state: State | None) -> State:
        state = state or State()
        if state.phase != "finished":
            evaluate_start(game, settings, state)
            state.phase = "finished"
            game.commit(state)
        return state
