"""One run of a study: an experiment, scored on the images that neither training nor selection touched."""

import functools
import json
from pathlib import Path
from typing import Any

import gin
import numpy as np

from load_tf import commands, experiment, plan, workers
from load_tf.arrays import write_atomically
from load_tf.data.dataset import Subset
from load_tf.errors import UserError
from load_tf.evaluation.bootstrap import counts_of, paired_bootstrap
from load_tf.evaluation.miou import mean_iou
from load_tf.report import results
from load_tf.report.terminal import Terminal
from load_tf.run_directory import RunDirectory
from load_tf.snapshot import arrays_to_variables

GROUPS = 200
"""A result holds counts of at most so many groups of consecutive untouched images: it is to stay a small file."""


def make(run_dir: Path, result: Path) -> None:
    """Runs, or resumes, the parsed config's experiment and writes its result.

    Args:
      run_dir: the run's own folder.
      result: the JSON file; written last, so a run that has one is finished.
    """
    assembled = commands.configured(functools.partial(plan.assemble, beside=("study",)))
    if (team := workers.of(assembled.strategy)).count > 1:
        raise UserError(f"TF_CONFIG names {team.count} workers; a study runs on one machine, unset it.")
    # What it does not use is the study's: another variant in the gin file leaves this run what it is.
    directory = RunDirectory(run_dir, gin.operative_config_str(), experiment.PINNED)
    terminal = Terminal(assembled.lookahead)
    for event in directory.journal():
        terminal.remember(event)
    data = experiment.read_data(assembled)
    experiment.train(assembled, data, directory, terminal.show)
    touched = set(data.holdout_indices)
    untouched = Subset(data.validation, tuple(i for i in range(len(data.validation)) if i not in touched))
    if not len(untouched):
        raise UserError("no validation image is untouched; a study has nothing to score on.")
    model, evaluator = assembled.segmentor.model, assembled.evaluator(untouched)
    after = evaluator.evaluate("untouched, after")
    arrays_to_variables(directory.arrays("baseline"), model.variables)
    before = evaluator.evaluate("untouched, before")
    write_atomically(
        result,
        (json.dumps(_result(assembled, directory, before, after, len(touched))) + "\n").encode(),
    )
    directory.close()


def _result(
    assembled: plan.Plan,
    directory: RunDirectory,
    before: np.ndarray,
    after: np.ndarray,
    holdout_images: int,
) -> dict[str, Any]:
    experiment_, journal = assembled.experiment, directory.journal()
    start = next(event for event in journal if event["event"] == "start")
    scores = [event["miou"] for event in journal if event["event"] == "evaluate"]
    peaks = [event["miou"] for event in journal if event["event"] == "peak"]
    judged = [event["pair_accuracy"] for event in journal if event["event"] == "discriminator"]
    gain = paired_bootstrap(before, after, seed=experiment_.seed)
    sums = results.sum_timings(directory.path)
    return {
        "method": experiment_.method.title,
        "dataset": experiment_.dataset.name,
        "class_names": list(experiment_.dataset.class_names),
        "seed": experiment_.seed,
        "learning_rate": experiment_.method.adversarial_training(assembled.players.adversarial).learning_rate,
        "updates": len(scores) * assembled.players.adversarial.updates_per_iteration,
        "holdout": {"images": holdout_images, "before": start["miou"], "after": peaks[-1] if peaks else start["miou"]},
        "untouched": {
            "images": len(before),
            "before": mean_iou(before),
            "after": mean_iou(after),
            "low": gain.miou_low,
            "high": gain.miou_high,
        },
        "class_gains": [None if np.isnan(value) else float(value) for value in gain.gain],
        "curve": scores,
        "cycle_ends": [event["reason"] for event in journal if event["event"] == "cycle_end"],
        "pair_accuracy": judged,
        "warnings": sorted({event["text"] for event in journal if event["event"] == "warning"}),
        "seconds": sums["seconds"],
        "peak_mib": max(sums["peak_mib"].values(), default=0),
        "counts_before": _grouped(counts_of(before)).tolist(),
        "counts_after": _grouped(counts_of(after)).tolist(),
    }


def _grouped(counts: np.ndarray) -> np.ndarray:
    """Sums [N, 3 K] of consecutive images, at most `GROUPS` of them, as even as they can be."""
    bounds = np.linspace(0, len(counts), min(GROUPS, len(counts)) + 1).astype(int)[:-1]
    return np.add.reduceat(counts, bounds, axis=0)
