"""Plain alternation on scripted hold-out scores: it never goes back, and its budget is its end."""

import pytest

from load_tf.algorithm import alternating
from load_tf.algorithm.lookahead import Lookahead, State
from load_tf.errors import UserError


class ScriptedGame:
    """Every update moves on to the next score; None is an update that was not finite."""

    def __init__(self, start: float, scores: list[float | None]) -> None:
        self.place, self.scores = 0, [start, *scores]
        self.start, self.best = 0, 0
        self.log: list[tuple] = []
        self.confidences = iter(())

    def evaluate(self) -> float:
        return self.scores[self.place]

    def confidence(self) -> float:
        return next(self.confidences)

    def go_back(self) -> None:
        self.log.append(("go_back", self.place, self.start))
        self.place = self.start

    def reset_momentum(self) -> None:
        self.log.append(("reset_momentum", self.place))

    def update(self, cycle: int, iteration: int) -> bool:
        self.log.append(("update", cycle, iteration))
        if self.scores[self.place + 1] is None:
            return False
        self.place += 1
        return True

    def keep_best(self) -> None:
        self.best = self.place

    def promote_best(self) -> None:
        self.start = self.best

    def aggregate(self, name: str, cycle: int) -> None:
        self.log.append(("aggregate", name, self.place))

    def train_discriminator(self, buffer: list[str], cycle: int) -> None:
        self.log.append(("discriminator", list(buffer), cycle))

    def record(self, event: str, **values) -> None:
        self.log.append((event, values))

    def commit(self, state: State) -> None:
        pass

    def of(self, kind: str) -> list[tuple]:
        return [entry[1:] for entry in self.log if entry[0] == kind]


def test_turns_are_taken_on_the_present_models_maps_and_nothing_goes_back():
    game = ScriptedGame(0.5, [0.51, 0.4, 0.6, 0.55, 0.2])
    state = alternating.play(game, Lookahead(patience=2, max_iterations=5))
    assert game.of("aggregate") == [("g0", 0), ("ge0_0", 2), ("ge0_1", 4)]
    assert game.of("discriminator") == [(["g0"], 0), (["ge0_0"], 1), (["ge0_1"], 2)]
    assert game.of("update") == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    # Once before the first update, where momentum is set to zero, and once at the end.
    assert game.of("go_back") == [(0, 0), (5, 3)]
    assert (state.start_miou, state.peaks, state.phase) == (0.6, 1, "finished")
    # A round's momentum starts from zero, as a cycle's does in LoAd.
    assert game.of("reset_momentum") == [(0,), (2,), (4,)]


def test_it_can_remember_the_last_rounds_without_going_back():
    game = ScriptedGame(0.5, [0.51, 0.4, 0.6, 0.55])
    alternating.play(game, Lookahead(patience=1, max_iterations=4, max_buffer_sets=3), remembers=True)
    assert [buffer for buffer, _ in game.of("discriminator")] == [
        ["g0"],
        ["g0", "ge0_0"],
        ["g0", "ge0_0", "ge0_1"],
        ["ge0_0", "ge0_1", "ge0_2"],
    ]
    assert game.of("go_back") == [(0, 0), (4, 3)]


def test_the_journal_names_the_cycle_and_the_iteration_of_the_peak():
    game = ScriptedGame(0.5, [0.51, 0.4, 0.6, 0.55, 0.2])
    alternating.play(game, Lookahead(patience=2, max_iterations=5))
    (peak,) = [values for (values,) in game.of("peak")]
    assert (peak["cycle"], peak["iteration"], peak["miou"]) == (1, 1, 0.6)


def test_a_state_that_was_committed_before_the_peaks_cycle_was_remembered_loads():
    values = State(phase="ahead", cycle=2, peak_miou=0.6, peak_iteration=1, peak_cycle=1).to_json()
    assert State.from_json(values).peak_cycle == 1
    del values["peak_cycle"]
    old = State.from_json(values)
    assert (old.peak_cycle, old.cycle, old.peak_miou) == (2, 2, 0.6)


def test_step_by_step_the_updates_train_the_discriminator_and_momentum_goes_on():
    game = ScriptedGame(0.5, [0.51, 0.4, 0.6, 0.55, 0.2])
    state = alternating.play(game, Lookahead(patience=2, max_iterations=5), turns="steps")
    # The start model's maps are what changes are measured from.
    assert game.of("aggregate") == [("g0", 0)]
    assert not game.of("discriminator") and not game.of("reset_momentum")
    assert game.of("go_back") == [(0, 0), (5, 3)]
    assert len(game.of("update")) == 5 and state.start_miou == 0.6


def test_without_an_adversary_nothing_is_aggregated():
    game = ScriptedGame(0.5, [0.4, 0.3])
    state = alternating.play(game, Lookahead(patience=1, max_iterations=2), turns=None)
    assert not game.of("aggregate") and not game.of("discriminator")
    assert (state.start_miou, state.peaks, game.place) == (0.5, 0, 0)


def test_an_update_that_is_not_finite_ends_the_run_with_the_best_model():
    game = ScriptedGame(0.5, [0.6, None])
    alternating.play(game, Lookahead(patience=5, max_iterations=9))
    assert game.of("cycle_end")[-1][0]["reason"] == "non_finite"
    assert game.place == game.start == 1


def test_the_peak_test_refuses_what_is_not_sure():
    game = ScriptedGame(0.5, [0.6, 0.7])
    game.confidences = iter([0.8, 0.95])
    state = alternating.play(game, Lookahead(patience=5, max_iterations=2, peak_test=0.9))
    assert state.start_miou == 0.7
    game = ScriptedGame(0.5, [0.6, 0.7])
    game.confidences = iter([0.95, 0.8])
    assert alternating.play(game, Lookahead(patience=5, max_iterations=2, peak_test=0.9)).start_miou == 0.6


def test_a_budget_is_needed():
    with pytest.raises(UserError, match="max_iterations is None"):
        alternating.play(ScriptedGame(0.5, []), Lookahead())
