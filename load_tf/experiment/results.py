"""What a run leaves: tables, summary, figures, SavedModel, environment."""

import functools
import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from load_tf import interruption
from load_tf.data.dataset import groups_of
from load_tf.data.groups import in_words
from load_tf.data.preparation import prepare
from load_tf.devices import workers
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.neighbours import neighbours
from load_tf.evaluation.table import Table, over_groups, summary, table1
from load_tf.experiment import registry
from load_tf.experiment.images import Data
from load_tf.experiment.plan import Plan
from load_tf.report import convergence, html, pictures, qualitative
from load_tf.report.looks import looks
from load_tf.report.tensorboard import TensorBoardLog
from load_tf.report.terminal import Terminal
from load_tf.serving.saved_model import export
from load_tf.storage.arrays import write_atomically
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.snapshot import arrays_to_variables, variables_to_arrays

SHOWN_IMAGES = 6
"""Rows of `qualitative.png`: half for what LoAd made better, half for what it made worse."""


def report(plan: Plan, data: Data, directory: RunDirectory, log: TensorBoardLog, terminal: Terminal) -> None:
    """Scores the baseline and the present model on all validation images and writes everything people look at."""
    evaluator = _evaluator(plan, data.validation)
    load, baseline = _confusion_matrices(plan, directory, evaluator)
    state = {name: value for name, value in directory.state.items() if name not in ("files", "journal", "commit")}
    if not workers.of(plan.strategy).is_chief:
        directory.commit(state, {}, {"start"}, last=True)
        return
    experiment = plan.experiment
    groups = groups_of(data.validation)
    table = table1(experiment.dataset.class_names, baseline, load, groups=groups, seed=experiment.seed)
    journal = directory.journal()
    seen = looks(journal)
    alike = _neighbours(data, baseline, load, grouped=groups is not None)
    scores: dict[str, Any] = {
        **summary(baseline, load, data.holdout_indices, groups=groups, seed=experiment.seed),
        "neighbours": alike,
        "looks": seen.summary() if seen else None,
    }
    holdout_ids = [data.validation.ids[i] for i in data.holdout_indices]
    write_tables(directory, plan, table, scores, journal, holdout_ids, None if groups is None else in_words(groups))
    with interruption.abandonable():
        directory.write("report/convergence.png", convergence.draw(journal, f"{experiment.name}: LoAd as it happened"))
        rows = _rows(plan, data, directory, evaluator, baseline, load)
    directory.write(
        "report/qualitative.png", qualitative.draw(rows, experiment.dataset.class_names, experiment.dataset.colours)
    )
    names, colours = experiment.dataset.class_names, experiment.dataset.colours
    directory.write("report/pictures.json", pictures.encode(rows, names, colours))
    log.label_maps("truth", [row.truth for row in rows], experiment.dataset.colours)
    log.label_maps("baseline", [row.baseline for row in rows], experiment.dataset.colours)
    log.label_maps("load", [row.load for row in rows], experiment.dataset.colours)
    if not (directory.path / "saved_model" / "1").is_dir() or any("saved_model" in name for name in damaged(directory)):
        export(
            plan.segmentor.model,
            directory.path / "saved_model",
            crop=experiment.crop,
            class_names=experiment.dataset.class_names,
            colours=experiment.dataset.colours,
            convention=plan.segmentor.convention,
            largest=plan.segmentor.largest,
        )
    directory.write("operative_config.gin", plan.parameters or registry.operative_config())
    directory.write("report/index.html", html.page(directory.path))
    left = {name: _digest(directory.path / name) for name in _left(directory)}
    directory.commit({**state, "phase": "done", "left": left}, {}, {"start"}, last=True)
    doubts = [*(seen.warnings() if seen else ()), *([alike["warning"]] if alike["warning"] else ())]
    warned = "".join(f"\nWARNING: {text}" for text in doubts)
    terminal.say(f"\n{table.text()}\n{_scores_in_words(scores)}{warned}\nreport: {directory.path / 'report'}")


def _neighbours(data: Data, baseline: np.ndarray, load: np.ndarray, grouped: bool) -> dict[str, Any]:
    """Whether untouched images that follow each other by id are alike, and what that does to the interval."""
    ids, touched = data.validation.ids, set(data.holdout_indices)
    order = sorted((index for index in range(len(ids)) if index not in touched), key=ids.__getitem__)
    found = neighbours(baseline[order], load[order])
    return {"lag1": found.lag1, "images": found.images, "warning": found.warning(grouped)}


def _evaluator(plan: Plan, split: Any) -> Evaluator:
    segmentor = plan.segmentor
    model = plan.evaluation.wrap(segmentor.model, plan.experiment.crop, segmentor.convention, segmentor.largest)
    return plan.evaluator(split, model)


def _confusion_matrices(plan: Plan, directory: RunDirectory, evaluator: Evaluator) -> tuple[np.ndarray, np.ndarray]:
    """Per image, of LoAd's result and of the baseline; each is committed, since on many images they take long."""
    model = plan.segmentor.model
    result = variables_to_arrays(model.variables)
    state = {name: value for name, value in directory.state.items() if name not in ("files", "journal", "commit")}
    files = set(directory.state["files"])
    found = []
    for name, weights in (("load", lambda: result), ("baseline", lambda: directory.arrays("baseline"))):
        if f"confusion_{name}" not in directory.state["files"]:
            arrays_to_variables(weights(), model.variables)
            began = time.monotonic()
            with interruption.abandonable():
                matrices = evaluator.evaluate(f"validation, {name}")
            directory.time("validation", time.monotonic() - began, images=len(matrices))
            directory.commit(state, {f"confusion_{name}": functools.partial(dict, confusion=matrices)}, files)
            files = set(directory.state["files"])
        found.append(directory.arrays(f"confusion_{name}")["confusion"])
    arrays_to_variables(result, model.variables)
    return found[0], found[1]


def _rows(
    plan: Plan,
    data: Data,
    directory: RunDirectory,
    evaluator: Evaluator,
    baseline: np.ndarray,
    load: np.ndarray,
) -> list[qualitative.Row]:
    model = plan.segmentor.model
    chosen = qualitative.most_changed(baseline, load, SHOWN_IMAGES)
    after = evaluator.predictions(chosen)
    result = variables_to_arrays(model.variables)
    arrays_to_variables(directory.arrays("baseline"), model.variables)
    before = evaluator.predictions(chosen)
    arrays_to_variables(result, model.variables)
    rows = []
    for index, label_before, label_after in zip(chosen, before, after, strict=True):
        example = data.validation[index]
        rows.append(qualitative.Row(example.id, example.image, example.label, label_before, label_after))
    return rows


def write_tables(
    directory: RunDirectory,
    plan: Plan,
    table: Table,
    scores: dict[str, Any],
    journal: list[dict[str, Any]],
    holdout_ids: list[str],
    groups: str | None = None,
) -> None:
    """`table1.csv`, `table1.md` and `summary.json`."""
    dataset = plan.experiment.dataset
    caption = [
        f"{plan.experiment.name}: {dataset.name}, split {plan.experiment.validation_split}, IoU in per cent.",
        "",
        _scores_in_words(scores),
        *(line for note in table.notes for line in ("", note)),
    ]
    directory.write("report/table1.csv", table.csv())
    directory.write("report/table1.md", table.markdown(caption))
    sums = sum_timings(directory.path)
    peaks = [event for event in journal if event["event"] == "peak"]
    directory.write(
        "report/summary.json",
        json.dumps(
            {
                **scores,
                "classes": {name: values for name, values in table.rows},
                "notes": list(table.notes),
                "columns": ["baseline", "load", "gain", "gain_low", "gain_high", "paper_baseline", "paper_load"],
                "cycles": sum(event["event"] == "cycle_end" for event in journal),
                "peaks": [{"cycle": p["cycle"], "iteration": p["iteration"], "miou": p["miou"]} for p in peaks],
                "holdout_ids": holdout_ids,
                "groups": groups,
                "seconds": sums["seconds"],
                "peak_mib": sums["peak_mib"],
                "settings": settings(plan),
            },
            indent=1,
        )
        + "\n",
    )


def settings(plan: Plan) -> dict[str, Any]:
    """All that a score depends on, to be printed beside it."""
    experiment, segmentor = plan.experiment, plan.segmentor
    limit = {} if segmentor.limit is None else {"largest_image": segmentor.limit}
    return {
        "dataset": experiment.dataset.name,
        "split": experiment.validation_split,
        "segmentor": segmentor.description,
        "output_stride": segmentor.output_stride,
        "crop": list(experiment.crop),
        "scales": list(plan.evaluation.scales),
        "flip": plan.evaluation.flip,
        "resizing": segmentor.convention.describe(segmentor.full_resolution),
        "padding": "bottom and right, 127.5",
        **limit,
        "void": "255 ignored",
        "absent_classes": "left out of the mean",
        "seed": experiment.seed,
    }


def warnings(plan: Plan) -> list[str]:
    """What does not belong together and costs points, each in a sentence."""
    stride, crop = plan.segmentor.output_stride, plan.experiment.crop
    found = []
    if plan.segmentor.limit is not None:
        found.append(plan.segmentor.limit)
    if plan.segmentor.convention.upsampling == "aligned" and any((side - 1) % stride for side in crop):
        found.append(
            f"the crop {crop[0]}x{crop[1]} is not of k * {stride} + 1 pixels, as output stride {stride} needs it for "
            "features and image corners to be aligned"
        )
    return found


def sum_timings(run_dir: Path) -> dict[str, dict[str, float]]:
    """`timings.jsonl` by phase: `seconds` in all, and `peak_mib`, the process's peak memory until the phase's end."""
    seconds: dict[str, float] = {}
    peak: dict[str, float] = {}
    timings = run_dir / "timings.jsonl"
    for line in timings.read_text().splitlines() if timings.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a process was killed while it wrote this line
        phase = entry["phase"]
        seconds[phase] = seconds.get(phase, 0.0) + entry["seconds"]
        peak[phase] = max(peak.get(phase, 0), entry.get("peak_mib", 0))
    return {"seconds": {phase: round(total, 1) for phase, total in seconds.items()}, "peak_mib": peak}


def _scores_in_words(scores: dict[str, Any]) -> str:
    lines = []
    for name, meaning in (
        ("full", "all images"),
        ("holdout", "hold-out (LoAd chose its model on these)"),
        ("untouched", "untouched images (the honest gain)"),
    ):
        score = scores[name]
        if score["baseline"] is None:
            continue
        text = f"{meaning}, {score['images']}: mIoU {score['baseline']:.2f}"
        if score["load"] is not None:
            text += f" -> {score['load']:.2f}, gain {score['gain']:+.2f} ({_interval_in_words(score)})"
        lines.append(text)
    return "\n\n".join(lines)


def _interval_in_words(score: dict[str, Any]) -> str:
    over = over_groups(score["groups"])
    if score["gain_low"] is None:
        return f"no interval {over}"
    return f"95 % interval {over}: {score['gain_low']:+.2f} to {score['gain_high']:+.2f}"


def evaluate_only(plan: Plan, run_dir: Path | None) -> None:
    """The command `evaluate`: the segmentor's table on the validation split, settings printed beside it.

    Args:
      plan: the assembled experiment.
      run_dir: where `report/table1.csv` and `summary.json` go; None prints only.

    Raises:
      UserError: if the segmentor is not trained, or `run_dir` is the folder of a LoAd run, or can't be written.
    """
    experiment = plan.experiment
    if not plan.segmentor.pretrained:
        raise UserError(
            f"{plan.segmentor.description} is not trained; evaluate a segmentor with weights, or train it with "
            "load_tf.main."
        )
    team = workers.of(plan.strategy)
    report_folder = _report_folder(run_dir) if team.is_chief else None
    split = prepare(
        experiment.dataset.split(experiment.validation_split),
        experiment.dataset.num_classes,
        f"{experiment.dataset.name} {experiment.validation_split}",
    )
    with team.watched():
        baseline = _evaluator(plan, split).evaluate("evaluate")
    if not team.is_chief:
        return
    table = table1(experiment.dataset.class_names, baseline)
    scores = summary(baseline, None, [])
    print(table.text())
    for name, value in settings(plan).items():
        print(f"{name:>15}: {value}")
    for warning in warnings(plan):
        print(f"{'warning':>15}: {warning}")
    if report_folder is not None:
        for name, content in (
            ("table1.csv", table.csv()),
            ("table1.md", table.markdown()),
            ("summary.json", json.dumps({**scores, "settings": settings(plan)}, indent=1) + "\n"),
        ):
            try:
                write_atomically(report_folder / name, content.encode())
            except OSError as error:
                raise UserError(f"{report_folder / name} can't be written: {error.strerror}.") from None


def _report_folder(run_dir: Path | None) -> Path | None:
    """Where an evaluation's tables go: made before anything is computed, and not over those of a run."""
    if run_dir is None:
        return None
    if (run_dir / "config.gin").exists():
        raise UserError(f"{run_dir} is the folder of a LoAd run, whose tables stay; choose another --run_dir.")
    folder = run_dir / "report"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't make the folder {folder}: {error.strerror}.") from None
    return folder


def damaged(directory: RunDirectory) -> list[str]:
    """The files of a finished run's report and SavedModel that are gone or not what was written."""
    return [
        name for name, digest in directory.state.get("left", {}).items() if _digest(directory.path / name) != digest
    ]


def _left(directory: RunDirectory) -> list[str]:
    files = [f for folder in ("report", "saved_model") for f in sorted((directory.path / folder).rglob("*"))]
    return [str(f.relative_to(directory.path)) for f in files if f.is_file() and not f.name.endswith(".tmp")]


def _digest(file: Path) -> str | None:
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def stored_table(directory: RunDirectory) -> str:
    """The Markdown table of a finished run. Raises UserError if it is no longer there."""
    file = directory.path / "report" / "table1.md"
    if not file.is_file():
        raise UserError(f"the run in {directory.path} is finished, but its table {file} is gone.")
    return file.read_text()


def write_environment(directory: RunDirectory, plan: Plan) -> None:
    """`environment.json`; a resume under another environment is refused, since its bits would differ.

    Raises:
      UserError: naming what differs.
    """
    if not workers.of(plan.strategy).is_chief:
        return
    environment = plan.runtime.environment(plan.strategy)
    file = directory.path / "environment.json"
    if file.is_file() and directory.state:
        try:
            before = dict(json.loads(file.read_text()))
        except ValueError:
            raise UserError(f"{file} is damaged: it is not what was written; start a new run directory.") from None
        for name, value in environment.items():
            # What an older version did not write down can't differ.
            if before.get(name, value) != value:
                raise UserError(
                    f"{directory.path} was begun with {name} {before.get(name)!r}, now it is {value!r}; results would "
                    "not be those of one run. Resume where it was begun, or choose another --run_dir."
                )
        return
    revision = {"git_revision": _git_revision(), "seed": plan.experiment.seed}
    directory.write("environment.json", json.dumps({**environment, **revision}, indent=1) + "\n")


def _git_revision() -> str | None:
    """The checkout's revision, or None where the package is installed."""
    package = Path(__file__).resolve().parents[2]
    if not (package / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(package), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
