"""Numbers that are no longer numbers, and a discriminator that no longer discriminates: found, and said."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from load_tf.errors import UserError

COLLAPSED_PAIR_ACCURACY = 0.55
"""At or below, on the hold-out, the discriminator ranks the two maps of an image hardly better than a coin."""


def all_finite(variables: Sequence[keras.Variable]) -> bool:
    """Whether no variable holds a NaN or an infinity; integers are always finite."""
    floats = [v.value for v in variables if v.value.dtype.is_floating]
    return bool(tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(v)) for v in floats]))) if floats else True


def refuse_non_finite(what: str, where: str, setting: str, **values: float) -> None:
    """Stops a training that has nothing to fall back on.

    Args:
      what: is trained, e.g. "stage 1".
      where: e.g. "in epoch 3".
      setting: the parameter to lower.
      values: numbers by name.

    Raises:
      UserError: naming the first value that is not finite.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise UserError(
                f"{what}: the {name.replace('_', ' ')} is {value} {where}; lower {setting} and start a new run "
                "directory, or look at the data with load_tf.check_dataset."
            )


def epoch_in(journal: Sequence[Mapping[str, Any]], cycle: int, epoch: int) -> dict[str, Any]:
    """The last line of a journal about an epoch of the discriminator's training."""
    return dict(
        next(
            e for e in reversed(journal) if e["event"] == "discriminator" and (e["cycle"], e["epoch"]) == (cycle, epoch)
        )
    )


def collapse(measured: Mapping[str, float]) -> str | None:
    """Why a trained discriminator gives the segmentor nothing to learn from, or None.

    Args:
      measured: of the epoch that was kept, on the hold-out: `pair_accuracy`, `real_accuracy`, `fake_accuracy`.
    """
    if measured["pair_accuracy"] > COLLAPSED_PAIR_ACCURACY:
        return None
    for name, other in (("real", "fake"), ("fake", "real")):
        if measured[f"{name}_accuracy"] >= 0.99 and measured[f"{other}_accuracy"] <= 0.01:
            return f"it takes every map for {name}"
    return "it ranks a real and a generated map hardly better than a coin"
