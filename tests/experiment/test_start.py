"""Class constants are part of the start: fitted once, kept in the logits' bias, and told in the journal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from load_tf.storage.run_directory import arrays_of_run, run_holds
from tests import forked
from tests.tiny import Tiny, environment

CALIBRATED = ("--gin_param=experiment.method=@Baseline()", "--gin_param=StageOne.calibrate=3")


@pytest.fixture(name="tiny", scope="module")
def _tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("start"))


@pytest.fixture(name="calibrated", scope="module")
def _calibrated(tiny: Tiny) -> Path:
    return ended(tiny, "calibrated", *CALIBRATED)


def ended(tiny: Tiny, name: str, *flags: str) -> Path:
    """A run that has come to its end."""
    done = tiny.run(tiny.folder / name, *flags)
    assert done.returncode == 0, done.stderr
    (tiny.folder / f"{name}.txt").write_text(done.stdout)
    return tiny.folder / name


def events(run: Path, name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    return [event for event in found if event["event"] == name]


def assert_equal(run: Path, other: Path) -> None:
    ours, theirs = arrays_of_run(run, "baseline"), arrays_of_run(other, "baseline")
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name])


def test_constants_are_added_to_the_best_epochs_bias(tiny: Tiny, calibrated: Path) -> None:
    plain = ended(tiny, "plain", CALIBRATED[0])
    assert not run_holds(plain, "calibration") and not events(plain, "calibrated")
    before, after = arrays_of_run(plain, "baseline"), arrays_of_run(calibrated, "baseline")
    (changed,) = [name for name in before if (before[name] != after[name]).any()]
    assert changed.endswith("conv3/bias")
    constants = arrays_of_run(calibrated, "calibration")["constants"]
    np.testing.assert_array_equal(after[changed] - before[changed], constants)
    (event,) = events(calibrated, "calibrated")
    np.testing.assert_allclose(event["constants"], constants)
    assert event["steps"] == 3 and 0 < event["class_gap"] < 1
    assert event["miou_before"] == events(plain, "start")[0]["miou"]
    assert event["miou"] == events(calibrated, "start")[0]["miou"] != event["miou_before"]
    assert "class constants fitted to D_t in 3 steps: hold-out mIoU" in (tiny.folder / "calibrated.txt").read_text()


@pytest.mark.slow
def test_the_last_epoch_may_be_kept_in_place_of_the_best(tiny: Tiny) -> None:
    """At a rate at which the third epoch undoes some of the second."""
    scores = {}
    for keep in ("best", "last"):
        chosen = (f"keep = '{keep}'", "epochs = 3", "learning_rate = 5.0", "clip_norm = 100.0")
        flags = (f"--gin_param=StageOne.{binding}" for binding in chosen)
        run = ended(tiny, keep, CALIBRATED[0], *flags)
        scores[keep] = [event["miou"] for event in (*events(run, "stage_one"), *events(run, "start"))]
    first, second, third, start = scores["best"]
    assert start == second > max(first, third)
    assert scores["last"] == [first, second, third, third]


def test_a_run_that_starts_from_it_does_not_fit_again(tiny: Tiny, calibrated: Path) -> None:
    after = ended(tiny, "after", *CALIBRATED, f"--gin_param=experiment.start_from='{calibrated}'")
    assert not events(after, "calibrated")
    assert_equal(after, calibrated)
    # What is known of a start is handed on.
    handed_on = arrays_of_run(after, "calibration")["constants"]
    np.testing.assert_array_equal(handed_on, arrays_of_run(calibrated, "calibration")["constants"])


def test_a_start_can_be_scored_by_itself(tiny: Tiny, calibrated: Path) -> None:
    """The network of the gin file is untrained, so that the weights can only be the run's."""
    words = ["-m", "load_tf.evaluate", f"--gin_file={tiny.gin_file}", f"--run_dir={tiny.folder / 'scored'}"]
    refused = forked.run(words, tiny.folder, environment())
    assert refused.returncode == 2 and "is not trained" in refused.stderr
    scored = forked.run([*words, f"--gin_param=experiment.start_from='{calibrated}'"], tiny.folder, environment())
    assert scored.returncode == 0 and f"start_from: {calibrated}" in scored.stdout, scored.stderr
    summaries = [run / "report" / "summary.json" for run in (tiny.folder / "scored", calibrated)]
    full, expected = (json.loads(file.read_text())["full"] for file in summaries)
    assert full["baseline"] == expected["baseline"]
    words += [f"--gin_param=experiment.start_from='{calibrated}'", "--engine=litert"]
    by_litert = forked.run([*words, f"--run_dir={tiny.folder / 'litert'}"], tiny.folder, environment())
    assert by_litert.returncode == 0, by_litert.stderr
    assert "engine: litert" in by_litert.stdout and "differ between litert and TensorFlow" in by_litert.stdout
    found = json.loads((tiny.folder / "litert" / "report" / "summary.json").read_text())
    assert found["settings"]["engine"] == "litert"
    assert found["full"]["baseline"] == pytest.approx(expected["baseline"], abs=1.0)
    refused = forked.run([*words, "--gin_param=Evaluation.flip=True"], tiny.folder, environment())
    assert refused.returncode == 2 and "not for several scales or mirrored images" in refused.stderr


@pytest.mark.slow
def test_one_that_starts_from_an_uncalibrated_run_fits(tiny: Tiny, calibrated: Path) -> None:
    plain = tiny.folder / "plain"
    if not plain.is_dir():
        ended(tiny, "plain", CALIBRATED[0])
    later = ended(tiny, "later", *CALIBRATED, f"--gin_param=experiment.start_from='{plain}'")
    assert_equal(later, calibrated)


def test_a_kill_while_it_is_fitted_leaves_no_trace(tiny: Tiny, calibrated: Path) -> None:
    """Two commits end the epochs; the third is the baseline's."""
    name = tiny.folder / "killed"
    killed = tiny.run(name, *CALIBRATED, kill="state.json@3:before")
    assert killed.returncode == -9 and not run_holds(name, "baseline")
    ended(tiny, "killed", *CALIBRATED)
    assert_equal(name, calibrated)
    assert events(name, "calibrated") == events(calibrated, "calibrated")


@pytest.mark.slow
def test_a_pretrained_segmentor_is_calibrated(tiny: Tiny) -> None:
    found = ended(tiny, "pretrained", *CALIBRATED, "--gin_param=keras_model.pretrained=True")
    (event,) = events(found, "calibrated")
    assert not events(found, "stage_one") and np.abs(event["constants"]).max() > 0.1
