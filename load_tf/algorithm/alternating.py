"""Straight on: what every other method does where LoAd goes back.

Updates go on from where they are. Where the discriminator is trained depends on the method: in rounds, after every
`patience` iterations on the label maps of the present model, which is LoAd's own schedule, momentum reset included; in
every update; or nowhere, without one. The hold-out is evaluated as often as LoAd does and the best model is the result,
so that a comparison is one of methods, not of selection.
"""

from typing import Literal

from load_tf.algorithm.lookahead import Game, Lookahead, State, evaluate_start, iterate, record_cycle_end
from load_tf.errors import UserError

Turns = Literal["rounds", "steps"] | None


def play(
    game: Game,
    settings: Lookahead,
    state: State | None = None,
    *,
    turns: Turns = "rounds",
    remembers: bool = False,
) -> State:
    """Alternates to the end of the budget, or on from `state`.

    Args:
      game: the world, as in `lookahead.play`; its start model stays `g0` to the end.
      settings: `max_iterations` is the budget, `patience` the iterations between two trainings of the discriminator;
        `upper` and `peak_test` say what is better than the start; `max_buffer_sets` how much is remembered; the others
        have no meaning here.
      state: what an earlier, interrupted call last committed; None to begin.
      turns: the discriminator's: in "rounds"; "steps" where the game's updates train it; None without one.
      remembers: whether the discriminator, in rounds, is trained on the maps of the last `max_buffer_sets` rounds, as
        in LoAd's buffer, in place of the present ones.

    Returns:
      The final state; the game's start model is the best model seen, or the one it began with.

    Raises:
      UserError: if there is no budget.
    """
    if settings.max_iterations is None:
        raise UserError("Lookahead.max_iterations is None; a method that never goes back needs a number to end at.")
    state = state or State()
    while state.phase != "finished":
        match state.phase:
            case "begin":
                _begin(game, settings, state, turns)
            case "aggregate":
                _aggregate(game, state, turns, settings.max_buffer_sets if remembers else 1)
            case "discriminator":
                game.train_discriminator(state.buffer, state.cycle)
                game.reset_momentum()
                state.phase = "ahead"
            case "ahead":
                _go_on(game, settings, state, turns)
        game.commit(state)
    return state


def _begin(game: Game, settings: Lookahead, state: State, turns: Turns) -> None:
    evaluate_start(game, settings, state)
    game.go_back()
    state.pending = [state.start]
    state.phase = "aggregate" if turns else "ahead"


def _aggregate(game: Game, state: State, turns: Turns, most: int) -> None:
    """Of so many models the discriminator sees the maps: of one, the present model's alone.

    In steps it is shown them as they are made; the start model's are what changes are measured from.
    """
    name = state.pending.pop()
    game.aggregate(name, state.cycle)
    state.buffer = [*state.buffer, name][-most:]
    game.record("buffer", cycle=state.cycle - 1, sets=list(state.buffer))
    state.phase = "discriminator" if turns == "rounds" else "ahead"


def _go_on(game: Game, settings: Lookahead, state: State, turns: Turns) -> None:
    """One iteration, and the end of the round or of the run if it was their last."""
    iterate(game, settings, state)
    over = not state.finite or state.iterations == settings.max_iterations
    if not over and state.iteration < settings.patience:
        return
    reason = "non_finite" if not state.finite else "budget" if over else "patience"
    end = f"ge0_{state.cycle}"
    record_cycle_end(game, state, reason, end)
    state.cycle, state.iteration = state.cycle + 1, 0
    if over:
        _finish(game, state)
    elif turns == "rounds":
        state.pending, state.phase = [end], "aggregate"


def _finish(game: Game, state: State) -> None:
    """The best model seen is the result."""
    if state.peak_miou is not None:
        game.promote_best()
        state.peaks, state.start_miou = 1, state.peak_miou
        game.record(
            "peak", cycle=state.peak_cycle, iteration=state.peak_iteration, miou=state.peak_miou, model=state.start
        )
    game.go_back()
    state.phase = "finished"
