"""Every operation on the disk of a whole run fails in every way, one at a time: nothing lost, nothing damaged passes.

The run is Algorithm 1 on networks of a few numbers (`tests/faults.py`), with every kind of commit and a report.
"""

import itertools
import json
import shutil
from pathlib import Path

import pytest

from load_tf.errors import UserError
from tests import faults


@pytest.fixture(name="undisturbed", scope="module")
def _undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return faults.play_on(tmp_path_factory.mktemp("faults") / "run")


@pytest.fixture(name="operations", scope="module")
def _operations(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What an undisturbed run does to the disk, in order."""
    return faults.operations(tmp_path_factory.mktemp("faults") / "counted")


def test_the_small_run_has_every_turn(undisturbed: dict[str, bytes], operations: list[str]) -> None:
    events = [json.loads(line) for line in undisturbed["journal.jsonl"].splitlines()]
    ends = [event for event in events if event["event"] == "cycle_end"]
    assert "lower_bound" in {event["reason"] for event in ends}
    assert any(event["event"] == "peak" for event in events)
    assert any(event["model"].endswith("_1") for event in ends), "two fruitless cycles in a row"
    buffers = [event["sets"] for event in events if event["event"] == "buffer"]
    assert any(a[0] == b[0] and a[1:] and b[1:] and a[1] != b[1] for a, b in itertools.pairwise(buffers)), "an eviction"
    assert any(a[0] != b[0] for a, b in itertools.pairwise(buffers)), "a flush"
    assert len(operations) > 500 and {"write", "fsync", "rename", "unlink"} == set(operations)


@pytest.mark.parametrize("kind", ["full", "broken", "half"])
def test_a_disk_that_fails_costs_nothing_but_the_step(
    kind: str, undisturbed: dict[str, bytes], operations: list[str], tmp_path: Path, part: int
) -> None:
    """The operation fails with an error: one sentence, and the same command, when the disk is well, ends as ever."""
    tried = 0
    for at in range(part, len(operations), STRIDE):
        if kind == "half" and operations[at] != "write":
            continue
        tried += 1
        path = tmp_path / "run"
        with pytest.raises(UserError) as caught:
            faults.play_on(path, faults.Fault(kind, at))
        assert str(path) in str(caught.value) and "what was committed is safe" in str(caught.value)
        assert faults.play_on(path) == undisturbed, f"{kind} at {at}, {operations[at]}"
        shutil.rmtree(path)
    assert tried > 4


@pytest.mark.parametrize("kind", ["before", "during", "after", "power"])
def test_a_kill_anywhere_costs_nothing_but_the_step(
    kind: str, undisturbed: dict[str, bytes], operations: list[str], tmp_path: Path, part: int
) -> None:
    for at in range(part, len(operations), STRIDE):
        path = tmp_path / "run"
        with pytest.raises(faults.Killed):
            faults.play_on(path, faults.Fault(kind, at))
        assert faults.play_on(path) == undisturbed, f"{kind} at {at}, {operations[at]}"
        shutil.rmtree(path)


def test_a_disk_that_drops_bytes_is_found_out(
    undisturbed: dict[str, bytes], operations: list[str], tmp_path: Path, part: int
) -> None:
    for at in range(part, len(operations), STRIDE):
        if operations[at] != "write":
            continue
        path = tmp_path / "run"
        with pytest.raises(UserError, match="bytes were written"):
            faults.play_on(path, faults.Fault("dropped", at))
        assert faults.play_on(path) == undisturbed, f"dropped at {at}"
        shutil.rmtree(path)


def test_what_a_lying_disk_has_lost_is_found(
    undisturbed: dict[str, bytes], operations: list[str], tmp_path: Path, part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beyond any promise, but nothing damaged is taken for whole: it steps back, or stops and names the file."""
    stepped_back = stopped = 0
    for at in range(part, len(operations), STRIDE):
        path = tmp_path / "run"
        with pytest.raises(faults.Killed):
            faults.play_on(path, faults.Fault("lies", at))
        try:
            assert faults.play_on(path) == undisturbed, f"lies at {at}, {operations[at]}"
        except UserError as error:
            assert str(path) in str(error)
            stopped += 1
        stepped_back += "going on from commit" in capsys.readouterr().err
        shutil.rmtree(path)
    assert stepped_back + stopped > 0


@pytest.mark.parametrize("kind", ["before", "after", "power"])
def test_a_kill_in_the_last_commit_leaves_nothing_behind(
    kind: str, undisturbed: dict[str, bytes], operations: list[str], tmp_path: Path
) -> None:
    """After it no other commit comes that would remove the files of the one before."""
    for at in range(len(operations) - 16, len(operations)):
        path = tmp_path / "run"
        with pytest.raises(faults.Killed):
            faults.play_on(path, faults.Fault(kind, at))
        assert faults.play_on(path) == undisturbed, f"{kind} at {at}, {operations[at]}"
        shutil.rmtree(path)


STRIDE = 61
"""The fast tests try every 61st operation; the slow ones all others, too."""


@pytest.fixture(params=[0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, STRIDE))])
def part(request: pytest.FixtureRequest) -> int:
    return request.param
