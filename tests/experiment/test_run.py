"""A whole run of the command on scenes it draws itself: what it leaves, that it repeats, and that no kill changes it.

The runs are processes of their own, with a script that makes the game take every turn (`tests/scripted.py`). One that
nothing disturbs serves most tests; it begins with nothing, as users' runs do, and the others where TensorFlow is
imported (`tests/forked.py`), so that those that are compared with it show that this changes no bit.
"""

import csv
import hashlib
import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from load_tf.storage.run_state import decode
from tests import forked
from tests.tiny import Tiny

QUICK = """
Discriminator.architecture = 'convolutional'
Discriminator.alpha = 0.1
"""
"""The discriminator that is traced soonest: `tests/game/test_game.py` and the soak resume games with MobileNet."""


@pytest.fixture(name="tiny", scope="module")
def _tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("tiny"), QUICK)


@pytest.fixture(name="run", scope="module")
def _run(tiny: Tiny) -> Path:
    """The undisturbed run."""
    done = tiny.run(tiny.folder / "run", from_nothing=True)
    assert done.returncode == 0, done.stderr
    (tiny.folder / "stdout").write_text(done.stdout)
    return tiny.folder / "run"


@pytest.fixture(name="again", scope="module")
def _again(tiny: Tiny) -> Path:
    """The same once more; the renames of its commits are written down, in order."""
    done = tiny.run(tiny.folder / "again", kill=f"renames:{tiny.folder / 'renames'}")
    assert done.returncode == 0, done.stderr
    return tiny.folder / "again"


def renames(tiny: Tiny, prefix: str) -> list[str]:
    return [name for name in (tiny.folder / "renames").read_text().split() if name.startswith(prefix)]


def journal(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]


def of(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


def result(run: Path) -> dict[str, str]:
    """All that has to be the same, bit for bit; what holds clocks or paths is not in it."""
    names = ["journal.jsonl", "config.gin", "environment.json", "operative_config.gin"]
    names += ["report/table1.csv", "report/table1.md", "report/convergence.png", "report/qualitative.png"]
    files = [*(run / name for name in names), *sorted(run.glob("checkpoints/*")), *sorted(run.glob("label_maps/*"))]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_run_has_every_turn(run: Path) -> None:
    """What the other tests rely on: the run is no run in which nothing happens."""
    events = journal(run)
    cycles = of(events, "cycle_end")
    assert [(cycle["reason"], cycle["iteration"], cycle["model"]) for cycle in cycles] == [
        ("lower_bound", 3, "ge0_0"), ("lower_bound", 1, "ge1_0"), ("patience", 4, "ge1_1"), ("patience", 4, "ge1_2"),
        ("patience", 4, "ge2_0"), ("lower_bound", 1, "ge3_0"),
    ]  # fmt: skip
    assert [(peak["cycle"], peak["iteration"]) for peak in of(events, "peak")] == [(0, 2), (3, 4), (4, 2)]
    # A peak flushes the buffer, a peak at the end leaves it one set; in a full one an end model evicts the one before.
    assert [event["sets"] for event in of(events, "buffer")] == [
        ["g0"], ["g1", "ge0_0"], ["g1", "ge1_0"], ["g1", "ge1_1"], ["g2"], ["g3", "ge2_0"],
    ]  # fmt: skip
    changed = {event["model"]: event["changed_share"] for event in of(events, "maps")}
    assert changed["ge0_0"] > 0.5 > changed["ge1_1"] > 0.001, "the fallen model, and one that slipped"
    updates = of(events, "update")
    assert len(updates) == 17 and all(event["finite"] and event["gradient_norm"] > 0 for event in updates)


def test_the_journal_tells_the_walk_in_order(run: Path) -> None:
    events = journal(run)
    assert [event["epoch"] for event in of(events, "stage_one")] == [1, 2]
    (start,) = of(events, "start")
    assert (
        start["miou"] == max(event["miou"] for event in of(events, "stage_one")) == of(events, "stage_one")[-1]["best"]
    )
    scores = of(events, "evaluate")
    updates = of(events, "update")
    assert [(e["cycle"], e["iteration"]) for e in scores] == [(e["cycle"], e["iteration"]) for e in updates]
    best = start["miou"]
    for peak in of(events, "peak"):
        in_cycle = [event["miou"] for event in scores if event["cycle"] == peak["cycle"]]
        assert peak["miou"] == max(in_cycle) == in_cycle[peak["iteration"] - 1] > best
        best = peak["miou"]
    assert best == max(start["miou"], *(event["miou"] for event in scores))
    for cycle in of(events, "cycle_end"):
        iterations = [event["iteration"] for event in scores if event["cycle"] == cycle["cycle"]]
        assert iterations == list(range(1, cycle["iteration"] + 1))
    for epoch in of(events, "discriminator"):
        assert {"training_loss", "loss", "real_accuracy", "fake_accuracy", "pair_accuracy"} <= epoch.keys()


def test_the_tables_agree_with_the_journal_and_each_other(run: Path) -> None:
    with open(run / "report/table1.csv") as file:
        rows = list(csv.DictReader(file))
    header = "class,baseline,load,gain,gain_low,gain_high,paper_baseline,paper_load"
    assert (run / "report/table1.csv").read_text().splitlines()[0] == header
    names = ["sky", "ground", "wall", "roof", "door", "truck", "wheel", "person", "mIoU"]
    assert [row["class"] for row in rows] == names
    for row in rows:
        assert abs(float(row["load"]) - float(row["baseline"]) - float(row["gain"])) < 0.011
        assert float(row["gain_low"]) <= float(row["gain"]) <= float(row["gain_high"])
        assert row["paper_baseline"] == row["paper_load"] == ""
    for column in ("baseline", "load"):
        assert abs(sum(float(row[column]) for row in rows[:-1]) / 8 - float(rows[-1][column])) < 0.01
    summary = json.loads((run / "report/summary.json").read_text())
    assert f"{summary['full']['load']:.2f}" == rows[-1]["load"]
    events = journal(run)
    peaks = of(events, "peak")
    assert summary["holdout"]["baseline"] == pytest.approx(100 * of(events, "start")[0]["miou"], abs=1e-9)
    assert summary["holdout"]["load"] == pytest.approx(100 * peaks[-1]["miou"], abs=1e-9)
    assert (summary["holdout"]["images"], summary["untouched"]["images"], summary["full"]["images"]) == (6, 6, 12)
    # All six are watched, so the journal knows their scores already.
    assert summary["untouched"]["baseline"] == pytest.approx(100 * of(events, "start")[0]["untouched"], abs=1e-9)
    assert summary["untouched"]["load"] == pytest.approx(100 * peaks[-1]["untouched"], abs=1e-9)
    assert summary["looks"]["watched_images"] == 6 == summary["neighbours"]["images"]
    assert summary["looks"]["chosen"]["untouched"] == pytest.approx(summary["untouched"]["gain"], abs=1e-9)
    assert len(summary["looks"]["untouched"]) == len(of(events, "evaluate"))
    assert summary["cycles"] == len(of(events, "cycle_end")) and len(summary["peaks"]) == len(peaks)
    assert len(set(summary["holdout_ids"])) == 6 and all(i.startswith("validation_") for i in summary["holdout_ids"])
    assert {"stage_one", "discriminator", "adversarial", "evaluation"} <= summary["seconds"].keys()


def test_where_the_gain_is_adds_up(run: Path) -> None:
    """Over the untouched images: near boundaries and elsewhere are all pixels, proportions sum to one."""
    found = json.loads((run / "report/summary.json").read_text())["where"]
    assert found["images"] == 6
    measures = {measure["name"]: measure for measure in found["measures"]}
    assert len(measures) == 6
    widest, elsewhere = measures["mIoU within 10 pixels of a boundary"], measures["mIoU elsewhere"]
    assert widest["pixels"] + elsewhere["pixels"] == pytest.approx(100) and 0 < elsewhere["pixels"] < 100
    assert widest["gain_low"] <= widest["gain"] <= widest["gain_high"]
    assert 0 < measures["boundary F1"]["load"] < 100 and measures["boundary F1"]["gain_low"] is None
    for place in range(3):
        assert sum(of["proportion"][place] for of in found["classes"].values()) == pytest.approx(100)
        assert sum(of["components"][place] for of in found["classes"].values()) > 6
    wrong = sum(abs(of["proportion"][2] - of["proportion"][0]) for of in found["classes"].values()) / 2
    assert measures["pixels of a wrong share"]["load"] == pytest.approx(wrong)
    page = (run / "report/index.html").read_text()
    assert "Where the gain is" in page and "Over the 6 untouched images" in page


def test_what_else_a_run_leaves(run: Path, tiny: Tiny) -> None:
    for name in ("convergence.png", "qualitative.png"):
        data = (run / "report" / name).read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 5000
    page = (run / "report/index.html").read_text()
    assert "<h1>tiny</h1>" in page and page.count('class="stack"') >= 1 and "synthetic.train = 24" in page
    assert "synthetic.train = 24" in (run / "operative_config.gin").read_text()
    assert "synthetic.train = 24" in (run / "config.gin").read_text()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["intra_op_threads"] == environment["inter_op_threads"] == 1 and environment["deterministic"]
    assert list(run.glob("tensorboard/events*"))
    names = [file.name.partition("-")[0] for file in sorted(run.glob("checkpoints/*"))]
    scored = ["confusion_baseline", "confusion_load"]
    assert names == ["baseline", *scored, "data", "shapes_baseline", "shapes_load", "start"]
    assert list(run.glob("label_maps/*")) == []
    output = (tiny.folder / "stdout").read_text()
    assert "mIoU" in output and str(run / "report") in output


def test_the_saved_model_is_the_result(run: Path) -> None:
    """Its hold-out mIoU, scored by numpy from nothing but the SavedModel, is the last peak's."""
    import numpy as np
    import tensorflow as tf

    from load_tf.data.synthetic import synthetic

    model = tf.saved_model.load(str(run / "saved_model/1"))
    split = synthetic(train=24, validation=12, size=(48, 64)).split("validation")
    summary = json.loads((run / "report/summary.json").read_text())
    confusion = np.zeros((8, 8), np.int64)
    for place, id_ in enumerate(split.ids):
        if id_ in summary["holdout_ids"]:
            image, label, _ = split[place]
            outputs = model.signatures["serving_default"](tf.constant(image[None]))
            predicted = np.asarray(next(v for v in outputs.values() if v.dtype == tf.uint8))[0]
            visible = label != 255
            np.add.at(confusion, (label[visible], predicted[visible]), 1)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    miou = np.mean((np.diag(confusion) / np.maximum(union, 1))[confusion.sum(1) > 0])
    assert 100 * miou == pytest.approx(summary["holdout"]["load"], abs=0.05)
    assert abs(summary["holdout"]["load"] - summary["holdout"]["baseline"]) > 0.5, "else the baseline would pass, too"


def test_the_same_config_gives_the_same_run(run: Path, again: Path) -> None:
    assert result(again) == result(run)


def test_another_seed_gives_another_run(run: Path, tiny: Tiny) -> None:
    """The negative control of the test above, ended as soon as there is a difference."""
    killed = tiny.run(tiny.folder / "other_seed", "--seed=1", kill="state.json@2:after")
    assert killed.returncode == -signal.SIGKILL
    losses = [event["loss"] for event in of(journal(tiny.folder / "other_seed"), "stage_one")]
    assert len(losses) == 2 and losses != [event["loss"] for event in of(journal(run), "stage_one")]


def kill(tiny: Tiny, path: Path, point: str) -> None:
    """Starts a run, or goes on with it, to where it is killed."""
    killed = tiny.run(path, kill=point)
    assert killed.returncode == -signal.SIGKILL, f"{point}: {killed.stderr}"


def stop(tiny: Tiny, path: Path, number: int, status: int, when: Callable[[forked.Process], bool]) -> None:
    """Likewise, to where it is sent a signal."""
    process = tiny.start(path)
    while process.poll() is None and not when(process):
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=500)
    assert process.returncode == status, said
    assert f"after commit {committed(path)} of {path}; the same command goes on from there" in said


def finish(tiny: Tiny, path: Path) -> None:
    """Goes on with a run to its end."""
    done = tiny.run(path)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stdout


@pytest.mark.usefixtures("again")
def test_kills_and_signals_leave_no_trace(run: Path, tiny: Tiny) -> None:
    """One run, ended five times; a signal ends its step with a commit, a kill does not.

    In turn: before an epoch of stage 1 counts, in that epoch, in the discriminator's training, in the game, and between
    a cycle's weights and its state.
    """
    path = tiny.folder / "ended"
    kill(tiny, path, "state.json@2:before")
    stop(tiny, path, signal.SIGTERM, 143, lambda process: "disk: " in process.said())
    assert committed(path) == 2, "its data had been read, and the second epoch was not over"
    kill(tiny, path, f"{renames(tiny, 'best_epoch-')[0]}:after")
    stop(tiny, path, signal.SIGINT, 130, lambda _: committed(path) >= 12)
    in_cycle = renames(tiny, "segmentor-")
    kill(tiny, path, f"{in_cycle[len(in_cycle) // 2]}:after")
    finish(tiny, path)
    assert result(path) == result(run)


def committed(run: Path) -> int:
    file = run / "state.json"
    return int(decode(file.read_bytes())["commit"]) if file.exists() else 0


def test_a_stage_one_that_explodes_says_so(tiny: Tiny) -> None:
    done = tiny.run(tiny.folder / "exploded", "--gin_param=StageOne.learning_rate=1e38")
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if "worth a look" not in line)
    assert "stage 1: the loss is nan in epoch 1; lower StageOne.learning_rate" in line


@pytest.mark.slow
@pytest.mark.usefixtures("again")
def test_kills_everywhere_leave_no_trace(run: Path, tiny: Tiny) -> None:
    """Kills in every third commit, before and after its rename in turn, in the report, and before the very last one."""
    commits = renames(tiny, "state.json@")
    assert len(commits) > 30
    points = [f"{name}:{'before' if n % 2 else 'after'}" for n, name in enumerate(commits[:-1:3])]
    points += ["table1.csv:after", "convergence.png:before", f"{commits[-1]}:before"]
    path = tiny.folder / "killed_often"
    for point in points:
        kill(tiny, path, point)
    finish(tiny, path)
    assert result(path) == result(run)


def test_a_finished_run_prints_its_table_and_changes_nothing(run: Path, tiny: Tiny) -> None:
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    done = tiny.run(run)
    assert done.returncode == 0, done.stderr
    assert (run / "report/table1.md").read_text().strip() in done.stdout
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_a_damaged_report_is_made_again(run: Path, tiny: Tiny) -> None:
    path = tiny.folder / "damaged"
    shutil.copytree(run, path)
    table, model = path / "report/table1.csv", path / "saved_model/1/saved_model.pb"
    table.write_bytes(table.read_bytes().replace(b"mIoU", b"mIoV"))
    model.write_bytes(model.read_bytes()[:-1])
    done = tiny.run(path)
    assert done.returncode == 0, done.stderr
    assert f"report/table1.csv, saved_model/1/saved_model.pb of {path}: gone or not what was written" in done.stdout
    assert result(path) == result(run)
    assert (path / "saved_model/2/saved_model.pb").is_file(), "a new version, which servers prefer"


def test_another_environment_or_config_is_refused(run: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    refused = tiny.run(run, "--gin_param=Lookahead.patience=5")
    assert refused.returncode == 2
    assert "there: 'Lookahead.patience = 4', now: 'Lookahead.patience = 5'" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**environment, "intra_op_threads": 7}))
    try:
        refused = tiny.run(run)
    finally:
        (run / "environment.json").write_bytes(before[run / "environment.json"])
    assert refused.returncode == 2
    assert "was begun with intra_op_threads 7, now it is 1" in refused.stderr
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
