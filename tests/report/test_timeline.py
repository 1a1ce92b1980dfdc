"""The walk of Figure 1 read back from the journal that Algorithm 1 wrote of it."""

import math
from typing import Any

import pytest

from load_tf.algorithm.lookahead import Lookahead, State, play
from load_tf.report.timeline import timeline

CYCLES = [
    [0.69, 0.68, 0.67],  # g0: patience
    [0.72, 0.75, 0.71],  # g0 -> g1 at its second iteration
    [0.74, 0.60],  # g1: lower bound
    [0.76, math.nan],  # g1 -> g2, then not finite
    [0.75, 0.74, 0.73],
    [0.74, 0.74, 0.74],
]


class ScriptedGame:
    """Plays prescribed mIoU; an update is not finite where the script says NaN."""

    def __init__(self) -> None:
        self.journal: list[dict[str, Any]] = []
        self.scores = iter([])

    def evaluate(self) -> float:
        return 0.70 if not self.journal else self.score

    def go_back(self) -> None:
        pass

    def update(self, cycle: int, iteration: int) -> bool:
        self.score = CYCLES[cycle][iteration]
        return not math.isnan(self.score)

    def keep_best(self) -> None:
        pass

    def promote_best(self) -> None:
        pass

    def aggregate(self, name: str, cycle: int) -> None:
        pass

    def train_discriminator(self, buffer: list[str], cycle: int) -> None:
        for epoch, (loss, right) in enumerate([(0.6, 0.7), (0.5, 0.80 + cycle / 100), (0.55, 0.9)], start=1):
            self.record("discriminator", cycle=cycle, epoch=epoch, loss=loss, pair_accuracy=right)

    def record(self, event: str, **values: Any) -> None:
        self.journal.append({"event": event, **values})

    def commit(self, state: State) -> None:
        pass


@pytest.fixture(name="journal")
def _journal() -> list[dict[str, Any]]:
    game = ScriptedGame()
    play(game, Lookahead(max_fruitless_cycles=2, patience=3))
    return game.journal


def test_cycles_follow_each_other_on_one_axis(journal: list[dict[str, Any]]) -> None:
    run = timeline(journal)
    assert (run.start_miou, run.upper, run.lower) == (0.70, 0.001, 0.05)
    assert [(cycle.start, cycle.last) for cycle in run.cycles] == [(0, 3), (3, 6), (6, 8), (8, 9), (9, 12), (12, 15)]
    assert [cycle.miou for cycle in run.cycles] == [*CYCLES[:3], [0.76], *CYCLES[4:]]
    assert [cycle.start_miou for cycle in run.cycles] == [0.70, 0.70, 0.75, 0.75, 0.76, 0.76]
    assert run.last == 15


def test_peaks_and_ends(journal: list[dict[str, Any]]) -> None:
    cycles = timeline(journal).cycles
    assert [cycle.peak and cycle.peak["model"] for cycle in cycles] == [None, "g1", None, "g2", None, None]
    assert cycles[1].running(cycles[1].peak["iteration"]) == 5
    reasons = ["patience", "patience", "lower_bound", "non_finite", "patience", "patience"]
    assert [cycle.end["reason"] for cycle in cycles] == reasons
    # The update that was not finite was never evaluated: it stands where the last finite model does.
    assert cycles[3].end["iteration"] == 2 and cycles[3].running(2) == cycles[3].last == 9


def test_buffers_and_discriminators_are_those_the_cycle_was_played_with(journal: list[dict[str, Any]]) -> None:
    cycles = timeline(journal).cycles
    assert [cycle.buffer for cycle in cycles] == [
        ("g0",), ("g0", "ge0_0"), ("g1", "ge0_1"), ("g1", "ge0_1", "ge1_0"), ("g2", "ge1_1"), ("g2", "ge1_1", "ge2_0"),
    ]  # fmt: skip
    assert [cycle.discriminator[1]["pair_accuracy"] for cycle in cycles] == pytest.approx(
        [0.80, 0.81, 0.82, 0.83, 0.84, 0.85]
    )
    assert all(len(cycle.discriminator) == 3 for cycle in cycles)


def test_runs_that_have_hardly_begun(journal: list[dict[str, Any]]) -> None:
    assert timeline([]).cycles == () and math.isnan(timeline([]).start_miou) and timeline([]).last == 0
    begun = timeline(journal[:2])
    assert begun.cycles == () and begun.start_miou == 0.70
    null = timeline([*journal[:6], {"event": "evaluate", "cycle": 0, "iteration": 1, "miou": None}])
    assert math.isnan(null.cycles[0].miou[-1])
