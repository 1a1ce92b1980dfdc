"""Class constants: one number for each class, added to the logits, so that classes are predicted as often as they are.

No gradient and no adversary: what is predicted too rarely is raised by the logarithm of how much too rarely, a share of
it at a time, since pixels that change their class change the other proportions, too.
"""

import keras
import numpy as np
import tensorflow as tf

from load_tf.data.dataset import Split, Subset
from load_tf.data.unlabelled import OfOneClass
from load_tf.discriminator.grid import Size
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.kept import KeptLogits
from load_tf.randomness import generator
from load_tf.segmentors.folding import last_layer_with_weights

LARGEST_RATIO = 10.0
"""A class that is predicted more than ten times too rarely, or not at all, is raised as if it were ten times."""

GAIN = 0.5
"""The share of the logarithm that a step takes, if nobody says otherwise."""

ENOUGH_IMAGES = 100
"""Images at the most whose class proportions a model is held to on the way: a look at all would cost like an epoch."""


def constants_step(true: np.ndarray, predicted: np.ndarray, gain: float) -> np.ndarray:
    """How one step of the fit changes the constants.

    `gain * log(true / predicted)`, the ratio of the shares kept within 1 / LARGEST_RATIO and LARGEST_RATIO, so that a
    class that is never predicted is raised by a bounded step. A class that is never there keeps its constant: nothing
    says how rare it is.

    Args:
      true: [K], how many pixels of some images are of every class.
      predicted: [K], how many pixels of the same or of other images are predicted as every class.
      gain: share of the logarithm that is taken at once.

    Returns:
      float64 [K].
    """
    true, predicted = _of_one_sum(true, predicted)
    ratio = np.divide(true, predicted, out=np.full(len(true), LARGEST_RATIO), where=predicted > 0)
    ratio = np.where(true > 0, np.clip(ratio, 1 / LARGEST_RATIO, LARGEST_RATIO), 1.0)
    return gain * np.log(ratio)


def class_gap(true: np.ndarray, predicted: np.ndarray) -> float:
    """The share of the pixels by which class proportions differ, half the sum of the differences; of [K] each."""
    true, predicted = _of_one_sum(true, predicted)
    return float(np.abs(true - predicted).sum() / 2 / max(predicted.sum(), 1))


def _of_one_sum(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64; where they are of unequally many pixels, as many as were predicted."""
    true, predicted = true.astype(np.float64), predicted.astype(np.float64)
    if true.sum() not in (0, predicted.sum()):
        true *= predicted.sum() / true.sum()
    return true, predicted


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
    """Fits class constants to D_t's class proportions, a step at a time.

    Predictions are those of D_t's labelled images, the truth is theirs, too. **Where D_t has as many images without
    labels, or more, predictions are those of these**: a few labelled images are known by heart, and their proportions
    come out right whatever the network does elsewhere. That takes both kinds for images of the same world. What is
    void in the labelled images is hidden nowhere else.
    """

    def __init__(
        self,
        model: keras.Model,
        evaluator: Evaluator,
        gain: float,
        size: Size,
        training: Split,
        unlabelled: Split | None = None,
        most: int | None = None,
        hold: bool = False,
        alone: bool = False,
    ) -> None:
        """Finds where the constants live, and what is aimed at where that is not the truth of a step's own images.

        Args:
          model: the segmentor.
          evaluator: one of the model's.
          gain: share of the log ratio that a step takes.
          size: height and width of images that the model takes.
          training: D_t, those of its images that have labels.
          unlabelled: those without; None: there are none.
          most: images, evenly chosen, that a step looks at; None: all.
          hold: aim at what the model predicts now, in place of the truth: it is held there, and not fitted further.
          alone: nothing but the constants will change from the first step on, so the network is asked once.

        Raises:
          UserError: as `logits_bias`.
        """
        self.bias = logits_bias(model, size)
        self._gain = gain
        self._true: np.ndarray | None = None  # that of the images which a step looks at
        seen = training
        if unlabelled is not None and len(unlabelled) >= len(training):
            seen = OfOneClass(unlabelled)
        every = 1 if most is None else -(-len(seen) // most)
        self.images = len(range(0, len(seen), every))
        """How many a step looks at."""
        self._evaluator = evaluator.on(Subset(seen, tuple(range(0, len(seen), every))))
        self._alone = alone
        self._kept: KeptLogits | None = None
        if hold:
            self._true = self._evaluator.evaluate("class proportions").sum((0, 1))
        elif seen is not training:
            self._true = _pixels_of_classes(training, int(self.bias.shape[0]))

    def step(self) -> dict[str, float]:
        """Looks at the images once and changes the constants.

        Returns:
          `class_gap`, before the step, and `path_length`, the norm of the step.
        """
        confusion = self._count()
        true, predicted = confusion.sum(1) if self._true is None else self._true, confusion.sum(0)
        step = constants_step(true, predicted, self._gain)
        self.bias.assign_add(step.astype(np.float32))
        return {"class_gap": class_gap(true, predicted), "path_length": float(np.linalg.norm(step))}

    def _count(self) -> np.ndarray:
        """The confusion matrix of the images, int64 [K, K], with the constants as they are."""
        if not self._alone:
            return self._evaluator.evaluate("class proportions").sum(0)
        if self._kept is None:
            self._kept = KeptLogits(self._evaluator, self.bias)
        return self._kept.count()


def _pixels_of_classes(split: Split, num_classes: int) -> np.ndarray:
    """How many pixels of the truth are of every class: int64 [K]."""
    labels = (split[index].label for index in range(len(split)))
    return np.sum([np.bincount(label.ravel(), minlength=256)[:num_classes] for label in labels], axis=0)
