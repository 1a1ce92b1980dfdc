"""How much disk a run takes at the most, said before it takes it."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from load_tf.discriminator.fully_convolutional import FILTERS
from load_tf.discriminator.mobilenet import Discriminator

if TYPE_CHECKING:
    from load_tf.experiment.plan import Plan

_WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Channels behind each of MobileNet's blocks, at alpha 1."""
_KEPT = 3
"""Commits whose files are there at a time: the last two, and the one that is being written."""


def discriminator_numbers(settings: Discriminator, num_classes: int) -> tuple[int, int]:
    """How many trainable and other numbers a discriminator has, counted without building it."""
    channels = settings.channels(num_classes)
    if settings.architecture == "convolutional":
        return _convolutional_numbers(channels, settings.alpha), 0
    return _mobilenet_numbers(channels, settings.alpha)


def _convolutional_numbers(channels: int, alpha: float) -> int:
    """Kernels of 4 x 4 and biases of `FullyConvolutionalDiscriminator`."""
    numbers = 0
    for filters in (*(max(1, round(width * alpha)) for width in FILTERS[:-1]), FILTERS[-1]):
        numbers += 16 * channels * filters + filters
        channels = filters
    return numbers


def _mobilenet_numbers(inputs: int, alpha: float) -> tuple[int, int]:
    channels = int(32 * alpha)
    trained, others = 9 * inputs * channels + 2 * channels, 2 * channels
    for width in _WIDTHS:
        after = int(width * alpha)
        trained += 9 * channels + 2 * channels + channels * after + 2 * after
        others += 2 * channels + 2 * after
        channels = after
    return trained + channels + 1, others


def expected_bytes(plan: "Plan", training: int, holdout: int, validation: int) -> tuple[int, int]:
    """What a run directory holds at the most.

    Args:
      plan: the experiment.
      training: images of D_t; `holdout` and `validation` likewise.

    Returns:
      Bytes while the run goes on, and at its end. The journal and TensorBoard's log, some hundred bytes an iteration,
      are not in it.
    """
    classes = plan.experiment.dataset.num_classes
    model = plan.segmentor.model
    weights, trained = _bytes(model.variables), _bytes(model.trainable_variables)
    # The present model with its momentum, the start model, the best and what the method keeps beside; where there is
    # one, the discriminator, its best epoch and B.
    commit = (3 + plan.experiment.method.copies(plan.players.adversarial)) * weights + trained
    settings = plan.experiment.method.discriminator_settings(plan.players.discriminator)
    if settings:
        numbers, others = discriminator_numbers(settings, classes)
        slots = 2 if plan.players.discriminator_training.optimizer == "adam" else 1
        maps = (training + holdout) * settings.input_size**2
        commit += 2 * 4 * ((1 + slots) * numbers + others) + plan.lookahead.max_buffer_sets * maps
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
