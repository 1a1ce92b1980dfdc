"""Updates with a pixel-wise loss in stage 2: what LoAd is compared with.

The segmentor's part of equation (2), `cross-entropy + lambda * adversarial` (Luc et al. 2016), and its first term
alone.
"""

import keras
import tensorflow as tf

from load_tf.devices.replicas import Batch
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import Size
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.training.adversarial import AdversarialTrainer
from load_tf.training.segmentor import AdversarialTraining, SegmentorTrainer
from load_tf.training.stage_one import StageOne, cross_entropy


def mean_cross_entropy(logits: tf.Tensor, batch: Batch, convention: Convention) -> tf.Tensor:
    """This part's share of the cross-entropy per pixel of the global batch that is not void."""
    total = cross_entropy(logits, batch["truth"], convention)
    return tf.math.divide_no_nan(total, batch["pixels"])


class SupervisedTrainer(SegmentorTrainer):
    """Cross-entropy only, on the same images in the same order as the adversary's updates."""

    needs_truth = True

    def __init__(
        self,
        segmentor: keras.Model,
        settings: AdversarialTraining,
        crop: Size,
        num_classes: int,
        strategy: tf.distribute.Strategy,
        convention: Convention = OFFICIAL,
        decay_over: int | None = None,
        augmentation: StageOne | None = None,
    ) -> None:
        """As every `SegmentorTrainer`; with an augmentation the images are flipped and moved as in that stage 1."""
        self.augmentation = augmentation
        super().__init__(segmentor, settings, crop, num_classes, strategy, convention, decay_over)

    def objective(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return mean_cross_entropy(logits, batch, self.convention), {}


class HybridTrainer(AdversarialTrainer):
    """Cross-entropy plus `weight` times the adversarial loss; `cross_entropy` is measured beside their sum."""

    measures: tuple[str, ...] = (*AdversarialTrainer.measures, "cross_entropy")
    needs_truth = True

    def __init__(
        self,
        segmentor: keras.Model,
        discriminator: ConditionalDiscriminator,
        settings: AdversarialTraining,
        sampling: Sampling,
        crop: Size,
        num_classes: int,
        strategy: tf.distribute.Strategy,
        convention: Convention = OFFICIAL,
        *,
        weight: float,
    ) -> None:
        self.weight = weight
        super().__init__(segmentor, discriminator, settings, sampling, crop, num_classes, strategy, convention)

    def objective(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        adversarial, measures = super().objective(logits, batch)
        pixelwise = mean_cross_entropy(logits, batch, self.convention)
        measures["cross_entropy"] = pixelwise
        return pixelwise + self.weight * adversarial, measures
