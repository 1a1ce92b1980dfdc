"""Updates with a pixel-wise loss in stage 2: what LoAd is compared with.

The segmentor's part of equation (2), `cross-entropy + lambda * adversarial` (Luc et al. 2016), and its first term
alone.
"""

from typing import Any

import tensorflow as tf

from load_tf.devices.replicas import Batch
from load_tf.segmentors.convention import Convention
from load_tf.training.adversarial import AdversarialTrainer
from load_tf.training.segmentor import SegmentorTrainer
from load_tf.training.stage_one import cross_entropy


def mean_cross_entropy(logits: tf.Tensor, batch: Batch, convention: Convention) -> tf.Tensor:
    """This part's share of the cross-entropy per pixel of the global batch that is not void."""
    total = cross_entropy(logits, batch["truth"], convention)
    return tf.math.divide_no_nan(total, batch["pixels"])


class SupervisedTrainer(SegmentorTrainer):
    """Cross-entropy only, on the same images in the same order as the adversary's updates."""

    needs_truth = True

    def objective(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return mean_cross_entropy(logits, batch, self.convention), {}


class HybridTrainer(AdversarialTrainer):
    """Cross-entropy plus `weight` times the adversarial loss; `cross_entropy` is measured beside their sum."""

    measures: tuple[str, ...] = (*AdversarialTrainer.measures, "cross_entropy")
    needs_truth = True

    def __init__(self, *arguments: Any, weight: float, **named: Any) -> None:
        """Takes the base class's arguments, and the weight of the adversarial loss, at least 0."""
        self.weight = weight
        super().__init__(*arguments, **named)

    def objective(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        adversarial, measures = super().objective(logits, batch)
        pixelwise = mean_cross_entropy(logits, batch, self.convention)
        measures["cross_entropy"] = pixelwise
        return pixelwise + self.weight * adversarial, measures
