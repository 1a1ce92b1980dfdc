"""Hung et al. 2018, "Adversarial Learning for Semi-Supervised Semantic Segmentation": its supervised part."""

import dataclasses
import functools
from typing import Any

import keras

from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import check, check_number
from load_tf.methods.luc import SOFT_MAX
from load_tf.methods.method import Arena, Trainer
from load_tf.methods.step_by_step import StepByStep
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.optimizers import NesterovL2, polynomial_decay
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.step_by_step import StepByStepHybridTrainer


class _Trainer(StepByStepHybridTrainer):
    def __init__(self, *arguments: Any, weight_decay: float, updates: int | None, **named: Any) -> None:
        self.weight_decay, self.updates = weight_decay, updates
        super().__init__(*arguments, **named)

    def make_optimizer(self) -> keras.optimizers.SGD:
        rate = polynomial_decay(self.settings.learning_rate, self.updates)
        return NesterovL2(rate, self.settings.momentum, self.weight_decay, name="adversarial")


@dataclasses.dataclass(frozen=True)
class HungEtAl(StepByStep):
    """Cross-entropy plus `weight` times `-log D` of the soft-max map, the mean over the discriminator's places.

    The segmentor learns by SGD with Nesterov's momentum and weight decay, the discriminator, fully convolutional on
    label maps alone, by Adam (0.9, 0.99); both rates fall to zero over the run's budget as `(1 - t / T) ** 0.9`. Every
    update is a step of the discriminator, then one of the segmentor; the authors' program takes both gradients first.

    Not theirs: the segmentor, and that void is masked in the maps, not in the discriminator's verdicts. The
    semi-supervised part needs images without labels. `Discriminator.alpha` and `input_size` are the experiment's.

    Attributes:
      weight: of the adversarial term.
      learning_rate: of the segmentor at the start, in place of `AdversarialTraining.learning_rate`.
      momentum: of the segmentor, in place of `AdversarialTraining.momentum`.
      weight_decay: `w` of the gradient's term `w * weights`.
      discriminator_learning_rate: at the start.
    """

    weight: float = 0.01
    learning_rate: float = 2.5e-4
    momentum: float = 0.9
    weight_decay: float = 1e-4
    discriminator_learning_rate: float = 1e-4
    title = "Hung et al."

    def __post_init__(self) -> None:
        check_number(self, "weight", "weight_decay", zero=True)
        check_number(self, "learning_rate", "discriminator_learning_rate")
        check(self, "momentum", allowed=lambda value: 0 <= value < 1, expected="a number in [0, 1)")

    def adversarial_training(self, settings: AdversarialTraining) -> AdversarialTraining:
        return dataclasses.replace(
            settings, saturating=False, clip_norm=None, learning_rate=self.learning_rate, momentum=self.momentum
        )

    def discriminator_settings(self, settings: Discriminator) -> Discriminator | None:
        return dataclasses.replace(settings, architecture="convolutional", sees="masks", weights=None, asks="real")

    def discriminator_optimizer(
        self, settings: DiscriminatorTraining, updates: int | None
    ) -> keras.optimizers.Optimizer:
        rate = polynomial_decay(self.discriminator_learning_rate, updates)
        return keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.99, epsilon=1e-8, name="discriminator")

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        make = functools.partial(_Trainer, weight=self.weight, weight_decay=self.weight_decay, updates=arena.updates)
        return dataclasses.replace(arena, sampling=SOFT_MAX).step_by_step(make, discriminator)
