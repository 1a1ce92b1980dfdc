"""Algorithm 1 on scripted hold-out scores: every decision of the paper can be checked by hand."""

import json
import math
import subprocess
import sys

import pytest

from load_tf.algorithm.lookahead import Lookahead, State, play
from load_tf.errors import UserError

pytestmark = pytest.mark.portable


class ScriptedGame:
    """Plays cycles whose mIoU per iteration is written down; NaN scores stay NaN, 'nan-update' is a bad update."""

    def __init__(self, start: float, cycles: list[list[float | str]]) -> None:
        self.scores = {"g_s": start}
        self.cycles = cycles
        self.present: float = start
        self.start: float = start
        self.best: float | None = None
        self.log: list[tuple] = []
        self.buffers: list[list[str]] = []
        self.maps: dict[str, float] = {}
        self.states: list[dict] = []
        self.confidences = iter(())

    def confidence(self) -> float:
        return next(self.confidences)

    def evaluate(self) -> float:
        return self.present

    def race(self, floor: float, best: float, error: float, best_is_start: bool) -> tuple[float, int | None]:
        """Stops where it may, with an estimate that is off by as much as it may be."""
        self.log.append(("race", (floor, best, error, best_is_start)))
        if not self.present <= best:
            return self.present, None
        return (floor + best) / 2 if self.present > floor else floor - 0.1, 7

    def go_back(self) -> None:
        self.present = self.start
        self.log.append(("go_back", self.start))

    def update(self, cycle: int, iteration: int) -> bool:
        score = self.cycles[cycle][iteration]
        if score == "nan-update":
            return False
        self.present = score
        return True

    def keep_best(self) -> None:
        self.best = self.present

    def promote_best(self) -> None:
        self.start = self.best

    def aggregate(self, name: str, cycle: int) -> None:
        self.maps[name] = self.present if name.startswith("ge") else self.start
        self.log.append(("aggregate", name))

    def train_discriminator(self, buffer: list[str], cycle: int) -> None:
        self.buffers.append(list(buffer))
        self.log.append(("discriminator", list(buffer)))

    def record(self, event: str, **values) -> None:
        self.log.append((event, values))

    def commit(self, state: State) -> None:
        self.states.append(json.loads(json.dumps(state.to_json())))

    def events(self, name: str) -> list[dict]:
        return [entry[1] for entry in self.log if entry[0] == name]


def run(start: float, cycles: list, **settings) -> tuple[ScriptedGame, State]:
    game = ScriptedGame(start, cycles)
    return game, play(game, Lookahead(**settings))


def test_defaults_are_the_papers():
    assert Lookahead() == Lookahead(50, 50, 0.001, 0.05, 3, None)


def test_figure_1_walk_through_the_buffer():
    down, up = [0.69, 0.68, 0.67], [0.72, 0.71, 0.70]
    cycles = [down, up, [0.71, 0.71, 0.71], [0.74, 0.73, 0.72], down, down, down]
    game, state = run(0.70, cycles, patience=3, max_fruitless_cycles=3)
    assert game.buffers == [
        ["g0"],
        ["g0", "ge0_0"],
        ["g1", "ge0_1"],
        ["g1", "ge0_1", "ge1_0"],
        ["g2", "ge1_1"],
        ["g2", "ge1_1", "ge2_0"],
        ["g2", "ge2_0", "ge2_1"],
    ]
    assert game.maps["g0"] == 0.70 and game.maps["g1"] == 0.72 and game.maps["g2"] == 0.74
    assert game.maps["ge0_1"] == 0.70 and game.maps["ge1_1"] == 0.72
    assert (state.start_miou, state.peaks, state.cycle) == (0.74, 2, 7)


def test_fruitless_cycles_end_the_run_without_a_last_retraining():
    game, state = run(0.5, [[0.5], [0.5], [0.5]], patience=1, max_fruitless_cycles=3)
    assert state.phase == "finished" and state.fruitless == 3
    assert len(game.buffers) == 3, "the initial training and one after each cycle but the last"
    assert game.log[-1] == ("go_back", 0.5)


def test_a_peak_resets_the_count_of_fruitless_cycles():
    _game, state = run(0.5, [[0.5], [0.6], [0.6], [0.6]], patience=1, max_fruitless_cycles=2)
    assert state.cycle == 4 and state.fruitless == 2 and state.start_miou == 0.6


def test_a_race_decides_as_all_images_do() -> None:
    """Rise and fall, a second peak in a cycle, the lower bound, and a cycle without a peak."""
    cycles = [[0.51, 0.53, 0.52, 0.44], [0.525, 0.54, 0.539, 0.55], [0.54, 0.53, 0.45, 0.3], [0.5, 0.5, 0.5, 0.5]]
    settings = {"patience": 4, "max_cycles": 4, "lower": 0.08, "upper": 0.005}
    game, state = run(0.5, cycles, **settings)
    raced, in_the_end = run(0.5, cycles, race=0.01, **settings)
    for event in ("peak", "buffer"):
        assert raced.events(event) == game.events(event) != []
    ends = [
        [{name: value for name, value in end.items() if name != "miou"} for end in played.events("cycle_end")]
        for played in (game, raced)
    ]
    assert ends[0] == ends[1] and {end["reason"] for end in ends[0]} == {"patience", "lower_bound"}
    assert (in_the_end.start_miou, in_the_end.iterations) == (state.start_miou, state.iterations) == (0.55, 15)
    asked = raced.events("race")
    # The first of a cycle is against the start and the upper bound, those behind a peak against the best.
    assert asked[0] == pytest.approx((0.42, 0.505, 0.01, True)) and asked[1] == pytest.approx((0.42, 0.51, 0.01, False))
    seen = [event.get("images") for event in raced.events("evaluate")]
    assert seen[:4] == [None, None, 7, 7] and not any("images" in event for event in game.events("evaluate"))
    assert not game.events("race")


@pytest.mark.parametrize("race", [0, 0.5, -0.1, "yes"])
def test_the_error_of_a_race_is_a_chance(race: object) -> None:
    with pytest.raises(UserError, match=r"Lookahead.race is .*; expected None or a chance in \(0, 0.5\)\."):
        Lookahead(race=race)


def test_max_cycles_ends_the_run_even_after_a_peak():
    game, state = run(0.5, [[0.6], [0.7]], patience=1, max_cycles=2)
    assert state.cycle == 2 and state.start_miou == 0.7 and game.start == 0.7 and game.present == 0.7


def test_a_budget_of_iterations_ends_the_run_in_the_middle_of_a_cycle():
    game, state = run(0.5, [[0.4, 0.4, 0.4], [0.6, 0.55, 0.7]], patience=3, lower=0.4, max_iterations=5)
    assert [end["reason"] for end in game.events("cycle_end")] == ["patience", "budget"]
    assert (state.iterations, state.cycle, state.start_miou, game.present) == (5, 2, 0.6, 0.6)
    assert not state.pending and len(game.buffers) == 2
    game, state = run(0.5, [[0.4, 0.4], [0.4, 0.4]], patience=2, max_iterations=4, lower=0.4)
    assert [end["reason"] for end in game.events("cycle_end")] == ["patience", "patience"]
    assert state.phase == "finished" and len(game.buffers) == 2


def test_a_peak_that_fails_the_test_is_none():
    def play_with(confidences: list[float]) -> State:
        game = ScriptedGame(0.5, [[0.6, 0.7, 0.65], [0.5] * 3])
        game.confidences = iter(confidences)
        return play(game, Lookahead(patience=3, max_fruitless_cycles=1, peak_test=0.9))

    # Asked only of scores above what is best so far: 0.6, 0.7, and 0.65 where nothing is a peak yet.
    assert play_with([0.95, 0.95]).start_miou == 0.7
    assert play_with([0.95, 0.85, 0.85]).start_miou == 0.6
    assert play_with([0.85, 0.85, 0.9]).start_miou == 0.65
    assert play_with([0.1, 0.1, 0.1]).start_miou == 0.5


def test_the_lower_bound_is_strict_and_ends_the_cycle():
    # binary fractions, so that 0.75 - 0.25 is exactly 0.5
    game, _ = run(0.75, [[0.625, 0.5, 0.75]], patience=3, lower=0.25, max_fruitless_cycles=1)
    (end,) = game.events("cycle_end")
    assert (end["reason"], end["iteration"]) == ("lower_bound", 2)
    game, _ = run(0.75, [[0.625, 0.515625, 0.75]], patience=3, lower=0.25, max_fruitless_cycles=1)
    (end,) = game.events("cycle_end")
    assert (end["reason"], end["iteration"]) == ("patience", 3)


def test_a_score_at_the_upper_bound_is_no_peak():
    game, state = run(0.5, [[0.625]], upper=0.125, patience=1, max_fruitless_cycles=1)
    assert not game.events("peak") and state.start_miou == 0.5
    game, state = run(0.5, [[0.6251], [0.5]], upper=0.125, patience=1, max_fruitless_cycles=1)
    assert state.start_miou == 0.6251


def test_of_equal_peaks_the_first_stays():
    game, _ = run(0.5, [[0.6, 0.6, 0.5], [0.5] * 3], patience=3, max_fruitless_cycles=1)
    (peak,) = game.events("peak")
    assert peak["iteration"] == 1


def test_the_best_of_several_peaks_is_taken():
    game, _state = run(0.5, [[0.6, 0.7, 0.65], [0.5] * 3], patience=3, max_fruitless_cycles=1)
    (peak,) = game.events("peak")
    assert (peak["iteration"], peak["miou"], game.start) == (2, 0.7, 0.7)


def test_a_cycle_that_ends_on_its_peak_gives_one_set():
    game, _ = run(0.5, [[0.55, 0.6], [0.5, 0.5]], patience=2, max_fruitless_cycles=1)
    assert game.buffers == [["g0"], ["g1"]]


def test_a_buffer_of_one_keeps_only_the_start_model():
    game, _ = run(
        0.5, [[0.5, 0.5], [0.6, 0.5], [0.5, 0.5]], patience=2, max_buffer_sets=1, max_fruitless_cycles=2, max_cycles=3
    )
    assert game.buffers == [["g0"], ["g0"], ["g1"]]


def test_the_buffer_never_holds_more_than_its_maximum_and_keeps_the_start_model():
    game, _ = run(0.5, [[0.5]] * 9, patience=1, max_buffer_sets=4, max_fruitless_cycles=9)
    assert all(len(b) <= 4 and b[0] == "g0" for b in game.buffers)
    assert game.buffers[-1] == ["g0", "ge0_5", "ge0_6", "ge0_7"]


def test_a_non_finite_update_ends_the_cycle_and_earlier_peaks_count():
    game, state = run(0.5, [[0.6, "nan-update"], [0.5, 0.5]], patience=2, max_fruitless_cycles=1)
    end = game.events("cycle_end")[0]
    assert (end["reason"], end["iteration"]) == ("non_finite", 2)
    assert state.start_miou == 0.6 and game.maps["g1"] == 0.6


def test_a_non_finite_score_ends_the_cycle():
    game, state = run(0.5, [[math.nan, 0.6], [0.5, 0.5]], patience=2, max_fruitless_cycles=2)
    assert [end["reason"] for end in game.events("cycle_end")] == ["non_finite", "patience"]
    assert state.start_miou == 0.5


def test_three_non_finite_cycles_in_a_row_stop_with_advice():
    bad = ["nan-update"]
    with pytest.raises(UserError, match="learning rate"):
        run(0.5, [bad, bad, bad], patience=1)
    _game, state = run(0.5, [bad, bad, [0.5], bad, bad], patience=1, max_fruitless_cycles=5)
    assert state.cycle == 5


def test_a_start_that_cannot_be_scored_is_refused():
    with pytest.raises(UserError, match="void"):
        run(math.nan, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_buffer_sets": 0},
        {"patience": 0},
        {"upper": 0.1e3},
        {"lower": -0.1},
        {"lower": 0.0},
        {"lower": 1},
        {"lower": "abc"},
        {"patience": "abc"},
        {"max_cycles": 0},
        {"max_iterations": 0},
        {"peak_test": 0.4},
        {"peak_test": 1.0},
    ],
)
def test_parameters_out_of_range_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Lookahead(**wrong)


def test_a_lower_bound_of_zero_says_why_not():
    with pytest.raises(UserError, match=r"lower is 0; expected .* in \(0, 1\): .* end before its first update"):
        Lookahead(lower=0)
    game, _ = run(0.5, [[0.499999, 0.6]], patience=2, lower=2e-6, max_cycles=1)
    (end,) = game.events("cycle_end")
    assert end["iteration"] == 2, "a bound as small as that is one"


def test_resuming_from_every_commit_ends_alike():
    cycles = [
        [0.49, 0.48],
        [0.55, 0.52],
        [0.3, 0.5],
        [0.55, 0.5],
        [0.56, 0.1],
        [0.5, "nan-update"],
        [0.5, 0.5],
        [0.5, 0.5],
    ]
    settings = {"patience": 2, "max_fruitless_cycles": 3}
    whole, end = run(0.5, cycles, **settings)
    assert len(whole.states) > 2 * len(cycles)
    for state in whole.states:
        game = ScriptedGame(0.5, cycles)
        game.start = state["start_miou"] if not math.isnan(state["start_miou"]) else 0.5
        game.best = state["peak_miou"]
        game.present = state["miou"] if not math.isnan(state["miou"]) else 0.5
        resumed = play(game, Lookahead(**settings), State.from_json(state))
        assert resumed.to_json() == end.to_json()
        assert game.buffers == whole.buffers[len(whole.buffers) - len(game.buffers) :]


def test_the_algorithm_needs_no_tensorflow():
    loaded = "assert not {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules)"
    code = f"import load_tf, load_tf.algorithm.lookahead, sys; {loaded}"
    subprocess.run([sys.executable, "-c", code], check=True)
