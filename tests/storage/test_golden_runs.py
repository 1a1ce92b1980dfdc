"""Run directories of an older revision are read and resumed: no rename in the code may reach what is on the disk.

Nothing here compares the bits of this machine's arithmetic with another's: events, counters, names, shapes, and what
follows from stored integers.
"""

import json
import re
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from load_tf.evaluation.miou import mean_iou_of_truth
from load_tf.experiment.run import PINNED
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.snapshot import array_names
from tests import forked, tiny
from tests.storage import golden_runs

FINISHED, HALF, LEARNING = (
    [pytest.param(path, id=path.name.partition(".")[0]) for path in sorted(golden_runs.FOLDER.glob(f"{name}-*.tar.xz"))]
    for name in ("finished", "half", "learning")
)
STAGE_ONE = ["stage_one", "stage_one", "start", "buffer", "discriminator"]
Arrays = dict[str, dict[str, np.ndarray]]


def test_there_are_archives_of_every_kind_and_they_are_small() -> None:
    assert FINISHED and HALF and LEARNING
    assert all(path.stat().st_size < 100_000 for path in golden_runs.FOLDER.iterdir())


def read(run_dir: Path) -> tuple[dict[str, Any], Arrays, list[dict[str, Any]]]:
    """State, arrays and journal of the last commit, as a start reads them."""
    run = RunDirectory(run_dir, (run_dir / "config.gin").read_text(), PINNED)
    try:
        return run.state, {name: run.arrays(name) for name in run.state["files"]}, run.journal()
    finally:
        run.close()


def structure(arrays: dict[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}


def main(run_dir: Path) -> str:
    """The command of the run, given again; returns what it printed."""
    words = ["-m", "load_tf.main", "--gin_file=golden.gin", "--run_dir=run"]
    done = forked.run(words, run_dir.parent, tiny.environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("archive", [*FINISHED, *HALF, *LEARNING])
def test_what_was_stored_is_read(archive: Path, tmp_path: Path) -> None:
    run_dir = golden_runs.unpack(archive, tmp_path)
    state, arrays, events = read(run_dir)
    model = keras.saving.load_model(tmp_path / "tiny.keras")
    named = zip(array_names(model.variables), model.variables, strict=True)
    weights = {name: (tuple(variable.shape), "float32") for name, variable in named}
    for name in {"baseline", "start", "best"} & arrays.keys():
        assert structure(arrays[name]) == weights, name
    for name in arrays:
        if name.startswith("label_maps/"):
            assert arrays[name]["training"].shape == (6, 32, 32) and arrays[name]["holdout"].shape == (3, 32, 32)
            assert arrays[name]["training"].max() < 8
    # What the journal tells follows from the stored confusion matrices.
    lookahead = state["lookahead"]
    told = {
        "start_confusion": lookahead["start_miou"],
        "best_confusion": lookahead["peak_miou"],
        "confusion_load": lookahead["start_miou"],
    }
    for name in told.keys() & arrays.keys():
        matrices = arrays[name]["confusion"]
        assert matrices.shape == (6 if "load" in name else 3, 8, 8) and 0 < matrices.sum() <= len(matrices) * 48 * 64
        if "load" in name:
            ids = json.loads((run_dir / "report/summary.json").read_text())["holdout_ids"]
            matrices = matrices[[int(identity.partition("_")[2]) for identity in ids]]
        assert mean_iou_of_truth(matrices.sum(0)) == pytest.approx(told[name], abs=1e-12)
    assert [event["event"] for event in events][:5] == STAGE_ONE
    assert state["updates"] == sum(event["event"] == "update" for event in events)


@pytest.mark.parametrize("archive", FINISHED)
def test_a_finished_run_makes_its_report_again(archive: Path, tmp_path: Path) -> None:
    """The pictures and the SavedModel are gone, which it notices; what follows from the stored matrices is the same."""
    run_dir = golden_runs.unpack(archive, tmp_path)
    _, stored, events = read(run_dir)
    kept = {name: (run_dir / name).read_bytes() for name in ("report/table1.csv", "report/table1.md", "journal.jsonl")}
    summary = json.loads((run_dir / "report/summary.json").read_text())
    printed = main(run_dir)
    said = re.search(r"load_tf: (.+) of run: gone or not what was written; the report is made again", printed)
    assert said is None or {"report/convergence.png", "saved_model/1/saved_model.pb"} <= set(said[1].split(", "))
    assert "made again" in printed and "mIoU" in printed
    assert {name: (run_dir / name).read_bytes() for name in kept} == kept
    clocks = ("seconds", "peak_mib")
    again = json.loads((run_dir / "report/summary.json").read_text())
    assert again.keys() - summary.keys() == {"start", "never_predicted", "trained_on"}, (
        "what follows from what it had stored"
    )
    again = {name: again[name] for name in summary}
    assert {**again, **{name: 0 for name in clocks}} == {**summary, **{name: 0 for name in clocks}}
    state, arrays, journal = read(run_dir)
    assert journal == events
    for name, one in stored.items():
        for key, array in one.items():
            np.testing.assert_array_equal(arrays[name][key], array)
    assert state["phase"] == "done" and all((run_dir / name).is_file() for name in state["left"])


@pytest.mark.parametrize("archive", HALF)
def test_a_run_that_was_killed_in_a_cycle_goes_on_to_its_end(archive: Path, tmp_path: Path) -> None:
    run_dir = golden_runs.unpack(archive, tmp_path)
    before, _, events = read(run_dir)
    so_far = (run_dir / "journal.jsonl").read_bytes()
    assert f"resuming run from commit {before['commit']}" in main(run_dir)
    assert (run_dir / "journal.jsonl").read_bytes().startswith(so_far)
    state, arrays, journal = read(run_dir)
    assert state["phase"] == "done" and state["commit"] > before["commit"]
    # The second cycle is the last; it had a peak already, however it goes on.
    new = [event["event"] for event in journal[len(events) :]]
    assert new[:2] == ["update", "evaluate"] and new.count("cycle_end") == new.count("peak") == 1
    lookahead = state["lookahead"]
    assert state["updates"] == before["updates"] + new.count("update") == lookahead["iterations"]
    assert lookahead["peaks"] == before["lookahead"]["peaks"] + 1
    assert lookahead["start_miou"] >= before["lookahead"]["peak_miou"]
    # It leaves what the run that was not killed had left.
    other = golden_runs.FOLDER / archive.name.replace("half", "finished")
    (tmp_path / "other").mkdir()
    _, left, _ = read(golden_runs.unpack(other, tmp_path / "other"))
    # A run from before there were fingerprints of its data and measures of shapes gets its own when it goes on.
    assert arrays.keys() - left.keys() == {"data", "shapes_baseline", "shapes_load"}
    assert all(structure(arrays[name]) == structure(one) for name, one in left.items())


@pytest.mark.parametrize("archive", LEARNING)
def test_a_run_that_was_killed_while_the_discriminator_learned_goes_on(archive: Path, tmp_path: Path) -> None:
    """To its next commit; the names in it are those of the older revision."""
    run_dir = golden_runs.unpack(archive, tmp_path)
    before, stored, events = read(run_dir)
    commit = before["commit"] + 1
    killed = golden_runs.run(tmp_path, "run", tiny.KILLED, f"state.json@{commit}:after")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state, arrays, journal = read(run_dir)
    assert state["commit"] == commit and journal[: len(events)] == events
    assert [event["event"] for event in journal[len(events) :]][:1] == ["discriminator"]
    assert state["discriminator"]["epoch"] == before["discriminator"]["epoch"] + 1
    assert state.keys() == before.keys() and state["lookahead"].keys() == before["lookahead"].keys()
    assert arrays.keys() - stored.keys() == {"data"}, "the fingerprint of its data"
    del arrays["data"]
    for name in arrays:
        assert structure(arrays[name]) == structure(stored[name]), name
    assert (
        arrays.keys()
        == {
            "discriminator": stored.keys(),
            "ahead": stored.keys() - {"best_epoch"},
        }[state["lookahead"]["phase"]]
    )
    moved = [
        key for key, array in arrays["discriminator"].items() if not np.array_equal(array, stored["discriminator"][key])
    ]
    assert moved, "the epoch trained it"
