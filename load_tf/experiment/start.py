"""The segmentor that LoAd starts from: pre-trained, of another run, or what stage 1 makes of it; then calibrated."""

import time
from typing import Any

import numpy as np
import tensorflow as tf

from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou_of_truth
from load_tf.experiment.images import Data
from load_tf.experiment.plan import Plan
from load_tf.game import warnings
from load_tf.report.listeners import Hear
from load_tf.storage.run_directory import RunDirectory, arrays_of_run, run_holds
from load_tf.training.calibration import GAIN, Calibrator
from load_tf.training.snapshot import Snapshot, arrays_to_variables, variables_to_arrays
from load_tf.training.stage_one import CrossEntropyTrainer, cross_entropy_batches, steps_per_epoch


def has_weights(plan: Plan) -> bool:
    """Puts the weights of the run that `experiment.start_from` names, if it names one, into the plan's model.

    Returns:
      Whether the model needs no stage 1: it has these weights, or is pre-trained.

    Raises:
      UserError: if that run has no start, or another network's.
    """
    start_from = plan.experiment.start_from
    if start_from is not None:
        arrays_to_variables(arrays_of_run(start_from, "baseline"), plan.segmentor.model.variables)
    return start_from is not None or plan.segmentor.pretrained


def make_baseline(plan: Plan, data: Data, directory: RunDirectory, holdout: Evaluator, listen: Hear) -> None:
    """Makes the plan's model the baseline, and commits it, or puts it back from the commit.

    Args:
      plan: the assembled experiment.
      data: its images.
      directory: where stage 1 commits to, and goes on from.
      holdout: scores the epochs of stage 1.
      listen: is told every event of the journal.
    """
    model, start_from = plan.segmentor.model, plan.experiment.start_from
    if not directory.state and has_weights(plan):
        constants = None
        if start_from is not None and run_holds(start_from, "calibration"):
            constants = arrays_of_run(start_from, "calibration")["constants"]
        _commit_baseline(plan, data, directory, holdout, listen, constants)
    if directory.state.get("phase", "stage_one") == "stage_one":
        _stage_one(plan, data, directory, holdout, listen)
        _commit_baseline(plan, data, directory, holdout, listen)
    arrays_to_variables(directory.arrays("baseline"), model.variables)


def _stage_one(plan: Plan, data: Data, directory: RunDirectory, holdout: Evaluator, listen: Hear) -> None:
    """Cross-entropy, epoch by epoch; a commit ends each, and the best on the hold-out is put into the model."""
    model, settings, seed = plan.segmentor.model, plan.stage_one, plan.experiment.seed
    steps = steps_per_epoch(len(data.training), settings)
    trainer = CrossEntropyTrainer(model, settings, steps * settings.epochs, plan.strategy, plan.segmentor.convention)
    best = Snapshot(model.variables)
    state: dict[str, Any] = {"phase": "stage_one", "epoch": 0, "best": None}
    if directory.state:
        state |= {name: directory.state[name] for name in ("epoch", "best")}
        arrays_to_variables(directory.arrays("stage_one"), trainer.variables)
        best.from_arrays(directory.arrays("best"))
    while state["epoch"] < settings.epochs:
        began = time.monotonic()
        trainer.train_dataset = cross_entropy_batches(data.training, settings, plan.crop, seed, state["epoch"])
        loss = trainer.train(tf.constant(steps))["loss"]
        score = mean_iou_of_truth(holdout.evaluate("hold-out").sum(axis=0))
        state["epoch"] += 1
        warnings.refuse_non_finite(
            "stage 1", f"in epoch {state['epoch']}", "StageOne.learning_rate", loss=loss, hold_out_score=score
        )
        changed = {"stage_one": lambda: variables_to_arrays(trainer.variables)}
        if settings.keep == "last" or state["best"] is None or score > state["best"]:
            state["best"] = score
            best.take()
            changed["best"] = best.to_arrays
        listen(
            directory.record(
                "stage_one", epoch=state["epoch"], epochs=settings.epochs, loss=loss, miou=score, best=state["best"]
            )
        )
        directory.commit(state, changed, {"best"})
        directory.time("stage_one", time.monotonic() - began, images=steps * settings.batch_size)
    best.put_back()


def _commit_baseline(
    plan: Plan,
    data: Data,
    directory: RunDirectory,
    holdout: Evaluator,
    listen: Hear,
    constants: np.ndarray | None = None,
) -> None:
    """Calibrates the model, where that is asked for and `constants` are not in it already, and commits it."""
    model = plan.segmentor.model
    if constants is None and plan.stage_one.calibrate:
        constants = _calibrate(plan, data, directory, holdout, listen)
    arrays = {"baseline": lambda: variables_to_arrays(model.variables)}
    if constants is not None:
        arrays["calibration"] = lambda: {"constants": constants}
    directory.commit({"phase": "baseline"}, arrays, set())


def _calibrate(plan: Plan, data: Data, directory: RunDirectory, holdout: Evaluator, listen: Hear) -> np.ndarray:
    """Fits class constants to D_t's proportions, and returns them; the journal says what they did."""
    began, steps = time.monotonic(), plan.stage_one.calibrate
    before = mean_iou_of_truth(holdout.evaluate("hold-out").sum(axis=0))
    calibrator = Calibrator(plan.segmentor.model, holdout, GAIN, plan.crop, data.training, data.unlabelled, alone=True)
    at_first = calibrator.bias.numpy()
    gaps = [calibrator.step()["class_gap"] for _ in range(steps)]
    after = mean_iou_of_truth(holdout.evaluate("hold-out").sum(axis=0))
    constants = calibrator.bias.numpy() - at_first
    listen(
        directory.record(
            "calibrated", steps=steps, class_gap=gaps[0], miou_before=before, miou=after, constants=constants.tolist()
        )
    )
    directory.time("calibration", time.monotonic() - began, images=steps * calibrator.images)
    return constants
