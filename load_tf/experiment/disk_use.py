"""How much disk a run takes at the most, said before it takes it."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from load_tf.discriminator.build import numbers

if TYPE_CHECKING:
    from load_tf.experiment.plan import Plan

_KEPT = 3
"""Commits whose files are there at a time: the last two, and the one that is being written."""


def expected_bytes(plan: "Plan", training: int, holdout: int, validation: int) -> tuple[int, int]:
    """What a run directory holds at the most.

    Args:
      plan: the experiment.
      training: images of D_t; `holdout` and `validation` likewise.

    Returns:
      Bytes while the run goes on, and at its end. The journal and TensorBoard's log, some hundred bytes an iteration,
      are not in it.
    """
    method, classes = plan.experiment.method, plan.experiment.dataset.num_classes
    model = plan.segmentor.model
    weights, trained = _bytes(model.variables), _bytes(model.trainable_variables)
    # The present model with its momentum, the start model, the best and what the method keeps beside; the hold-out's
    # confusion matrices of the start and the best model; where there is one, the discriminator, its best epoch and B.
    commit = (3 + method.copies(plan.players.adversarial)) * weights + trained + 2 * 8 * holdout * classes**2
    settings = method.discriminator_settings(plan.players.discriminator)
    if settings:
        trained_by_it, others = numbers(settings, classes)
        optimizer = method.discriminator_optimizer(plan.players.discriminator_training, None)
        slots = 2 if isinstance(optimizer, keras.optimizers.Adam) else 1
        maps = (training + holdout) * settings.input_size**2
        commit += 2 * 4 * ((1 + slots) * trained_by_it + others) + plan.lookahead.max_buffer_sets * maps
    end = 2 * weights + 2 * 8 * validation * classes**2
    return weights + _KEPT * commit, end + weights + 2**22


def sentence(plan: "Plan", run_dir: Path, training: int, holdout: int, validation: int) -> str:
    """What `expected_bytes` says, beside what is free; a warning where it may not be enough."""
    during, end = expected_bytes(plan, training, holdout, validation)
    free = shutil.disk_usage(run_dir).free
    there = sum(file.stat().st_size for folder in ("checkpoints", "label_maps") for file in run_dir.glob(f"{folder}/*"))
    warning = "; WARNING: that may not be enough" if free < during - there else ""
    return (
        f"disk: {run_dir} takes up to {during / 2**20:,.0f} MiB while the run goes on and {end / 2**20:,.0f} MiB at "
        f"its end; {free / 2**20:,.0f} MiB are free{warning}."
    )


def _bytes(variables: list[keras.Variable]) -> int:
    return sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in variables)
