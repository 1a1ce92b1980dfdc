"""One run of a study: an experiment, scored on the images that neither training nor selection touched."""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from load_tf.data.dataset import Subset, groups_of
from load_tf.devices import workers
from load_tf.errors import UserError
from load_tf.evaluation.bootstrap import counts_of, paired_bootstrap
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou, mean_iou_of_truth
from load_tf.experiment import config, images, plan, registry, scoring
from load_tf.experiment import run as experiment
from load_tf.methods.load import LoAd
from load_tf.report.terminal import Terminal
from load_tf.storage.arrays import write_atomically
from load_tf.storage.run_directory import RunDirectory
from load_tf.study import result as study_result
from load_tf.training.calibration import ENOUGH_IMAGES, GAIN, Calibrator, logits_bias
from load_tf.training.snapshot import arrays_to_variables

AGAIN_STEPS = 3
"""For class constants that are fitted to a result."""


def make(run_dir: Path, result: Path) -> None:
    """Runs, or resumes, the parsed config's experiment and writes its result.

    Args:
      run_dir: the run's own folder.
      result: the JSON file; written last, so a run that has one is finished.
    """
    assembled = config.configured(functools.partial(plan.assemble, beside=("study",)))
    if (team := workers.of(assembled.strategy)).count > 1:
        raise UserError(f"TF_CONFIG names {team.count} workers; a study runs on one machine, unset it.")
    # What it does not use is the study's: another variant in the gin file leaves this run what it is.
    directory = RunDirectory(run_dir, registry.operative_config(), experiment.PINNED)
    terminal = Terminal(assembled.lookahead)
    for event in directory.journal():
        terminal.remember(event)
    data = images.read_data(assembled)
    images.hold_to(directory, data, assembled)
    experiment.train(assembled, data, directory, terminal.hear)
    touched = set(data.holdout_indices)
    untouched = Subset(data.validation, tuple(i for i in range(len(data.validation)) if i not in touched))
    if not len(untouched):
        raise UserError("no validation image is untouched; a study has nothing to score on.")
    model, evaluator = assembled.segmentor.model, assembled.evaluator(untouched)
    after = evaluator.evaluate("untouched, after")
    again = _fitted_again(assembled, data, evaluator) if assembled.stage_one.calibrate else None
    arrays_to_variables(directory.arrays("baseline"), model.variables)
    before = evaluator.evaluate("untouched, before")
    bare = None
    if "calibration" in directory.state["files"] and assembled.experiment.start_from is None:
        bias = logits_bias(model, assembled.crop)
        bias.assign_sub(directory.arrays("calibration")["constants"])
        bare = evaluator.evaluate("untouched, without class constants")
    groups = groups_of(untouched)
    labels = None if groups is None else tuple(map(str, groups))
    values = _result(assembled, directory, before, after, len(touched), labels)
    values["uncalibrated"] = None if bare is None else mean_iou_of_truth(bare.sum(axis=0))
    values["counts_again"] = (
        None if again is None else study_result.counts_by_group(counts_of(again), labels)[0].tolist()
    )
    values["name"] = run_dir.name
    values["start"] = None if assembled.experiment.start_from is None else Path(assembled.experiment.start_from).name
    values["untouched"]["digest"] = hashlib.sha256("\n".join(untouched.ids).encode()).hexdigest()[:16]
    write_atomically(result, (json.dumps(values) + "\n").encode())
    directory.close()


def _fitted_again(assembled: plan.Plan, data: images.Data, untouched: Evaluator) -> np.ndarray:
    """Would class constants have made as much of it? The confusion matrices with constants fitted once more, and then
    taken back: what is a gain in class proportion only, constants give to the start as well."""
    model, crop = assembled.segmentor.model, assembled.crop
    images = (data.training, data.unlabelled, ENOUGH_IMAGES)
    calibrator = Calibrator(model, untouched, GAIN, crop, *images, alone=True)
    held = calibrator.bias.numpy()
    for _ in range(AGAIN_STEPS):
        calibrator.step()
    found = untouched.evaluate("untouched, class constants fitted again")
    calibrator.bias.assign(held)
    return found


def _result(
    assembled: plan.Plan,
    directory: RunDirectory,
    before: np.ndarray,
    after: np.ndarray,
    holdout_images: int,
    labels: Sequence[str] | None,
) -> dict[str, Any]:
    experiment_, journal = assembled.experiment, directory.journal()
    start = next(event for event in journal if event["event"] == "start")
    scores = [event["miou"] for event in journal if event["event"] == "evaluate"]
    peaks = [event["miou"] for event in journal if event["event"] == "peak"]
    judged = [event["pair_accuracy"] for event in journal if event["event"] == "discriminator"]
    gain = paired_bootstrap(before, after, groups=labels, seed=experiment_.seed)
    counts_before, groups = study_result.counts_by_group(counts_of(before), labels)
    counts_after, _ = study_result.counts_by_group(counts_of(after), labels)
    sums = scoring.sum_timings(directory.path)
    happened = study_result.what_happened(
        journal, goes_back=isinstance(experiment_.method, LoAd), averages=bool(assembled.players.adversarial.average)
    )
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
            "gain": gain.miou_gain,
            "low": None if np.isnan(gain.miou_low) else gain.miou_low,
            "high": None if np.isnan(gain.miou_high) else gain.miou_high,
        },
        "class_gains": [None if np.isnan(value) else float(value) for value in gain.gain],
        "curve": scores,
        "cycle_ends": [event["reason"] for event in journal if event["event"] == "cycle_end"],
        "pair_accuracy": judged,
        "warnings": sorted({event["text"] for event in journal if event["event"] == "warning"}),
        "seconds": sums["seconds"],
        "peak_mib": max(sums["peak_mib"].values(), default=0),
        **happened,
        "groups": groups,
        "counts_before": counts_before.tolist(),
        "counts_after": counts_after.tolist(),
    }
