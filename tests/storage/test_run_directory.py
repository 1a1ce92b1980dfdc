"""The run directory: one commit point, one process, and nothing of anyone else's touched."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from load_tf.errors import UserError
from load_tf.storage import run_directory
from load_tf.storage.arrays import write_arrays
from load_tf.storage.run_directory import RunDirectory

CONFIG = "Lookahead.patience = 3\nexperiment.seed = 1\n"
ROOT = Path(__file__).resolve().parents[2]


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
    before = "checkpoints/segmentor-000001.arrays"
    assert sorted(entry["path"] for entry in run.state["files"].values()) == files
    assert sorted(str(f.relative_to(run.path)) for f in run.path.glob("*/*.arrays")) == sorted([*files, before])
    run.commit({"phase": "three"}, {}, set())
    assert sorted(str(f.relative_to(run.path)) for f in run.path.glob("*/*.arrays")) == files
    run.commit({"phase": "four"}, {"segmentor": weights(5)}, set())
    run.commit({"phase": "five"}, {}, set(), last=True)
    assert [f.name for f in run.path.glob("*/*.arrays")] == ["baseline-000001.arrays"]
    assert not (run.path / "state.previous.json").exists()
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


def damages(whole: bytes) -> list[bytes | None]:
    """Cut short, a bit flipped, overwritten, emptied, gone."""
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    return [whole[:middle], flipped, b"\xff" * len(whole), b"", None]


def put(file: Path, data: bytes | None) -> None:
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)


NEWEST = ("state.json", "journal.jsonl", "checkpoints/segmentor-000002.arrays")
"""What only the newest commit needs as it is."""


@pytest.mark.parametrize("name", NEWEST)
def test_a_damaged_commit_gives_way_to_the_one_before(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(tmp_path / "whole").close()
    whole = content(tmp_path / "whole")
    new_lines = whole["journal.jsonl"].index(b"\n") + 1
    for number, data in enumerate(damages(whole[name])):
        path = tmp_path / f"run{number}"
        begin(path).close()
        # The journal's first line is both commits': what they share has no second copy.
        head = whole[name][:new_lines] if name == "journal.jsonl" else b""
        put(path / name, data if data is None else head + data[len(head) :])
        if name == "journal.jsonl" and data is None:
            with pytest.raises(UserError, match=r"journal\.jsonl is gone; the commit before it can't be used either"):
                RunDirectory(path, CONFIG)
            continue
        run = RunDirectory(path, CONFIG, frozenset({"baseline"}))
        said = capsys.readouterr().err
        assert str(path / name) in said and "going on from commit 1, the one before" in said
        assert run.state["phase"] == "one" and len(run.journal()) == 1
        assert run.arrays("segmentor")["count"] == 2 and run.arrays("label_maps/g0")["count"] == 3
        # Nothing is lost: what the newest commit left lies aside.
        if name != "checkpoints/segmentor-000002.arrays":
            kept = path / "damaged/checkpoints/segmentor-000002.arrays"
            assert kept.read_bytes() == whole["checkpoints/segmentor-000002.arrays"]
        if name != "state.json":
            assert (path / "damaged/state.json").read_bytes() == whole["state.json"]
        # The same step again ends where it ended before.
        run.record("evaluate", cycle=0, miou=0.5)
        run.commit({"phase": "two", "updates": 7}, {"segmentor": weights(4)}, {"label_maps/g0"})
        run.close()
        again = {key: value for key, value in content(path).items() if not key.startswith("damaged")}
        assert again == whole
        RunDirectory(path, CONFIG).close()
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["checkpoints/baseline-000001.arrays", "label_maps/g0-000001.arrays", "both states"])
def test_what_two_commits_need_is_named_and_nothing_deleted(tmp_path: Path, name: str) -> None:
    begin(tmp_path / "whole").close()
    whole = content(tmp_path / "whole")
    names = ["state.json", "state.previous.json"] if name == "both states" else [name]
    for number, _ in enumerate(damages(b"xy")):
        path = tmp_path / f"run{number}"
        begin(path).close()
        for one in names:
            put(path / one, damages(whole[one])[number])
        before = content(path)
        match = r"state\.json" if name == "both states" else name
        with pytest.raises(UserError, match=match):
            RunDirectory(path, CONFIG, frozenset({"baseline"}))
        assert content(path) == before


def test_a_damaged_older_commit_does_no_harm(tmp_path: Path) -> None:
    begin(tmp_path / "whole").close()
    for number, data in enumerate(damages(content(tmp_path / "whole")["state.previous.json"])):
        path = tmp_path / f"run{number}"
        begin(path).close()
        put(path / "state.previous.json", data)
        run = RunDirectory(path, CONFIG, frozenset({"baseline"}))
        assert run.state["phase"] == "two"
        run.commit({"phase": "three"}, {"segmentor": weights(5)}, {"label_maps/g0"})
        run.close()


def test_a_state_that_is_none_is_damaged(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", CONFIG)
    run.commit({"phase": "one"}, {}, set())
    run.close()
    for data in (b"{}", b"[]", b"null", b'{"state": 3, "sha256": ""}', b"[" * 100_000):
        (tmp_path / "run/state.json").write_bytes(data)
        with pytest.raises(UserError, match=r"state\.json is damaged"):
            RunDirectory(tmp_path / "run", CONFIG)


def test_a_config_that_was_damaged_is_no_other_config(tmp_path: Path) -> None:
    begin(tmp_path / "run").close()
    (tmp_path / "run/config.gin").write_bytes(b"\xff" + CONFIG.encode()[1:])
    with pytest.raises(UserError, match="another config"):
        RunDirectory(tmp_path / "run", CONFIG + "Lookahead.upper = 0.5\n")
    RunDirectory(tmp_path / "run", CONFIG).close()
    assert (tmp_path / "run/config.gin").read_text() == CONFIG


def test_a_lost_state_is_no_reason_to_start_over(tmp_path: Path) -> None:
    begin(tmp_path / "run").close()
    (tmp_path / "run/state.json").unlink()
    (tmp_path / "run/state.previous.json").unlink()
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
from load_tf.storage.run_directory import RunDirectory
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


def test_timings_and_reports_stand_outside_the_commit(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", CONFIG)
    run.time("evaluation", 1.23456, images=5)
    line = json.loads((run.path / "timings.jsonl").read_text())
    assert (line["phase"], line["seconds"], line["images"]) == ("evaluation", 1.235, 5)
    assert run.write("report/table1.csv", "class,baseline\n").read_text() == "class,baseline\n"
    assert run.write("report/table1.csv", b"new").read_bytes() == b"new"
    assert run.state == {} and run.journal() == []


def test_what_is_written_ahead_ends_in_the_same_files(tmp_path: Path) -> None:
    begin(tmp_path / "plain").close()
    run = RunDirectory(tmp_path / "ahead", CONFIG, frozenset({"baseline"}))
    run.record("start", miou=0.25)
    run.write_ahead("segmentor", weights(2))
    run.write_ahead("label_maps/g0", weights(9))
    run.write_ahead("label_maps/g0", weights(3))
    run.commit({"phase": "one"}, {"baseline": weights(1), "segmentor": weights(7), "label_maps/g0": weights(7)}, set())
    run.record("evaluate", cycle=0, miou=0.5)
    present = [4.0]
    run.write_ahead("segmentor", lambda: weights(present[0])())
    present[0] = 5.0  # it was copied when the writing began
    run.commit({"phase": "two", "updates": 7}, {"segmentor": weights(5)}, {"label_maps/g0"})
    run.close()
    assert content(tmp_path / "ahead") == content(tmp_path / "plain")


def test_the_caller_goes_on_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_is_slow, written_on = threading.Event(), []

    def slowly(path: Path, arrays: dict[str, np.ndarray], root: Path) -> object:
        written_on.append(threading.current_thread())
        assert disk_is_slow.wait(20)
        return write_arrays(path, arrays, root)

    run = RunDirectory(tmp_path / "run", CONFIG)
    monkeypatch.setattr(run_directory, "write_arrays", slowly)
    run.write_ahead("segmentor", weights(2))  # comes back though the disk does not
    threading.Timer(0.2, disk_is_slow.set).start()
    run.commit({"phase": "one"}, {"segmentor": weights(3)}, set())
    assert disk_is_slow.is_set(), "a commit waits for what it names"
    assert run.arrays("segmentor")["count"] == 2
    assert [thread is threading.main_thread() for thread in written_on] == [False]


def test_what_was_forgotten_or_never_committed_counts_for_nothing(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    run.write_ahead("segmentor", weights(8))
    run.forget_ahead("segmentor")
    run.forget_ahead("segmentor")
    run.commit({"phase": "three"}, {"segmentor": weights(5)}, {"label_maps/g0"})
    assert run.arrays("segmentor")["count"] == 5
    run.write_ahead("best", weights(6))
    run.commit({"phase": "four"}, {}, {"segmentor", "label_maps/g0"})
    assert not list((run.path / "checkpoints").glob("best*")), "the commit did not name it"
    run.write_ahead("segmentor", weights(7))
    run.close()
    assert (run.path / "checkpoints/segmentor-000005.arrays").exists()
    again = RunDirectory(run.path, CONFIG, frozenset({"baseline"}))
    assert again.state["commit"] == 4 and again.arrays("segmentor")["count"] == 5
    assert not (run.path / "checkpoints/segmentor-000005.arrays").exists()


def test_a_disk_that_fails_ahead_is_said_by_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run = begin(tmp_path / "run")
    monkeypatch.setattr(run_directory, "write_arrays", full)
    run.write_ahead("segmentor", weights(6))
    with pytest.raises(UserError, match=r"No space left on device; what was committed is safe"):
        run.commit({"phase": "three"}, {"segmentor": weights(6)}, {"label_maps/g0"})
    run.close()
    again = RunDirectory(run.path, CONFIG, frozenset({"baseline"}))
    assert again.state["phase"] == "two" and again.arrays("segmentor")["count"] == 4
