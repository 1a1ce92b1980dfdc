"""Hung et al. 2018, "Adversarial Learning for Semi-Supervised Semantic Segmentation": both parts."""

import dataclasses
import functools
from collections.abc import Callable
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
from load_tf.training.semi_supervised import SemiAdversarialTrainer
from load_tf.training.step_by_step import StepByStepHybridTrainer


class _Trainer(StepByStepHybridTrainer):
    """With their optimizer."""

    def __init__(self, *arguments: Any, weight_decay: float, updates: int | None, **named: Any) -> None:
        self.weight_decay, self.updates = weight_decay, updates
        super().__init__(*arguments, **named)

    def make_optimizer(self) -> keras.optimizers.SGD:
        rate = polynomial_decay(self.settings.learning_rate, self.updates)
        return NesterovL2(rate, self.settings.momentum, self.weight_decay, name="adversarial")


class _SemiTrainer(_Trainer, SemiAdversarialTrainer):
    pass


@dataclasses.dataclass(frozen=True)
class HungEtAl(StepByStep):
    """Cross-entropy plus `weight` times `-log D` of the soft-max map, the mean over the discriminator's places.

    The segmentor learns by SGD with Nesterov's momentum and weight decay, the discriminator, fully convolutional on
    label maps alone, by Adam (0.9, 0.99); both rates fall to zero over the run's budget as `(1 - t / T) ** 0.9`. Every
    update is a step of the discriminator, then one of the segmentor; the authors' program takes both gradients first.

    Not theirs: the segmentor, and that void is masked in the maps, not in the discriminator's verdicts. The
    semi-supervised part is `HungSemiSupervised`. `Discriminator.alpha` and `input_size` are the experiment's.

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
        return self._trainer(_Trainer, arena, discriminator)

    def _trainer(
        self, kind: Callable[..., _Trainer], arena: Arena, discriminator: ConditionalDiscriminator | None, **more: Any
    ) -> Trainer:
        """Of a kind that takes `_Trainer`'s arguments, and `more`."""
        own = {"weight": self.weight, "weight_decay": self.weight_decay, "updates": arena.updates}
        make = functools.partial(kind, **own, **more)
        return dataclasses.replace(arena, sampling=SOFT_MAX).step_by_step(make, discriminator)


@dataclasses.dataclass(frozen=True)
class HungSemiSupervised(HungEtAl):
    """The whole of their loss, on labelled images and as many without labels in every update.

    Of the latter the adversarial term has another weight, and where the discriminator takes their map for ground truth
    it is believed: cross-entropy with its own labels.

    Not theirs: that cross-entropy is at the points of the discriminator's grid and per visible point, not per believed
    one; the images of both kinds come in two orders of their own. That the discriminator is shown maps of both kinds is
    as in the authors' program.

    Attributes:
      weight_beside: of the adversarial term of images without labels.
      weight_believed: of the cross-entropy with believed labels.
      threshold: the least probability of ground truth that a believed place has.
      begins: share of the run's updates before which nothing is believed; theirs are 5,000 of 20,000.
    """

    weight_beside: float = 0.001
    weight_believed: float = 0.1
    threshold: float = 0.2
    begins: float = 0.25
    title = "Hung et al., semi-supervised"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "weight_beside", "weight_believed", zero=True)
        check(self, "threshold", "begins", allowed=lambda value: 0 <= value <= 1, expected="a number from 0 to 1")

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        return self._trainer(
            *(_SemiTrainer, arena, discriminator),
            beside=arena.needed_unlabelled(self.title),
            weight_beside=self.weight_beside,
            weight_believed=self.weight_believed,
            threshold=self.threshold,
            begins=round(self.begins * (arena.updates or 0)),
        )
