"""Luc et al. 2016, "Semantic Segmentation using Adversarial Networks": the hybrid loss, both networks alternating."""

import dataclasses
import functools

import keras

from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import Sampling
from load_tf.errors import check_number
from load_tf.methods.method import Arena, Trainer
from load_tf.methods.step_by_step import StepByStep
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.step_by_step import StepByStepHybridTrainer

SOFT_MAX = Sampling(temperature=1.0, straight_through=False, gumbel_noise=False)
"""Maps are the segmentor's probabilities; ground truth is one-hot."""


@dataclasses.dataclass(frozen=True)
class LucEtAl(StepByStep):
    """Cross-entropy plus `weight` times `-log D` of the soft-max map, by SGD without a bound on the gradient.

    Every update is a step of the discriminator, then one of the segmentor: their fast scheme. Their slow one, 500 steps
    of each in turn, which they found more stable, is longer than a study. `Discriminator.sees` is "split" for their
    product encoding and "masks" for their basic one.

    Not theirs: both networks, which are the experiment's (and so the rate and the momentum of the segmentor's SGD are
    `AdversarialTraining`'s), and cross-entropy as the mean over the pixels.

    Attributes:
      weight: `lambda`; 0 trains by cross-entropy only, whatever the discriminator says.
      discriminator_learning_rate: of the discriminator's SGD, whose loss is the sum of its two terms. This and the
        weight are what a public reimplementation has for VOC and the discriminator with the large field of view.
    """

    weight: float = 1.0
    discriminator_learning_rate: float = 0.1
    title = "Luc et al."

    def __post_init__(self) -> None:
        check_number(self, "weight", zero=True)
        check_number(self, "discriminator_learning_rate")

    def adversarial_training(self, settings: AdversarialTraining) -> AdversarialTraining:
        return dataclasses.replace(settings, saturating=False, clip_norm=None)

    def discriminator_optimizer(
        self, settings: DiscriminatorTraining, updates: int | None
    ) -> keras.optimizers.Optimizer:
        # Here the loss is the mean of the two terms, half their sum.
        return keras.optimizers.SGD(2 * self.discriminator_learning_rate, name="discriminator")

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        make = functools.partial(StepByStepHybridTrainer, weight=self.weight)
        return dataclasses.replace(arena, sampling=SOFT_MAX).step_by_step(make, discriminator)
