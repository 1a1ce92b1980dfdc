"""What a run leaves: tables, figures, pictures and the SavedModel, and whether they are still what was written."""

import functools
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from load_tf import interruption
from load_tf.data.dataset import groups_of
from load_tf.data.groups import in_words
from load_tf.devices import workers
from load_tf.errors import UserError
from load_tf.evaluation.converged import never_predicted, unconverged
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.neighbours import neighbours
from load_tf.evaluation.shapes import Shapes
from load_tf.evaluation.table import summary, table1
from load_tf.evaluation.where import where
from load_tf.experiment import registry
from load_tf.experiment.images import Data
from load_tf.experiment.plan import Plan
from load_tf.experiment.scoring import scores_in_words, write_tables
from load_tf.report import convergence, html, model_card, pictures, qualitative
from load_tf.report.looks import looks
from load_tf.report.tensorboard import TensorBoardLog
from load_tf.report.terminal import Terminal
from load_tf.report.timeline import finite_or_nan
from load_tf.storage.run_directory import ArraySource, RunDirectory
from load_tf.training.snapshot import arrays_to_variables, variables_to_arrays

SHOWN_IMAGES = 6
"""Rows of `qualitative.png`: half for what LoAd made better, half for what it made worse."""


def report(plan: Plan, data: Data, directory: RunDirectory, log: TensorBoardLog, terminal: Terminal) -> None:
    """Scores the baseline and the present model on all validation images and writes everything people look at."""
    evaluator = plan.table_evaluator(data.validation)
    load, baseline, shapes = _measured(plan, directory, evaluator)
    state = {name: value for name, value in directory.state.items() if name not in ("files", "journal", "commit")}
    if not workers.of(plan.strategy).is_chief:
        directory.commit(state, {}, {"start"}, last=True)
        return
    experiment = plan.experiment
    groups = groups_of(data.validation)
    table = table1(experiment.dataset.class_names, baseline, load, groups=groups, seed=experiment.seed)
    journal = directory.journal()
    seen = looks(journal)
    scores = _scores(plan, data, journal, (baseline, load), shapes)
    scores["looks"] = seen.summary() if seen else None
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
        plan.export(directory.path / "saved_model")
    directory.write("operative_config.gin", plan.parameters or registry.operative_config())
    directory.write("report/index.html", html.page(directory.path))
    directory.write("report/model_card.md", model_card.card(directory.path))
    left = {name: _digest(directory.path / name) for name in _left(directory)}
    directory.commit({**state, "phase": "done", "left": left}, {}, {"start"}, last=True)
    doubts = [scores["start"]["warning"], *(seen.warnings() if seen else ()), scores["neighbours"]["warning"]]
    warned = "".join(f"\nWARNING: {text}" for text in doubts if text)
    terminal.say(f"\n{table.text()}\n{scores_in_words(scores)}{warned}\nreport: {directory.path / 'report'}")


def _scores(
    plan: Plan,
    data: Data,
    journal: Sequence[Mapping[str, Any]],
    confusion: tuple[np.ndarray, np.ndarray],
    shapes: tuple[Shapes, Shapes] | None,
) -> dict[str, Any]:
    """What `summary.json` says of the two models, baseline and result, whose matrices and shapes are given."""
    names, seed, groups = plan.experiment.dataset.class_names, plan.experiment.seed, groups_of(data.validation)
    epochs = [finite_or_nan(event["miou"]) for event in journal if event["event"] == "stage_one"]
    scores: dict[str, Any] = {
        **summary(*confusion, data.holdout_indices, groups=groups, seed=seed),
        "trained_on": {"images": len(data.training), "unlabelled": len(data.unlabelled or ())},
        "neighbours": _neighbours(data, *confusion, grouped=groups is not None),
        "start": {"warning": unconverged(epochs, confusion[0])},
        "never_predicted": {
            name: [names[k] for k in np.flatnonzero(never_predicted(matrices))]
            for name, matrices in zip(("baseline", "load"), confusion, strict=True)
        },
    }
    if shapes is not None:
        untouched = sorted(set(range(len(confusion[0]))) - set(data.holdout_indices))
        sides = tuple(zip(confusion, shapes, strict=True))
        scores["where"] = where(names, sides[0], sides[1], chosen=untouched or None, groups=groups, seed=seed)
    return scores


def _neighbours(data: Data, baseline: np.ndarray, load: np.ndarray, grouped: bool) -> dict[str, Any]:
    """Whether untouched images that follow each other by id are alike, and what that does to the interval."""
    ids, touched = data.validation.ids, set(data.holdout_indices)
    order = sorted((index for index in range(len(ids)) if index not in touched), key=ids.__getitem__)
    found = neighbours(baseline[order], load[order])
    return {"lag1": found.lag1, "images": found.images, "warning": found.warning(grouped)}


def _measured(
    plan: Plan, directory: RunDirectory, evaluator: Evaluator
) -> tuple[np.ndarray, np.ndarray, tuple[Shapes, Shapes] | None]:
    """Per image, of LoAd's result and of the baseline; each is committed, since on many images they take long.

    Returns:
      Confusion matrices of the result and of the baseline, and the shapes of the baseline and of the result; None for
      the shapes if one was scored by a version that did not measure them.
    """
    model = plan.segmentor.model
    result = variables_to_arrays(model.variables)
    state = {name: value for name, value in directory.state.items() if name not in ("files", "journal", "commit")}
    files = set(directory.state["files"])
    confusion, shapes = [], []
    for name, weights in (("load", lambda: result), ("baseline", lambda: directory.arrays("baseline"))):
        if f"confusion_{name}" not in directory.state["files"]:
            arrays_to_variables(weights(), model.variables)
            began = time.monotonic()
            with interruption.abandonable():
                matrices, measured = evaluator.evaluate_shapes(f"validation, {name}")
            directory.time("validation", time.monotonic() - began, images=len(matrices))
            new: dict[str, ArraySource] = {
                f"confusion_{name}": functools.partial(dict, confusion=matrices),
                f"shapes_{name}": measured._asdict,
            }
            directory.commit(state, new, files)
            files = set(directory.state["files"])
        confusion.append(directory.arrays(f"confusion_{name}")["confusion"])
        if f"shapes_{name}" in directory.state["files"]:
            stored = directory.arrays(f"shapes_{name}")
            shapes.append(Shapes(*(stored[field] for field in Shapes._fields)))
    arrays_to_variables(result, model.variables)
    return confusion[0], confusion[1], (shapes[1], shapes[0]) if len(shapes) == 2 else None


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
