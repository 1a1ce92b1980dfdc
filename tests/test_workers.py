"""Whole runs on one device, on two logical ones and on two processes: the same decisions, and what a death costs."""

import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from load_tf.run_directory import arrays_of_run
from load_tf.workers import LOST_STATUS
from tests.team import Done, Team, finish

MARGIN = 0.005
"""Scores that are this far from what they are compared with decide alike."""


@pytest.fixture(name="team", scope="module")
def _team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    return Team(tmp_path_factory.mktemp("team"))


def run(team: Team, name: str, workers: int, *params: str) -> Path:
    done = finish(team.start(team.folder / name, workers, *params))
    assert [one.status for one in done] == [0] * workers, [one.stderr for one in done]
    assert done[0].stdout and not any(one.stdout for one in done[1:]), "one worker speaks"
    return team.folder / name


@pytest.fixture(name="alone", scope="module")
def _alone(team: Team) -> Path:
    return run(team, "alone", 1)


@pytest.fixture(name="two", scope="module")
def _two(team: Team) -> Path:
    return run(team, "two", 2)


def events(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "journal.jsonl").read_text().splitlines()]


def assert_same_decisions(one: Path, other: Path) -> None:
    """Up to the first score so near to its bounds that rounding may decide, the journals tell the same story."""
    lower, upper = 0.02, 0.0
    start = peak = math.nan
    compared = 0
    for a, b in zip(events(one), events(other), strict=False):
        assert a["event"] == b["event"], (a, b)
        if a["event"] in ("start", "stage_one"):
            start, peak = a["miou"], math.nan
        if a["event"] == "evaluate":
            bound = start + upper if math.isnan(peak) else peak
            margin = min(abs(a["miou"] - bound), abs(a["miou"] - (start - lower)))
            if margin < MARGIN:
                break
            assert abs(a["miou"] - b["miou"]) < MARGIN
            if a["miou"] > bound:
                peak = a["miou"]
        if a["event"] == "peak":
            assert (a["cycle"], a["iteration"]) == (b["cycle"], b["iteration"])
            start, peak = a["miou"], math.nan
        if a["event"] == "cycle_end":
            assert {k: a[k] for k in ("cycle", "iteration", "reason")} == {
                k: b[k] for k in ("cycle", "iteration", "reason")
            }
            peak = math.nan
        if a["event"] == "buffer":
            assert a == b
        compared += 1
    assert compared >= 4


def assert_invariants(run_dir: Path) -> None:
    """What Algorithm 1 keeps to whatever the scores are."""
    start, lower, patience, buffer_sets = math.nan, 0.02, 3, 2
    scores: list[float] = []
    ends = 0
    for event in events(run_dir):
        if event["event"] == "start":
            start = event["miou"]
        if event["event"] == "evaluate":
            assert all(score > start - lower for score in scores), "an iteration after the lower bound"
            scores.append(event["miou"])
            assert event["iteration"] == len(scores) <= patience
        if event["event"] == "cycle_end":
            reason = "lower_bound" if scores[-1] <= start - lower else "patience"
            assert event["reason"] == reason
            ends += 1
            best = max(scores)
            fruitful = best > start
            scores = []
        if event["event"] == "peak":
            assert fruitful and event["miou"] == best
            start = best
        if event["event"] == "buffer":
            assert len(event["sets"]) <= buffer_sets and event["sets"][0].startswith("g")
    assert ends == 3


def test_two_processes_decide_as_one_device(alone: Path, two: Path) -> None:
    assert_invariants(alone)
    assert_invariants(two)
    assert_same_decisions(alone, two)
    environment = json.loads((two / "environment.json").read_text())
    assert (environment["strategy"], environment["replicas"]) == ("CollectiveAllReduceStrategy", 2) or (
        environment["strategy"] == "MultiWorkerMirroredStrategy" and environment["replicas"] == 2
    )
    assert json.loads((alone / "environment.json").read_text())["strategy"] == "one device"


def test_a_run_of_several_leaves_what_one_leaves(alone: Path, two: Path) -> None:
    def names(run_dir: Path) -> set[str]:
        files = (str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file())
        return {name for name in files if not name.startswith(("tensorboard", "checkpoints", "label_maps"))}

    assert names(alone) == names(two)
    # The weights stage 1 ends with, trained on batches of 3 by one and by two.
    for name, value in arrays_of_run(alone, "start").items():
        assert value.shape == arrays_of_run(two, "start")[name].shape


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_logical_devices_decide_as_one(team: Team, alone: Path, devices: int) -> None:
    several = run(team, f"mirrored{devices}", 1, f"Runtime.logical_devices = {devices}")
    assert_invariants(several)
    assert_same_decisions(alone, several)
    environment = json.loads((several / "environment.json").read_text())
    assert (environment["strategy"], environment["replicas"]) == ("MirroredStrategy", devices)


def assert_left_in_a_sentence(survivor: Done, lost: int) -> None:
    assert survivor.status == LOST_STATUS, survivor.stderr
    assert len(survivor.sentences) == 1 and f"worker {lost} " in survivor.sentences[0], survivor.stderr
    assert "Traceback" not in survivor.stderr
    assert survivor.seconds < 60


def same_end(one: Path, other: Path) -> None:
    assert (one / "journal.jsonl").read_bytes() == (other / "journal.jsonl").read_bytes()
    assert (one / "report" / "table1.csv").read_bytes() == (other / "report" / "table1.csv").read_bytes()
    a, b = arrays_of_run(one, "start"), arrays_of_run(other, "start")
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_worker_that_is_killed_ends_all_and_a_restart_goes_on(team: Team, two: Path) -> None:
    path = team.folder / "killed"
    done = finish(team.start(path, 2, kill={1: "adversarial:1"}))
    assert done[1].status == -signal.SIGKILL
    assert_left_in_a_sentence(done[0], 1)
    shutil.copy(path / "journal.jsonl", team.folder / "journal of the killed")
    run(team, "killed", 2)
    same_end(two, path)


@pytest.mark.slow
def test_a_death_in_each_phase(team: Team, two: Path) -> None:
    """One run, killed in every phase in turn, now the chief, now the other."""
    path = team.folder / "phases"
    for victim, point in (
        *((1, "stage one:2"), (0, "aggregation:1"), (1, "discriminator:2"), (0, "adversarial:2")),
        # The other worker's death in the report comes last: the chief may have finished by then, and the run with it.
        *((1, "evaluation:2"), (0, "evaluation:1"), (0, "report:1"), (1, "report:1")),
    ):
        done = finish(team.start(path, 2, kill={victim: point}))
        assert done[victim].status == -signal.SIGKILL, (point, done[victim].stderr)
        assert_left_in_a_sentence(done[1 - victim], victim)
        print(point, f"worker {victim} died, the other ended after {done[1 - victim].seconds:.1f} s")
    run(team, "phases", 2)
    same_end(two, path)


def test_a_signal_to_one_stops_all_at_the_same_commit(team: Team, two: Path) -> None:
    path = team.folder / "stopped"
    processes = team.start(path, 2)
    while not (path / "journal.jsonl").exists() or not (path / "journal.jsonl").stat().st_size:
        assert processes[0].poll() is None
    processes[1].terminate()
    done = finish(processes)
    assert [one.status for one in done] == [143, 143], [one.stderr for one in done]
    assert all("goes on from there" in one.sentences[-1] for one in done)
    run(team, "stopped", 2)
    same_end(two, path)
