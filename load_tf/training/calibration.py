"""Class constants: one number for each class, added to the logits, so that classes are predicted as often as they are.

No gradient and no adversary: what is predicted too rarely is raised by the logarithm of how much too rarely, a share of
it at a time, since pixels that change their class change the other proportions, too.
"""

import keras
import numpy as np
import tensorflow as tf

from load_tf.data.dataset import Split, Subset
from load_tf.discriminator.grid import Size
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.randomness import generator
from load_tf.segmentors.folding import last_layer_with_weights

LARGEST_RATIO = 10.0
"""A class that is predicted more than ten times too rarely, or not at all, is raised as if it were ten times."""

GAIN = 0.5
"""The share of the logarithm that a step takes, if nobody says otherwise."""

ENOUGH_IMAGES = 100
"""Images of D_t, or up to twice as many, whose class proportions a model is held to on the way."""


def enough(training: Split) -> Subset:
    """Evenly chosen images of D_t, `ENOUGH_IMAGES` or up to twice as many: a look at all would cost like an epoch."""
    return Subset(training, tuple(range(0, len(training), max(1, len(training) // ENOUGH_IMAGES))))


def constants_step(confusion: np.ndarray, gain: float) -> np.ndarray:
    """How one step of the fit changes the constants.

    `gain * log(true / predicted)`, the ratio kept within 1 / LARGEST_RATIO and LARGEST_RATIO, so that a class that is
    never predicted is raised by a bounded step. A class that is never there keeps its constant: nothing says how rare
    it is.

    Args:
      confusion: int64 [K, K], over all pixels that are not void; rows are the truth, columns the prediction.
      gain: share of the logarithm that is taken at once.

    Returns:
      float64 [K].
    """
    true, predicted = confusion.sum(1).astype(np.float64), confusion.sum(0).astype(np.float64)
    ratio = np.divide(true, predicted, out=np.full(len(true), LARGEST_RATIO), where=predicted > 0)
    ratio = np.where(true > 0, np.clip(ratio, 1 / LARGEST_RATIO, LARGEST_RATIO), 1.0)
    return gain * np.log(ratio)


def class_gap(confusion: np.ndarray) -> float:
    """The share of the pixels by which predicted and true class proportions differ: half the sum of the differences."""
    return float(np.abs(confusion.sum(1) - confusion.sum(0)).sum() / 2 / max(confusion.sum(), 1))


def logits_bias(model: keras.Model, size: Size) -> keras.Variable:
    """The bias of the layer that makes a segmentor's logits; a constant added to it is added to the logits.

    Args:
      model: functional; behind the layer there may be others without weights, such as an up-sampling.
      size: height and width of an image to try it on.

    Returns:
      The variable, [K].

    Raises:
      UserError: if there is none, or what is behind it is not just a resizing.
    """
    layer = last_layer_with_weights(model)
    bias = getattr(layer, "bias", None)
    if layer is None or bias is None or tuple(bias.shape) != (model.output_shape[-1],):
        name = "no layer with weights" if layer is None else f"{layer.name!r} without such a bias"
        raise UserError(
            f"the segmentor {model.name!r} ends with {name}; class constants need a last layer with a bias for each of "
            f"the {model.output_shape[-1]} classes."
        )
    if not _adds_to_logits(model, bias, size):
        raise UserError(
            f"the segmentor {model.name!r} changes what {layer.name!r} adds for a class; class constants need logits, "
            "without an activation, behind its last layer with weights."
        )
    return bias


def _adds_to_logits(model: keras.Model, bias: keras.Variable, size: Size) -> bool:
    """Whether the logits of an image of noise rise by what is added to the bias."""
    noise = tf.constant(generator(0, "class constants").uniform(0, 255, (1, *size, 3)), tf.float32)
    before, held = model(noise, training=False), tf.identity(bias.value)
    added = np.linspace(-1, 1, bias.shape[0])
    bias.assign_add(added)
    after = model(noise, training=False)
    bias.assign(held)
    return bool(np.allclose(np.asarray(after - before, np.float64), added, atol=1e-2))


class Calibrator:
    """Fits class constants to the class proportions of some images, a step at a time."""

    def __init__(self, model: keras.Model, evaluator: Evaluator, gain: float, size: Size) -> None:
        """Finds where the constants live.

        Args:
          model: the segmentor.
          evaluator: the model's, on the images.
          gain: share of the log ratio that a step takes.
          size: height and width of images that the model takes.

        Raises:
          UserError: as `logits_bias`.
        """
        self.bias = logits_bias(model, size)
        self._evaluator, self._gain = evaluator, gain

    def step(self) -> dict[str, float]:
        """Looks at all the images once and changes the constants.

        Returns:
          `class_gap`, before the step, and `path_length`, the norm of the step.
        """
        confusion = self._evaluator.evaluate("class proportions").sum(0)
        step = constants_step(confusion, self._gain)
        self.bias.assign_add(step.astype(np.float32))
        return {"class_gap": class_gap(confusion), "path_length": float(np.linalg.norm(step))}
