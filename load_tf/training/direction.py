"""Whether the discriminator's gradient leads somewhere: it may rank every pair right, and still be noise to follow.

Neither measure changes anything. *Agreement* needs no ground truth: do batches of images agree on where the segmentor
should go? *Localisation* asks at the points where a label map is wrong whether the gradient prefers what is right.
"""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL
from load_tf.devices.replicas import Batch
from load_tf.discriminator.buffer import mask_void
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import one_hot
from load_tf.discriminator.grid import GridExamples
from load_tf.training.adversarial import adversarial_loss
from load_tf.training.segmentor import SegmentorTrainer


def agreement(trainer: SegmentorTrainer, batches: Iterable[Batch]) -> float | None:
    """Mean cosine between the segmentor's gradients of any two batches.

    Only one gradient and a sum are in memory: of n unit vectors the squared norm of the sum is n and all cosines twice.

    Args:
      trainer: whose gradients; nothing is updated.
      batches: two or more, as `adversarial_batches` makes them.

    Returns:
      In [-1, 1]; 0 where directions are drawn at random; None if a gradient is zero or not finite.
    """
    total: list[tf.Tensor] | None = None
    count = 0
    for batch in batches:
        gradients, norm = trainer.gradients(batch)
        if not np.isfinite(norm) or norm == 0:
            return None
        unit = [gradient / norm for gradient in gradients]
        total = unit if total is None else [a + b for a, b in zip(total, unit, strict=True)]
        count += 1
    if total is None or count < 2:
        raise ValueError(f"{count} batches; an agreement is between two or more.")
    squared = float(tf.linalg.global_norm(total)) ** 2
    return (squared - count) / (count * (count - 1))


def localisation(
    discriminator: ConditionalDiscriminator,
    examples: GridExamples,
    maps: np.ndarray,
    num_classes: int,
    *,
    saturating: bool,
    batch_size: int,
) -> float | None:
    """At how many of the points where a map is wrong the segmentor is pushed to the truth rather than to what it says.

    The gradient of the adversarial loss by the map at that point; the truth is preferred where raising its channel
    lowers the loss by more than raising that of the class that stands there. Half of the ties count.

    Args:
      discriminator: as it stands, in inference mode.
      examples: ground truth and images on the grid, M of them.
      maps: uint8 [M, G, G], generated maps of these.
      num_classes: K.
      saturating: as in `adversarial_loss`.
      batch_size: maps at a time.

    Returns:
      In [0, 1], chance is 0.5; None if no visible point is wrong.
    """
    right, wrong = 0.0, 0.0
    shown = mask_void(maps, examples.labels)
    for start in range(0, len(examples), batch_size):
        part = slice(start, start + batch_size)
        tensors = map(tf.constant, (examples.images[part], shown[part], examples.labels[part]))
        one, other = _preferring_the_truth(discriminator, num_classes, saturating, *tensors)
        right, wrong = right + float(one), wrong + float(other)
    return right / wrong if wrong else None


# Not inside `localisation`: it would be traced again before every cycle.
@tf.function(reduce_retracing=True, autograph=False)
def _preferring_the_truth(
    discriminator: ConditionalDiscriminator,
    num_classes: int,
    saturating: bool,
    images: tf.Tensor,
    shown: tf.Tensor,
    truth: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Of some maps float32 scalars: wrong points at which the truth is preferred, and wrong points."""
    one = one_hot(shown, num_classes)
    with tf.GradientTape() as tape:
        tape.watch(one)
        logits = discriminator(discriminator.inputs(images, one), training=False)
        loss = tf.reduce_sum(adversarial_loss(tf.cast(logits, tf.float32), saturating))
    push = -tape.gradient(loss, one)
    towards_truth = tf.reduce_sum(push * one_hot(truth, num_classes), -1)
    towards_shown = tf.reduce_sum(push * one, -1)
    wrong = tf.cast((shown != truth) & (truth != IGNORE_LABEL), tf.float32)
    better = tf.cast(towards_truth > towards_shown, tf.float32) + 0.5 * tf.cast(
        towards_truth == towards_shown, tf.float32
    )
    return tf.reduce_sum(better * wrong), tf.reduce_sum(wrong)
