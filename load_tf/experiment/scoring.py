"""Scores as people read them: the tables of a run and of `evaluate`, and the settings that are printed beside them."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from load_tf.data.dataset import Split
from load_tf.data.preparation import prepare
from load_tf.devices import processor, workers
from load_tf.errors import UserError
from load_tf.evaluation import where
from load_tf.evaluation.shapes import Shapes
from load_tf.evaluation.table import Table, over_groups, summary, table1
from load_tf.experiment.plan import Plan
from load_tf.experiment.start import has_weights
from load_tf.serving import engines, loaded
from load_tf.storage.arrays import write_atomically
from load_tf.storage.run_directory import RunDirectory


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
        scores_in_words(scores),
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
        "crop": list(plan.crop),
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
    stride, crop = plan.segmentor.output_stride, plan.crop
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


def scores_in_words(scores: dict[str, Any]) -> str:
    """`summary`'s numbers as sentences, the untouched images' last."""
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


def evaluate_only(plan: Plan, run_dir: Path | None, engine: str = "tensorflow") -> None:
    """The command `evaluate`: the segmentor's table on the validation split, settings printed beside it.

    With `experiment.start_from` its weights are those that the named run has after stage 1.

    Args:
      plan: the assembled experiment.
      run_dir: where `report/table1.csv`, `table1.md` and `summary.json` go; None prints only.
      engine: what labels the images, one of `engines.ENGINES`.

    Raises:
      UserError: if the segmentor is not trained, or `run_dir` is the folder of a LoAd run, or can't be written; if the
        engine can't do what is asked for.
    """
    experiment = plan.experiment
    if not has_weights(plan):
        raise UserError(
            f"{plan.segmentor.description} is not trained; evaluate a segmentor with weights, or train it with "
            "load_tf.main."
        )
    team = workers.of(plan.strategy)
    _check_engine(plan, engine)
    report_folder = _report_folder(run_dir) if team.is_chief else None
    split = prepare(
        experiment.dataset.split(experiment.validation_split),
        experiment.dataset.num_classes,
        f"{experiment.dataset.name} {experiment.validation_split}",
    )
    bfloat16 = plan.runtime.looks_in_bfloat16
    if plan.runtime.math != "float32" and not bfloat16:
        print(f"Runtime.math is {plan.runtime.math!r}, but it is float32 here: {processor.LACKS}.")
    agreement = None
    with team.watched():
        if engine == "tensorflow":
            baseline, shapes = plan.table_evaluator(split, bfloat16).evaluate_shapes("evaluate")
        else:
            baseline, shapes, agreement = _by_engine(plan, split, engine)
    if not team.is_chief:
        return
    table = table1(experiment.dataset.class_names, baseline)
    scores: dict[str, Any] = summary(baseline, None, [])
    print(table.text())
    found = where.where(experiment.dataset.class_names, (baseline, shapes))
    if found is not None:
        scores["where"] = found
        print(where.text(found))
    chosen = settings(plan) | ({"math": "bfloat16"} if bfloat16 else {})
    chosen |= {} if agreement is None else {"engine": engine, "agreement": agreement}
    if experiment.start_from is not None:
        chosen |= {"start_from": experiment.start_from}
    for name, value in chosen.items():
        print(f"{name:>15}: {value}")
    for warning in warnings(plan):
        print(f"{'warning':>15}: {warning}")
    if report_folder is not None:
        for name, content in (
            ("table1.csv", table.csv()),
            ("table1.md", table.markdown()),
            ("summary.json", json.dumps({**scores, "settings": chosen}, indent=1) + "\n"),
        ):
            try:
                write_atomically(report_folder / name, content.encode())
            except OSError as error:
                raise UserError(f"{report_folder / name} can't be written: {error.strerror}.") from None


def _check_engine(plan: Plan, engine: str) -> None:
    """Raises UserError if an engine is not for what the plan asks."""
    if engine == "tensorflow":
        return
    evaluation = plan.evaluation
    for wrong, why in (
        (tuple(evaluation.scales) != (1.0,) or evaluation.flip, "several scales or mirrored images (Evaluation)"),
        (plan.runtime.math != "float32", f"Runtime.math {plan.runtime.math!r}"),
        (plan.strategy.num_replicas_in_sync > 1 or workers.of(plan.strategy).count > 1, "several devices"),
    ):
        if wrong:
            raise UserError(f"--engine={engine} is for one model on one processor, not for {why}; leave one out.")


def _by_engine(plan: Plan, split: Split, engine: str) -> tuple[np.ndarray, Shapes, str]:
    """Matrices and shapes by another runtime, and how far its label maps are TensorFlow's."""
    with tempfile.TemporaryDirectory() as folder:
        other = engines.with_engine(loaded.load(plan.export(folder)), engine)
    assert isinstance(other, engines.EngineSegmentor)
    confusion, shapes = engines.evaluate_shapes(other, split)
    return confusion, shapes, other.compared.text(engine)


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


def _interval_in_words(score: dict[str, Any]) -> str:
    over = over_groups(score["groups"])
    if score["gain_low"] is None:
        return f"no interval {over}"
    return f"95 % interval {over}: {score['gain_low']:+.2f} to {score['gain_high']:+.2f}"
