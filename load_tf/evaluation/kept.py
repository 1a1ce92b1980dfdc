"""What a network says of images, kept for a fit of class constants, which change logits by addition alone.

A fit of class constants looks at D_t once a step. The network is the same each time, so its logits, which are coarser
than the image, are made once; a step is then the constants, up-sampling and arg-max.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from load_tf.evaluation.evaluator import Evaluator, confusion_matrices
from load_tf.segmentors.convention import Convention
from load_tf.segmentors.labelling import label_maps

KEPT_BYTES = 2**30
"""Logits and label maps beyond this are not kept: for those images the network is asked every time."""


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Images of one padded size: which of the split they are, -1 for none, their logits and label maps."""

    index: np.ndarray
    logits: tf.Tensor
    labels: tf.Tensor


class _FullError(Exception):
    """No room for the logits of more images."""


class KeptLogits:
    """The logits of a split's images, to be counted under one bias after another; nothing else may change meanwhile.

    They are made with a bias of 0, so what is counted depends on the bias as it is, not on what it was before: a fit
    that is resumed halfway goes on to the last bit.
    """

    def __init__(self, evaluator: Evaluator, bias: keras.Variable, most_bytes: int = KEPT_BYTES) -> None:
        """Asks the network about every image.

        Args:
          evaluator: of the segmentor, on the images.
          bias: [K], that of the layer which makes the segmentor's logits (`training.calibration.logits_bias`).
          most_bytes: what may be kept.

        Raises:
          UserError: as `Evaluator.evaluate`.
        """
        self._evaluator, self._bias, self._room = evaluator, bias, most_bytes
        self._batches: list[_Batch] = []
        held = bias.numpy()
        bias.assign(np.zeros_like(held))
        try:
            evaluator.make_logits(self._keep, "class proportions")
        except _FullError:
            pass
        finally:
            bias.assign(held)
        kept = np.zeros(evaluator.images, np.int64)
        for batch in self._batches:
            kept[batch.index[batch.index >= 0]] = 1
        self.others: list[int] = np.flatnonzero(evaluator.union(kept) == 0).tolist()
        """The images for which there was no room."""

    def _keep(self, index: np.ndarray, logits: tf.Tensor, labels: tf.Tensor) -> None:
        self._room -= logits.dtype.size * int(tf.size(logits)) + int(tf.size(labels))
        if self._room < 0:
            raise _FullError
        self._batches.append(_Batch(index, logits, labels))

    def count(self) -> np.ndarray:
        """The confusion matrix of all images with the bias as it is now: int64 [K, K]."""
        constants = self._bias.numpy()
        found = np.zeros((constants.size, constants.size), np.int64)
        for batch in self._batches:
            found += _count(batch.logits, tf.constant(constants), batch.labels, self._evaluator.convention).numpy()
        found = self._evaluator.union(found)
        if self.others:
            found = found + self._evaluator.evaluate_some(self.others, "class proportions").sum(0)
        return found


@tf.function(reduce_retracing=True)
@tf.autograph.experimental.do_not_convert
def _count(logits: tf.Tensor, constants: tf.Tensor, labels: tf.Tensor, convention: Convention) -> tf.Tensor:
    """One matrix of a batch; images that fill it up are void and count nothing."""
    maps = label_maps(logits + constants, tf.shape(labels)[1:3], convention)
    return tf.reduce_sum(confusion_matrices(labels, maps, constants.shape[0]), axis=0)
