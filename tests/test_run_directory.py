"""The run directory: one commit point, one process, and nothing of anyone else's touched."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from load_tf import run_directory
from load_tf.errors import UserError
from load_tf.run_directory import RunDirectory

CONFIG = "Lookahead.patience = 3\nexperiment.seed = 1\n"
ROOT = Path(__file__).resolve().parents[1]


def weights(value: float) -> Callable[[], dict[str, np.ndarray]]:
    return lambda: {"w": np.array([value, -value, 0.5]), "count": np.array(int(value))}


def begin(path: Path) -> RunDirectory:
    """A run with two commits and one event each."""
    run = RunDirectory(path, CONFIG, frozenset({"baseline"}))
    run.record("start", miou=0.25)
    run.commit({"phase": "one"}, {"baseline": weights(1), "segmentor": weights(2), "label_maps/g0": weights(3)}, set())
    run.record("evaluate", cycle=0, miou=0.5)
    run.commit({"phase": "two", "updates": 7}, {"segmentor": weights(4)}, {"label_maps/g0"})
    return run


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_a_new_run_is_empty_and_keeps_its_config(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "a" / "run", CONFIG)
    assert run.state == {} and run.journal() == []
    assert (run.path / "config.gin").read_text() == CONFIG
    assert (run.path / "checkpoints").is_dir() and (run.path / "label_maps").is_dir()


def test_what_was_committed_comes_back(tmp_path: Path) -> None:
    begin(tmp_path / "run").close()
    run = RunDirectory(tmp_path / "run", CONFIG, frozenset({"baseline"}))
    assert {name: run.state[name] for name in ("phase", "updates", "commit")} == {
        "phase": "two",
        "updates": 7,
        "commit": 2,
    }
    for name, value in (("baseline", 1), ("segmentor", 4), ("label_maps/g0", 3)):
        read = run.arrays(name)
        assert read["w"].tolist() == [value, -value, 0.5] and read["count"].shape == () and read["count"] == value
    assert run.journal() == [{"event": "start", "miou": 0.25}, {"event": "evaluate", "cycle": 0, "miou": 0.5}]


def test_files_no_commit_names_go_and_pinned_ones_stay(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    files = ["checkpoints/baseline-000001.arrays", "checkpoints/segmentor-000002.arrays", "label_maps/g0-000001.arrays"]
    assert sorted(entry["path"] for entry in run.state["files"].values()) == files
    assert sorted(str(f.relative_to(run.path)) for f in run.path.glob("*/*.arrays")) == files
    run.commit({"phase": "three"}, {}, set())
    assert [f.name for f in run.path.glob("*/*.arrays")] == ["baseline-000001.arrays"]
    assert run.arrays("baseline")["w"].tolist() == [1, -1, 0.5]


def test_a_start_removes_what_a_dead_process_left(tmp_path: Path) -> None:
    begin(tmp_path / "run").close()
    before = content(tmp_path / "run")
    (tmp_path / "run/checkpoints/segmentor-000003.arrays").write_bytes(b"half a commit")
    (tmp_path / "run/label_maps/.g1-000003.arrays.123.tmp").write_bytes(b"half a file")
    (tmp_path / "run/.state.json.123.tmp").write_bytes(b"{")
    with open(tmp_path / "run/journal.jsonl", "ab") as file:
        file.write(b'{"event": "evaluate", "cycle": 0, "miou": 0.6}\n{"eve')
    run = RunDirectory(tmp_path / "run", CONFIG, frozenset({"baseline"}))
    assert content(tmp_path / "run") == before
    assert len(run.journal()) == 2


def test_the_journal_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    begin(tmp_path / "run").close()
    with open(tmp_path / "run/journal.jsonl", "ab") as file:
        file.write(b"x" * 500)
    run = RunDirectory(tmp_path / "run", CONFIG)
    run.record("peak", cycle=0)
    assert [event["event"] for event in run.journal()] == ["start", "evaluate", "peak"]
    run.commit({"phase": "three"}, {}, set())
    run.close()
    data = (tmp_path / "run/journal.jsonl").read_bytes()
    assert data.count(b"\n") == 3 and data.endswith(b'{"event": "peak", "cycle": 0}\n')
    state = json.loads(json.loads((tmp_path / "run/state.json").read_text())["state"])
    assert state["journal"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_a_number_that_is_not_finite_never_enters_the_journal(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        RunDirectory(tmp_path / "run", CONFIG).record("evaluate", miou=float("nan"))


def test_another_config_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    begin(tmp_path / "run").close()
    before = content(tmp_path / "run")
    with pytest.raises(UserError, match=r"there: 'Lookahead.patience = 3', now: 'Lookahead.patience = 4'"):
        RunDirectory(tmp_path / "run", CONFIG.replace("patience = 3", "patience = 4"))
    with pytest.raises(UserError, match=r"there: 'experiment.seed = 1', now: 'nothing'"):
        RunDirectory(tmp_path / "run", "Lookahead.patience = 3\n")
    assert content(tmp_path / "run") == before
    RunDirectory(tmp_path / "run", CONFIG).close()


def test_before_the_first_commit_the_config_may_still_be_mended(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "run", CONFIG).close()
    RunDirectory(tmp_path / "run", "voc.data_dir = 'there'\n").close()
    assert (tmp_path / "run/config.gin").read_text() == "voc.data_dir = 'there'\n"


@pytest.mark.parametrize(
    "names", [["thesis.tex"], [".lock", "thesis.tex"], ["journal.jsonl"], ["config.gin", "thesis.tex"], ["state.json"]]
)
def test_a_foreign_folder_is_refused_and_untouched(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text(f"mine: {name}")
    before = content(tmp_path)
    with pytest.raises(UserError, match="holds no run"):
        RunDirectory(tmp_path, CONFIG)
    assert content(tmp_path) == before


def test_foreign_checkpoints_are_not_pruned(tmp_path: Path) -> None:
    (tmp_path / "config.gin").write_text(CONFIG)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/model.ckpt").write_bytes(b"a week of work")
    with pytest.raises(UserError, match=r"state\.json is gone, but .*model\.ckpt"):
        RunDirectory(tmp_path, CONFIG)
    assert (tmp_path / "checkpoints/model.ckpt").read_bytes() == b"a week of work"


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        RunDirectory(tmp_path / "file", CONFIG)
    with pytest.raises(UserError, match=r"can't write in the run directory .*/file/run"):
        RunDirectory(tmp_path / "file" / "run", CONFIG)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o555)
    else:
        folder = Path("/proc/1")  # root may write anywhere but here
    with pytest.raises(UserError, match="can't write in the run directory"):
        RunDirectory(folder / "run", CONFIG)


def test_damage_of_state_and_journal_is_named(tmp_path: Path) -> None:
    begin(tmp_path / "run").close()
    for name in ("state.json", "journal.jsonl"):
        whole = (tmp_path / "run" / name).read_bytes()
        damaged = [
            whole[: len(whole) // 2],
            whole[:30] + bytes([whole[30] ^ 1]) + whole[31:],
            b"\xff" * len(whole),
            b"",
        ]
        for data in damaged:
            (tmp_path / "run" / name).write_bytes(data)
            with pytest.raises(UserError, match=rf"{name} is damaged"):
                RunDirectory(tmp_path / "run", CONFIG)
        (tmp_path / "run" / name).write_bytes(whole)
    for data in (b"{}", b"[]", b"null", b'{"state": 3, "sha256": ""}'):
        (tmp_path / "run/state.json").write_bytes(data)
        with pytest.raises(UserError, match=r"state\.json is damaged"):
            RunDirectory(tmp_path / "run", CONFIG)


def test_damage_deletes_nothing_that_was_committed(tmp_path: Path) -> None:
    begin(tmp_path / "run").close()
    before = content(tmp_path / "run")
    for name in ("state.json", "journal.jsonl"):
        (tmp_path / "run" / name).write_bytes(b"?")
        with pytest.raises(UserError):
            RunDirectory(tmp_path / "run", CONFIG, frozenset({"baseline"}))
        (tmp_path / "run" / name).write_bytes(before[name])
        assert content(tmp_path / "run") == before


def test_a_lost_state_is_no_reason_to_start_over(tmp_path: Path) -> None:
    begin(tmp_path / "run").close()
    (tmp_path / "run/state.json").unlink()
    before = content(tmp_path / "run")
    with pytest.raises(UserError, match=r"state\.json is gone, but .*segmentor-000002\.arrays is there"):
        RunDirectory(tmp_path / "run", CONFIG)
    assert content(tmp_path / "run") == before


def test_damaged_arrays_are_named(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    file = tmp_path / "run/checkpoints/segmentor-000002.arrays"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"segmentor-000002\.arrays does not have the checksum"):
        run.arrays("segmentor")
    assert run.arrays("baseline")["count"] == 1


HOLDER = f"""
import sys
from load_tf.run_directory import RunDirectory
run = RunDirectory(sys.argv[1], {CONFIG!r})
run.commit({{"phase": "held"}}, {{}}, set())
print("open", flush=True)
sys.stdin.read()
"""


def test_two_processes_exclude_each_other_and_a_dead_one_does_not_block(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"open\n"
        before = content(tmp_path / "run")
        with pytest.raises(UserError, match="another process is running in"):
            RunDirectory(tmp_path / "run", CONFIG)
        with pytest.raises(UserError, match="another process is running in"):
            RunDirectory(tmp_path / "run", "another config")
        assert content(tmp_path / "run") == before
        holder.send_signal(signal.SIGKILL)
        holder.wait(30)
        assert (tmp_path / "run/.lock").exists()
        assert RunDirectory(tmp_path / "run", CONFIG).state["phase"] == "held"
    finally:
        holder.kill()
        holder.communicate()


def test_a_refused_start_and_a_close_let_others_in(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    with pytest.raises(UserError, match="another process"):
        RunDirectory(tmp_path / "run", CONFIG)
    run.close()
    with pytest.raises(UserError, match="another config") as refused:
        RunDirectory(tmp_path / "run", "x = 1")
    RunDirectory(tmp_path / "run", CONFIG).close()
    assert refused.value is not None  # keeps the refused one's frames, and so its lock, alive until here


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_every_point_of_a_commit_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """The n-th call fails, for every n: the sentence says why, and the run is at the old commit or at the new one."""
    real = getattr(os, call)
    failed = 0
    for n in range(100):
        run = begin(tmp_path / f"run{n}")
        old = content(run.path)
        left = [n]

        def failing(*arguments: object, left: list[int] = left) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(code, os.strerror(code))
            return real(*arguments)

        run.record("evaluate", cycle=1, miou=0.75)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            try:
                run.commit({"phase": "three"}, {"segmentor": weights(5), "start": weights(6)}, {"label_maps/g0"})
                break
            except UserError as error:
                assert os.strerror(code) in str(error) and str(run.path) in str(error)
                failed += 1
        run.close()
        again = RunDirectory(run.path, CONFIG, frozenset({"baseline"}))
        assert again.state["phase"] in ("two", "three")
        if again.state["phase"] == "two":
            assert content(run.path) == old
            assert again.arrays("segmentor")["count"] == 4 and len(again.journal()) == 2
        else:
            assert again.arrays("segmentor")["count"] == 5 and again.arrays("start")["count"] == 6
            assert again.arrays("label_maps/g0")["count"] == 3 and len(again.journal()) == 3
        again.close()
    assert failed == {"replace": 3, "fsync": 7}[call]


class Killed(BaseException):
    """Ends a commit as a kill would: nothing after it runs."""


def test_a_crash_before_and_after_every_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace
    phases = []
    for point in range(6):
        run = begin(tmp_path / f"run{point}")
        left = [point]

        def crash(source: str, target: str, left: list[int] = left) -> None:
            if left[0] == 0:
                raise Killed
            replace(source, target)
            if left[0] == 1:
                raise Killed
            left[0] -= 2

        run.record("evaluate", cycle=1, miou=0.75)
        with monkeypatch.context() as patch:
            patch.setattr(run_directory.os, "replace", crash)
            with pytest.raises(Killed):
                run.commit({"phase": "three"}, {"segmentor": weights(5), "start": weights(6)}, {"label_maps/g0"})
        run.close()
        again = RunDirectory(run.path, CONFIG, frozenset({"baseline"}))
        phases.append(again.state["phase"])
        assert again.arrays("segmentor")["count"] == (4 if phases[-1] == "two" else 5)
        assert len(again.journal()) == (2 if phases[-1] == "two" else 3)
        assert not list(run.path.rglob("*.tmp"))
        again.close()
    assert phases == ["two"] * 5 + ["three"]


def test_timings_and_reports_stand_outside_the_commit(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", CONFIG)
    run.time("evaluation", 1.23456, images=5)
    line = json.loads((run.path / "timings.jsonl").read_text())
    assert (line["phase"], line["seconds"], line["images"]) == ("evaluation", 1.235, 5)
    assert run.write("report/table1.csv", "class,baseline\n").read_text() == "class,baseline\n"
    assert run.write("report/table1.csv", b"new").read_bytes() == b"new"
    assert run.state == {} and run.journal() == []
