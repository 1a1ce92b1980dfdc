"""Generated maps with the truth's class proportions: who tells them from the truth sees more than proportions."""

import numpy as np
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL, Split
from load_tf.discriminator.conditioning import logits_on_grid
from load_tf.discriminator.grid import GridExamples
from load_tf.evaluation.evaluator import Evaluator
from load_tf.training.augmentation import padded_batch
from load_tf.training.calibration import constants_step

STEPS, GAIN = 12, 0.5


def matched(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The arg-max of an image's logits plus a constant for each class, by which its proportions are the truth's.

    Args:
      logits: float32 [G, G, K].
      truth: uint8 [G, G]; void counts for neither. Classes that it lacks are not predicted.

    Returns:
      uint8 [G, G].
    """
    classes = logits.shape[-1]
    visible = truth != IGNORE_LABEL
    there = np.isin(np.arange(classes), truth[visible])
    constants = np.where(there, 0.0, -np.inf)
    best, least = logits.argmax(-1), np.inf
    for _ in range(STEPS):
        labels = (logits + constants).argmax(-1)
        pairs = truth[visible].astype(np.int64) * classes + labels[visible]
        confusion = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        gap = np.abs(confusion.sum(0) - confusion.sum(1)).sum()
        if gap < least:
            best, least = labels, gap
        constants = np.where(there, constants + constants_step(confusion.sum(1), confusion.sum(0), GAIN), -np.inf)
    return best.astype(np.uint8)


def plain_and_matched_maps(
    evaluator: Evaluator, split: Split, examples: GridExamples, crop: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Maps of a split by the evaluator's segmentor, on the grid of its examples: uint8 [N, G, G] each.

    Returns:
      As they are, and by `matched`.
    """
    grid = examples.images.shape[1]

    @tf.function(reduce_retracing=True)
    def on_grid(images: tf.Tensor) -> tf.Tensor:
        return logits_on_grid(evaluator.forward(images, training=False), crop, grid, evaluator.convention)

    plain, equal = np.zeros_like(examples.labels), np.zeros_like(examples.labels)
    for index in range(len(split)):
        images, _ = padded_batch(split, [index], crop)
        logits = on_grid(tf.constant(images))[0].numpy()
        plain[index], equal[index] = logits.argmax(-1), matched(logits, examples.labels[index])
    return plain, equal
