"""The study: what it runs, what it chooses on, and a whole one on scenes the size of a stamp."""

import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gin
import numpy as np
import pytest
from absl import flags

from load_tf import commands
from load_tf.errors import UserError
from load_tf.evaluation.bootstrap import mean_gain_over_runs
from load_tf.experiment.study_plan import START, Run, Study
from load_tf.report import canvas
from load_tf.study import __main__ as study_command
from load_tf.study import comparison
from load_tf.study.__main__ import make
from tests import networks
from tests.study.results import CLASSES, counts, result

SIDES = ("before", "after")

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parents[1]


FAKE = """
import json, sys
sys.path.insert(0, {tests!r})
from results import result
arguments = dict(a.removeprefix("--").split("=", 1) for a in sys.argv[1:] if not a.startswith("--gin_param"))
bindings = dict(a.removeprefix("--gin_param=").split(" = ", 1) for a in sys.argv[1:] if a.startswith("--gin_param"))
open({log!r}, "a").write(json.dumps(bindings) + "\\n")
if bindings.get("fail") == "True":
    print("load_tf: the disk is full."); sys.exit(2)
rate = float(bindings.get("AdversarialTraining.learning_rate", 0.1))
start = "start_from" not in str(bindings)
# The larger rate is better on the untouched images, the smaller one on the hold-out.
values = result(after=0.6 + rate, holdout=0.55 - rate / 10, seed=int(bindings["experiment.seed"]), rate=rate,
                curve=0 if start else 2)
open(arguments["one"], "w").write(json.dumps(values))
"""


def fake(tmp_path: Path) -> tuple[list[str], Path]:
    """A command that writes a result at once, and the file it lists its calls in."""
    script, log = tmp_path / "fake.py", tmp_path / "calls"
    script.write_text(FAKE.format(tests=str(TESTS), log=str(log)))
    return [sys.executable, str(script)], log


STUDY = Study(
    variants={"LoAd": ("experiment.method = @LoAd()",), "descent": ("experiment.method = @DescentAscent()",)},
    seeds=(3, 4),
    learning_rates={"LoAd": (0.2, 0.1)},
    same_rate={"descent": "LoAd"},
    processes=2,
)


def test_a_variant_is_set_against_the_first_over_the_seeds_that_both_have() -> None:
    first = [comparison.Result(result(after=0.6, seed=seed)) for seed in (0, 1)]
    better = [comparison.Result(result(after=after, seed=seed)) for seed, after in ((1, 0.7), (2, 0.9))]
    difference = comparison.mean_difference(first, better)
    assert difference is not None
    # All groups are alike, so that nothing is left to chance; the seed that only one of them has does not count.
    assert [100 * v for v in (difference.gain, difference.low, difference.high)] == pytest.approx([10] * 3, abs=0.1)
    assert comparison.mean_difference(first, better[1:]) is None
    rows = comparison.table({"a": first, "b": better}).splitlines()
    cells = {row.split(" | ")[0]: row.split(" | ") for row in reversed(rows) if row.startswith("| ")}
    place = cells["| variant"].index("against the first")
    assert cells["| a"][place : place + 2] == ["", ""] and cells["| b"][place].startswith("+10.0")
    assert cells["| b"][place + 1] == "better"
    assert "Interval: t over 2 seeds and 4 groups." in rows[0]


def test_each_gain_is_over_the_start_that_its_run_had() -> None:
    """Of starts that were made again on another machine; what is better by 0.05 ends lower."""
    first = [comparison.Result(result(0.5, 0.6, seed=seed)) for seed in (0, 1)]
    runs = [comparison.Result(result(0.4, after, seed=seed)) for seed, after in enumerate((0.54, 0.56))]
    difference = comparison.mean_difference(first, runs)
    assert difference is not None and difference.gain == pytest.approx(0.05, abs=1e-3)
    assert difference.spread == pytest.approx(np.std([0.04, 0.06], ddof=1), abs=1e-3)
    # The draws are of the same groups in all four.
    arrays = [np.array([run.values[f"counts_{name}"] for run in of]) for of in (runs, first) for name in SIDES]
    arrays = [side * np.arange(1, 5)[None, :, None] for side in arrays]
    found = mean_gain_over_runs(*arrays[:2], less=(arrays[2], arrays[3]), draws=50)
    assert found.gain == pytest.approx(0.05, abs=1e-3)
    # Less itself it is nothing, whatever is drawn; over one start it is the gain of one result over the other.
    nothing = mean_gain_over_runs(*arrays[:2], less=(arrays[0], arrays[1]), draws=50)
    assert (nothing.gain, nothing.low, nothing.high) == (0, 0, 0)
    one, other = (mean_gain_over_runs(arrays[2], side, draws=50) for side in (arrays[3], arrays[1]))
    both = mean_gain_over_runs(arrays[2], arrays[1], less=(arrays[2], arrays[3]), draws=50)
    assert both.gain == pytest.approx(other.gain - one.gain)
    direct = mean_gain_over_runs(arrays[3], arrays[1], draws=50)
    assert (both.low, both.high) == pytest.approx((direct.low, direct.high))
    with pytest.raises(ValueError, match="each time"):
        mean_gain_over_runs(*arrays[:2], less=(arrays[2][:1], arrays[3][:1]))


def test_runs_from_one_start_are_one_start() -> None:
    """Nine runs from three starts: the interval is that of the starts' three means, not of nine runs."""
    gains = {"a": (0.1, 0.1, 0.1), "b": (0.0, 0.1, 0.2), "c": (-0.1, -0.1, -0.1)}
    runs = []
    for start, afters in gains.items():
        for seed, gain in enumerate(afters):
            runs.append(comparison.Result({**result(after=0.5 + gain, seed=seed), "start": start}))
    found = comparison.mean_gain(runs)
    half = 4.3027 * np.std([0.1, 0.1, -0.1], ddof=1) / np.sqrt(3)
    assert found.gain == pytest.approx(0.1 / 3, abs=1e-3)
    assert found.high - found.gain == pytest.approx(half, rel=0.02)
    assert found.kind == "t over 3 starts and 4 groups"
    # The control: taken as independent, the same runs tell more than they know.
    assert comparison.mean_gain([comparison.Result({**run.values, "start": None}) for run in runs]).low > found.low


def test_the_untouched_images_of_all_folds_are_put_together() -> None:
    """The gain is that of all images at once, which is not the mean of the folds' gains."""

    def fold(name: str, correct: tuple[int, int], pixels: int, seed: int = 0) -> comparison.Result:
        def of(count: int) -> list[list[int]]:
            return [[count] * CLASSES + [pixels] * (2 * CLASSES)] * 2

        values = {**result(seed=seed), "counts_before": of(correct[0]), "counts_after": of(correct[1]), "start": name}
        values["groups"] = [f"{name}1", f"{name}2"]
        values["untouched"] = {**values["untouched"], "digest": name}
        return comparison.Result(values)

    runs = [fold("x", (50, 60), 100), fold("y", (500, 500), 1000)]
    found = comparison.mean_gain(runs)
    expected = 560 / (2200 - 560) - 550 / (2200 - 550)
    assert found.gain == pytest.approx(expected) and found.kind == "t over 4 groups, one seed"
    assert found.gain < 0.2 * np.mean([comparison.mean_gain([run]).gain for run in runs])
    # A second seed counts once it has every fold.
    assert comparison.mean_gain([*runs, fold("x", (50, 90), 100, seed=1)]).gain == pytest.approx(expected)
    text = comparison.table({"LoAd": runs})
    assert "untouched 8, on which" in text


def test_what_is_left_when_class_constants_are_fitted_again() -> None:
    start = {**result(after=0.5), "name": "stage_1", "counts_again": counts(0.55), "curve": []}
    again = {**result(after=0.6), "start": "stage_1", "counts_again": counts(0.56)}
    found = comparison.gain_fitted_again([comparison.Result(start)], [comparison.Result(again)])
    assert found is not None and found.gain == pytest.approx(0.01, abs=1e-3)
    assert comparison.gain_fitted_again([], [comparison.Result(again)]) is None
    # One that was made again is another model, with which constants did something else.
    other = {**start, "counts_after": counts(0.45), "counts_before": counts(0.45), "counts_again": counts(0.5)}
    from_other = {**again, "counts_before": counts(0.45)}
    starts = [comparison.Result(start), comparison.Result(other)]
    found = comparison.gain_fitted_again(starts, [comparison.Result(from_other)])
    assert found is not None and found.gain == pytest.approx(0.06, abs=1e-3)
    assert comparison.gain_fitted_again(starts[:1], [comparison.Result(from_other)]) is None
    text = comparison.table({START: starts, "LoAd": [comparison.Result(from_other)]})
    assert re.search(r"untouched: stage_1: 50\.00 / 50\.00; stage_1, made again: ", text)
    start["uncalibrated"] = 0.45
    text = comparison.table({START: [comparison.Result(start)], "LoAd": [comparison.Result(again)]})
    row = next(line for line in text.splitlines() if line.startswith("| LoAd"))
    assert row.split(" | ")[6].startswith("+0.97 (")
    assert "untouched 45.00 before its class constants; above that, all gains are +5.00 larger" in text


def test_verdicts_are_on_intervals_and_a_setting_that_never_acted_is_no_verdict() -> None:
    first = [comparison.Result(result(after=0.6, seed=seed)) for seed in (0, 1)]

    def runs(*afters: float) -> list[comparison.Result]:
        return [comparison.Result(result(after=after, seed=seed)) for seed, after in enumerate(afters)]

    assert comparison.verdict(first, runs(0.7, 0.7)) == "better"
    assert comparison.verdict(first, runs(0.5, 0.5)) == "worse"
    # Both are better, but two runs that differ so much show nothing.
    assert comparison.verdict(first, runs(0.61, 0.8)) == "no difference shown"
    assert comparison.verdict(first, runs(0.6, 0.6)) == "never acted"
    # The same result by another way: it acted.
    other = runs(0.6, 0.6)
    other[1].values["curve"] = [0.4, 0.41]
    assert comparison.verdict(first, other) == "no difference shown"
    # What found nothing on the hold-out; against one that is better for sure it is worse all the same.
    for run in other:
        run.values["counts_after"] = run.values["counts_before"]
    assert comparison.verdict(first, other) == "worse"
    little = [comparison.Result(result(after=after, seed=seed)) for seed, after in enumerate((0.49, 0.52))]
    assert comparison.verdict(little, other) == "gave its starts back"
    assert comparison.verdict(little, runs(0.49, 0.505)) == "no difference shown"
    assert comparison.verdict(first, [comparison.Result(result(seed=7))]) == ""


def test_what_never_went_back_is_said_and_older_results_have_empty_cells() -> None:
    never, old = result(), result()
    never["went_back"] = 0
    for name in ("went_back", "aggregated", "updates_of_iterations", "groups"):
        del old[name]
    rows = comparison.table({"never": [comparison.Result(never)], "old": [comparison.Result(old)]}).splitlines()
    header = next(row for row in rows if row.startswith("| variant")).split(" | ")
    cells = {row.split(" | ")[0]: row.split(" | ") for row in rows if row.startswith(("| never", "| old"))}
    places = [header.index(name) for name in ("went back", "end models", "path")]
    assert [cells["| never"][place] for place in places] == ["never (0/1)", "1", "1"]
    assert [cells["| old"][place] for place in places] == ["", "", ""]
    assert "t over 4 groups, one seed or over images as independent, one seed" in rows[0]


def test_starts_have_their_bindings_and_rates_are_those_of_the_first_start_or_of_each_fold(tmp_path: Path) -> None:
    starts = {"fold 0": ("cross_fit.fold = 0",), "fold 1": ("cross_fit.fold = 1", "experiment.seed = 9")}
    for folds, tries in ((False, 2), (True, 4)):
        place = tmp_path / str(folds)
        place.mkdir()
        command, log = fake(place)
        study = dataclasses.replace(STUDY, starts=starts, folds=folds)
        make(study, place / "runs", place / "results", command)
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        begun = [call for call in calls if call["experiment.method"] == "@Baseline()"]
        # A start may have a seed of its own. The two are made side by side, in any order.
        assert sorted((call["cross_fit.fold"], call["experiment.seed"]) for call in begun) == [("0", "3"), ("1", "9")]
        played = [call for call in calls if "@LoAd()" in call["experiment.method"]]
        # Both rates where one is chosen, then the better one for whatever is left of two seeds and two starts.
        assert len(played) == tries + (4 - tries // 2)
        for call in played:
            assert call["experiment.seed"] in ("3", "4")  # of the order of images, whatever its start was made with
            assert call["experiment.start_from"].endswith(f"stage_1-from_fold_{call['cross_fit.fold']}-seed3'")
        assert {
            call["AdversarialTraining.learning_rate"] for call in calls if "@Descent" in call["experiment.method"]
        } == {"0.1"}


def test_rates_are_chosen_on_the_holdout_and_nothing_is_made_twice(tmp_path: Path) -> None:
    command, log = fake(tmp_path)
    make(STUDY, tmp_path / "runs", tmp_path / "results", command)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(p.name for p in (tmp_path / "results").glob("*.json")) == [
        "LoAd-rate0.1-seed3.json",
        "LoAd-rate0.1-seed4.json",
        "LoAd-rate0.2-seed3.json",
        "descent-rate0.1-seed3.json",
        "descent-rate0.1-seed4.json",
        "stage_1-seed3.json",
        "stage_1-seed4.json",
    ]
    assert [c["experiment.seed"] for c in calls[:2]] in (["3", "4"], ["4", "3"])
    assert all(c["experiment.method"] == "@Baseline()" for c in calls[:2])
    start = str(tmp_path / "runs" / "stage_1-seed4")
    assert {c["experiment.start_from"] for c in calls[2:] if c["experiment.seed"] == "4"} == {repr(start)}
    make(STUDY, tmp_path / "runs", tmp_path / "results", command)
    assert len(log.read_text().splitlines()) == len(calls)
    table = (tmp_path / "results" / "table.md").read_text()
    row = r"\| LoAd \| 0\.1 \| 2 \| \+4\.00 \| \*\*(\S+)\*\* \| \1 to \1 \|  \|  \|  \| 0\.00 \| .* \| -10\.0 \| "
    row += r"2/4 \| 2/2 \| 2 \| 1 \| 90 % \|"
    assert float(re.search(row, table)[1]) == pytest.approx(20, abs=0.1)
    assert table.count("| descent | 0.1 |") == 1 and "stage 1 |" not in table


def test_results_are_enough_to_go_on_from_elsewhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of a study whose run directory is gone only the starts of missing runs are made again."""
    command, log = fake(tmp_path)
    results = tmp_path / "results"
    make(STUDY, tmp_path / "runs", results, command)
    (results / "descent-rate0.1-seed4.json").unlink()
    kept = (results / "stage_1-seed4.json").read_text()
    log.unlink()
    make(STUDY, tmp_path / "elsewhere", results, command)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(call["experiment.method"], call["experiment.seed"]) for call in calls] == [
        ("@Baseline()", "4"),
        ("@DescentAscent()", "4"),
    ]
    assert calls[1]["experiment.start_from"] == repr(str(tmp_path / "elsewhere" / "stage_1-seed4"))
    assert "made again" not in capfd.readouterr().out
    # A start that came out otherwise is said, and what was recorded of it stays.
    other = json.loads(kept)
    other["counts_after"][0][0] += 1
    (results / "stage_1-seed4.json").write_text(json.dumps(other))
    (results / "descent-rate0.1-seed4.json").unlink()
    make(STUDY, tmp_path / "third", results, command)
    assert "stage_1-seed4 was made again and is another model" in capfd.readouterr().out
    assert json.loads((results / "stage_1-seed4.json").read_text()) == other
    assert (results / "stage_1-seed4-again2.json").read_text() == kept
    # The same model once more is no third one.
    (results / "descent-rate0.1-seed4.json").unlink()
    make(STUDY, tmp_path / "fourth", results, command)
    assert not (results / "stage_1-seed4-again3.json").exists()
    # A study that was stopped between a start and its copy goes on, too.
    (results / "stage_1-seed4.json").unlink()
    make(STUDY, tmp_path / "third", results, command)
    assert (results / "stage_1-seed4.json").read_text() == kept


@pytest.mark.parametrize(("processes", "place"), [(1, 4), (2, 1)])
def test_a_process_that_would_wait_makes_what_later_runs_start_from(tmp_path: Path, processes: int, place: int) -> None:
    """Of starts that have to be made again; the rates are tried from the first one alone, two of them."""
    study = dataclasses.replace(STUDY, starts={"a": (), "b": ()}, seeds=(3,), processes=processes)
    command, log = fake(tmp_path)
    results = tmp_path / "results"
    make(study, tmp_path / "runs", results, command)
    for file in [*results.glob("LoAd*"), *results.glob("descent*")]:
        file.unlink()
    log.unlink()
    make(study, tmp_path / "elsewhere", results, command)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    begun = [i for i, call in enumerate(calls) if call["experiment.method"] == "@Baseline()"]
    assert sorted(begun) == [0, place] and len(calls) == 2 + 2 + 1 + 2
    assert all("start_from" not in str(calls[i]) for i in begun)


def test_a_free_process_goes_on_with_what_is_chosen_while_other_rates_are_tried(tmp_path: Path) -> None:
    """By hand: every rate of X is tried, one of Y's is not, from the first of two starts."""
    study = Study(
        variants={"X": (), "Y": (), "Z": ()}, seeds=(0,), starts={"a": (), "b": ()},
        learning_rates={"X": (0.1, 0.2), "Y": (0.1, 0.2)}, same_rate={"Z": "Y"}, processes=2,
    )  # fmt: skip
    runs, results = tmp_path / "runs", tmp_path / "results"
    runs.mkdir()
    results.mkdir()
    first, second = study.begun
    trials = [Run(variant, 0, rate, "a") for variant in "XY" for rate in (0.1, 0.2)]

    def finish(run: Run, holdout: float = 0.5) -> None:
        values = json.dumps(result(after=0.6, holdout=holdout))
        (results / f"{run.name}.json").write_text(values)
        if run.variant == START:
            (runs / f"{run.name}.json").write_text(values)

    def free(*working: Run) -> Run | None:
        return study_command._next(study, runs, results, working)

    assert free() == first and free(first) == second and free(first, second) is None
    finish(first)
    assert free() == trials[0] and free(*trials[:3]) == trials[3]
    finish(trials[0])
    finish(trials[1], holdout=0.6)
    finish(trials[2], holdout=0.6)
    assert free() == trials[3]
    # Y's second rate is being tried: there is X's from the other start, once that is made, and then nothing.
    assert free(trials[3]) == second and free(trials[3], second) is None
    finish(second)
    chosen = Run("X", 0, 0.2, "b")
    assert free(trials[3]) == chosen and free(trials[3], chosen) is None
    finish(trials[3])
    assert free(chosen) == Run("Z", 0, 0.1, "a")  # start by start
    finish(chosen)
    finish(Run("Z", 0, 0.1, "a"))
    assert free() == Run("Y", 0, 0.1, "b") and free(Run("Y", 0, 0.1, "b")) == Run("Z", 0, 0.1, "b")


def test_folds_are_made_one_after_another(tmp_path: Path) -> None:
    """All methods of the first one, then all of the second: what is there can be compared."""
    rates = {"LoAd": (0.2,), "descent": (0.1,)}
    starts = {"fold 0": (), "fold 1": ()}
    study = dataclasses.replace(STUDY, starts=starts, folds=True, seeds=(3,), same_rate={}, learning_rates=rates)
    assert [run.name for run in study_command._missing(study, tmp_path)][:4] == [
        *("LoAd-rate0.2-from_fold_0-seed3", "descent-rate0.1-from_fold_0-seed3"),
        *("LoAd-rate0.2-from_fold_1-seed3", "descent-rate0.1-from_fold_1-seed3"),
    ]
    # The table knows the first fold before anything of the second is made, and a rate only when all have been tried.
    study = dataclasses.replace(study, learning_rates={"LoAd": (0.2, 0.1), "descent": (0.1,)})
    for name in ("LoAd-rate0.1-from_fold_0-seed3", "descent-rate0.1-from_fold_0-seed3"):
        (tmp_path / f"{name}.json").write_text(json.dumps(result()))
    assert list(study_command._rows(study, tmp_path)) == ["descent"]
    (tmp_path / "LoAd-rate0.2-from_fold_0-seed3.json").write_text(json.dumps(result(holdout=0.7)))
    assert study_command._rows(study, tmp_path)["LoAd"] == ["LoAd-rate0.2-from_fold_0-seed3"]


def test_a_methods_own_rate_is_searched_by_its_own_name() -> None:
    study = Study(
        variants={"LoAd": (), "Hung et al.": ("experiment.method = @HungEtAl()",)},
        rate_parameters={"Hung et al.": "HungEtAl.learning_rate"},
    )
    rates = [[b for b in Run(name, 0, 0.25).bindings(study, Path("runs")) if "rate" in b] for name in study.variants]
    assert rates == [["AdversarialTraining.learning_rate = 0.25"], ["HungEtAl.learning_rate = 0.25"]]
    with pytest.raises(UserError, match="rate_parameters names 'Hung'"):
        Study(variants={"LoAd": ()}, rate_parameters={"Hung": "HungEtAl.learning_rate"})


def test_a_run_is_given_the_flags_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a flag and its value are two words; its own folder comes last and counts."""
    if "gin_file" not in flags.FLAGS:
        commands.define_experiment_flags()
    for name in {"results", "one"} - set(flags.FLAGS):
        flags.DEFINE_string(name, None, "As in the command.")
    file, results = tmp_path / "study.gin", tmp_path / "results"
    file.write_text("study.variants = {'LoAd': ()}\n")
    given: list[str] = []

    def make_nothing(study: Study, run_dir: Path, results: Path, command: list[str]) -> None:
        given[:] = command
        results.mkdir(exist_ok=True)
        (results / "table.md").write_text("")

    def call(*arguments: str) -> list[str]:
        gin.clear_config()
        flags.FLAGS.unparse_flags()
        left = commands.parse_flags(["study", *arguments])
        monkeypatch.setattr(sys, "argv", ["study", *arguments])
        return left

    monkeypatch.setattr(study_command, "make", make_nothing)
    arguments = ["--gin_file", str(file), "--run_dir", str(tmp_path / "runs"), "--results", str(results)]
    call(*arguments)
    study_command._main()
    assert given[:3] == [sys.executable, "-m", "load_tf.study"]
    assert call(*given[3:], "--run_dir=mine", "--one=mine.json") == ["study"]
    assert (flags.FLAGS.gin_file, flags.FLAGS.run_dir, flags.FLAGS.one) == ([str(file)], "mine", "mine.json")
    call(*arguments, "--seed=5")
    with pytest.raises(UserError, match=r"--seed is given, but a study has seeds of its own; set study\.seeds"):
        study_command._main()
    gin.clear_config()
    flags.FLAGS.unparse_flags()


def test_a_failed_run_is_named_with_its_last_words_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    command, _ = fake(tmp_path)
    study = Study(variants={"LoAd": (), "bad": ("fail = True",)}, seeds=(0,))
    with pytest.raises(UserError, match=r"'bad-seed0' failed: load_tf: the disk is full\."):
        make(study, tmp_path / "runs", tmp_path / "results", command)
    assert (tmp_path / "results" / "LoAd-seed0.json").is_file()


def test_a_study_that_is_stopped_stops_its_runs(tmp_path: Path) -> None:
    """Runs that went on would hold their run directories when the study is given again."""
    code = f"""
import sys
from pathlib import Path
from load_tf.study.__main__ import make
from load_tf.experiment.study_plan import Study
sleep = "import time, os, sys; open({str(tmp_path / "pid")!r}, 'w').write(str(os.getpid())); time.sleep(100)"
make(Study(variants={{"LoAd": ()}}, seeds=(0,)), Path({str(tmp_path)!r}), Path({str(tmp_path)!r}),
     [sys.executable, "-c", sleep])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    study = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, preexec_fn=heard)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and study.poll() is None
        time.sleep(0.1)
    study.send_signal(signal.SIGINT)
    study.communicate(timeout=30)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_names_that_are_not_variants_are_refused() -> None:
    with pytest.raises(UserError, match="learning_rates names 'Load'"):
        Study(variants={"LoAd": ()}, learning_rates={"Load": (0.1,)})
    with pytest.raises(UserError, match="same_rate names 'Luc'"):
        Study(variants={"LoAd": ()}, same_rate={"LoAd": "Luc"})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"seeds": ()}, "study.seeds is (); expected at least one, and each once."),
        ({"seeds": (3, 4, 3)}, "study.seeds is (3, 4, 3); expected at least one, and each once."),
        ({"processes": 0}, "study.processes is 0; expected a whole number above 0."),
        ({"variants": {"stage 1": ()}}, "study.variants names 'stage 1', whose files would be those of 'stage 1'"),
        ({"variants": {"a b": (), "a_b": ()}}, "study.variants names 'a_b', whose files would be those of 'a b'"),
        (
            {"variants": {"a": (), "b": (), "c": ()}, "same_rate": {"a": "b", "b": "c"}},
            "study.same_rate gives 'a' the rate of 'b', which takes 'c''s; expected a variant that takes nobody's.",
        ),
        (
            {"learning_rates": {"LoAd": (0.1, 0.2, 0.10000001)}},
            "study.learning_rates gives 'LoAd' the rates 0.1, 0.2, 0.10000001; expected rates that differ in six",
        ),
        (
            {"variants": {"a": (), "b": ()}, "same_rate": {"a": "b"}, "learning_rates": {"a": (0.1,)}},
            "study.learning_rates gives 'a' the rates 0.1; expected rates that differ in six digits, of a variant that "
            "is not in study.same_rate.",
        ),
    ],
)
def test_a_study_whose_runs_could_not_be_told_apart_is_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        Study(**{"variants": {"LoAd": ()}, **settings})


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UserError, match=r"x\.json is not the result"):
        comparison.read(tmp_path, "x")


def test_names_for_files_tell_runs_apart() -> None:
    assert Run("Luc, 0.1", 2, 1e-05).name == "Luc__0.1-rate1e-05-seed2"
    assert Run(START, 0).name == "stage_1-seed0"


def test_the_interval_mean_gain_over_runs() -> None:
    """Equal runs and images: no spread. Runs that differ: every mean of two of the gains, and nothing else."""
    before = np.array([counts(0.5), counts(0.5)])
    same = mean_gain_over_runs(before, np.array([counts(0.6), counts(0.6)]), draws=200)
    assert (same.low, same.high) == pytest.approx((same.gain, same.gain)) and same.spread == pytest.approx(0)
    after = np.array([counts(0.6), counts(0.4)])
    other = mean_gain_over_runs(before, after, draws=100)
    assert other.gain == pytest.approx(0.0, abs=1e-3)
    half = 12.7062 * np.std([0.1, -0.1], ddof=1) / np.sqrt(2)
    assert other.low == pytest.approx(-half, rel=0.01) and other.high == pytest.approx(half, rel=0.01)
    assert other.spread == pytest.approx(np.std([0.1, -0.1], ddof=1), abs=2e-3)


def test_the_interval_over_images_is_the_paired_bootstraps() -> None:
    """One seed: by brute force, with draws of our own."""
    random = np.random.default_rng(0)
    before = random.integers(1, 50, (1, 30, CLASSES))
    after = before + random.integers(-1, 4, before.shape).clip(0)
    truth = random.integers(60, 99, before.shape)
    stacked = [np.concatenate([c, truth, truth], axis=-1) for c in (before, after)]
    found = mean_gain_over_runs(*stacked, draws=4000)

    def miou(one: np.ndarray, rows: np.ndarray) -> float:
        correct, true, predicted = np.split(one[0][rows].sum(0), 3)
        return float(np.mean(correct / (true + predicted - correct)))

    gains = []
    for _ in range(4000):
        rows = random.integers(0, 30, 30)
        gains.append(miou(stacked[1], rows) - miou(stacked[0], rows))
    low, high = np.quantile(gains, (0.025, 0.975))
    width = high - low
    assert found.low == pytest.approx(low, abs=0.1 * width) and found.high == pytest.approx(high, abs=0.1 * width)


@pytest.mark.parametrize(("variants", "lengths"), [(5, [3, 3, 3, 2, 2]), (1, [1])])
def test_the_figure_has_no_empty_panel_and_ticks_in_points(
    variants: int, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(canvas, "png", figures.append)
    found = {f"{k}, the discriminator sees the class-split image": [result()] for k in range(variants)}
    found["0, the discriminator sees the class-split image"][0]["curve"] = [0.4, 0.1]  # 40 points lost
    runs = {variant: [comparison.Result(values) for values in one] for variant, one in found.items()}
    comparison.draw({"never looked": [comparison.Result(result(curve=0))], **runs})
    axes = figures[0].axes
    assert [axis.get_subplotspec().get_gridspec().ncols // len(axis.get_subplotspec().get_topmost_subplotspec().colspan)
            for axis in axes] == lengths  # fmt: skip
    ticks = [tick.label1.get_text() for tick in axes[0].yaxis.get_major_ticks()]
    assert {"0", "−1", "−3", "−10"} <= {*ticks} and not any("$" in tick for tick in ticks)
    titles = [axis.get_title(loc="left") for axis in axes]
    assert [" ".join(title.split()) for title in titles] == [f"{variant}: untouched +9.96" for variant in runs]
    boxes = [(axis.bbox, axis._left_title.get_window_extent()) for axis in axes]
    assert all(title.x1 < panel.x1 + 20 for panel, title in boxes), "no title runs into the next"


TINY = """
experiment.dataset = @synthetic()
synthetic.train = 8
synthetic.validation = 10
synthetic.size = (48, 64)
experiment.segmentor = @keras_model
keras_model.path = 'tiny.keras'
keras_model.pretrained = False
experiment.crop = (49, 65)
experiment.holdout_images = 4
StageOne.epochs = 1
StageOne.calibrate = 2
Discriminator.architecture = 'convolutional'
Discriminator.input_size = 32
Discriminator.alpha = 0.1
DiscriminatorTraining.max_epochs = 1
AdversarialTraining.batch_size = 2
Lookahead.patience = 1
Lookahead.max_iterations = 2
study.seeds = (0,)
study.starts = {'one': ('StageOne.momentum = 0.8',)}
study.variants = {
    'LoAd': ('experiment.method = @LoAd()',),
    'only': ('experiment.method = @CrossEntropyOnly()', 'CrossEntropyOnly.schedule = "decay"'),
}
"""


def test_a_whole_study_in_processes_of_its_own(tmp_path: Path) -> None:
    networks.trainable(deep=False).save(tmp_path / "tiny.keras")
    (tmp_path / "tiny.gin").write_text(TINY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "load_tf.study", "--gin_file=tiny.gin", "--run_dir=runs", "--results=found"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    load = json.loads((tmp_path / "found" / "LoAd-from_one-seed0.json").read_text())
    only = json.loads((tmp_path / "found" / "only-from_one-seed0.json").read_text())
    start = json.loads((tmp_path / "found" / "stage_1-from_one-seed0.json").read_text())
    assert load["start"] == only["start"] == start["name"] == "stage_1-from_one-seed0" and start["start"] is None
    assert "StageOne.momentum = 0.8" in (tmp_path / "runs" / "LoAd-from_one-seed0" / "config.gin").read_text()
    # Constants that are fitted again are fitted to the model as it stands, and change it only for that look.
    assert np.shape(load["counts_again"]) == np.shape(load["counts_after"]) and start["counts_again"]
    assert start["counts_again"] != start["counts_after"] == start["counts_before"]
    assert start["uncalibrated"] is not None and load["uncalibrated"] is None
    assert start["uncalibrated"] != pytest.approx(start["untouched"]["before"], abs=1e-9)
    assert load["holdout"]["before"] == only["holdout"]["before"] == start["holdout"]["before"]
    assert load["counts_before"] == only["counts_before"] == start["counts_after"]
    assert len(load["curve"]) == len(only["curve"]) == 2 and start["curve"] == []
    assert load["untouched"]["images"] == 6 and len(load["counts_after"]) == 6
    assert load["pair_accuracy"] and not only["pair_accuracy"]
    assert load["groups"] is None and load["untouched"]["gain"] == pytest.approx(
        load["untouched"]["after"] - load["untouched"]["before"]
    )
    assert load["discriminator_epochs"]["pair_accuracy"] == pytest.approx(load["pair_accuracy"], rel=1e-5)
    assert all(load["discriminator_epochs"]["training_loss"]) and all(load["discriminator_epochs"]["loss"])
    norms = load["updates_of_iterations"]["gradient_norm"]
    assert len(norms) == 2 and all(norm > 0 for norm in norms)
    assert load["went_back"] in (0, 1) and only["went_back"] is None
    assert load["aggregated"]["buffers"][0] == ["g0"] and only["aggregated"] == {"buffers": [], "end_models": 0}
    assert (tmp_path / "found" / "convergence.png").read_bytes().startswith(b"\x89PNG")
    assert "| LoAd |" in done.stdout
