"""What a training method is: which discriminator, which objective, which control."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from load_tf.algorithm import alternating
from load_tf.algorithm.lookahead import Game, Lookahead, State
from load_tf.data.dataset import Split
from load_tf.discriminator.build import build
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import Size
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.segmentors.convention import Convention
from load_tf.training.adversarial import AdversarialTrainer
from load_tf.training.discriminator import DiscriminatorTrainer, DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne
from load_tf.training.step_by_step import StepByStepTrainer
from load_tf.training.supervised import SupervisedTrainer


class Trainer(Protocol):
    """What changes the segmentor, an iteration at a time; `SegmentorTrainer` by gradients."""

    train_dataset: Any
    """The images of the updates to come, as `adversarial_batches` makes them."""
    needs_truth: bool
    """Whether the images come with their `truth`."""
    augmentation: StageOne | None
    """Whose flip and shift they are to be given."""
    trains_discriminator: bool
    """Whether an update trains the discriminator, too."""
    beside: Split | None
    """Images of which every batch has as many behind its own: those without labels, or with made-up ones; or None."""

    def train(self, num_steps: tf.Tensor) -> dict[str, float | bool]:
        """Makes an iteration of so many updates; numbers for the journal by name, and whether all were `finite`."""

    @property
    def momentum_variables(self) -> Sequence[keras.Variable]:
        """What a restart needs beside the segmentor's own variables."""

    def reset_momentum(self) -> None:
        """A cycle or a round begins, with the weights as they now are: nothing of the updates before may go on."""


@dataclasses.dataclass(frozen=True)
class Arena:
    """Where a method trains a segmentor.

    Attributes:
      segmentor: its present weights are the start model's.
      settings: of the updates.
      sampling: how its logits become maps.
      crop: the padded height and width.
      num_classes: K.
      strategy: where the variables live.
      convention: the segmentor's.
      training: D_t, those of its images that have labels.
      evaluator: the hold-out's.
      stage_one: how the segmentor was, or would be, trained by cross-entropy.
      updates: of the whole run, which a learning rate may fall over; None where there is no budget.
      discriminator_trainer: what makes the discriminator's steps; None without one.
      unlabelled: images without labels; None: there are none.
    """

    segmentor: keras.Model
    settings: AdversarialTraining
    sampling: Sampling
    crop: Size
    num_classes: int
    strategy: tf.distribute.Strategy
    convention: Convention
    training: Split
    evaluator: Evaluator
    stage_one: StageOne
    updates: int | None
    discriminator_trainer: DiscriminatorTrainer | None = None
    unlabelled: Split | None = None

    def needed_unlabelled(self, method: str) -> Split:
        """The images without labels.

        Args:
          method: what needs them, for the error.

        Raises:
          UserError: if there are none.
        """
        if self.unlabelled is None:
            raise UserError(
                f"{method} needs images without labels, and the data set has none; expected some, such as "
                "folder.unlabelled = 'FOLDER'."
            )
        return self.unlabelled

    def adversary(
        self, make: Callable[..., AdversarialTrainer], discriminator: ConditionalDiscriminator | None
    ) -> AdversarialTrainer:
        """A trainer against the discriminator; `make` is `AdversarialTrainer`, or what takes the same arguments."""
        assert discriminator is not None
        return make(
            self.segmentor,
            discriminator,
            self.settings,
            self.sampling,
            self.crop,
            self.num_classes,
            self.strategy,
            self.convention,
        )

    def step_by_step(
        self, make: Callable[..., StepByStepTrainer], discriminator: ConditionalDiscriminator | None
    ) -> AdversarialTrainer:
        """A trainer of both; `make` is `StepByStepTrainer`, or what takes the same arguments."""
        assert self.discriminator_trainer is not None
        return self.adversary(functools.partial(make, discriminator_trainer=self.discriminator_trainer), discriminator)


class Method:
    """A way to train a segmentor after stage 1; the parts a method has of its own it overrides.

    As it stands: the paper's discriminator and adversarial objective, in plain alternation.
    """

    title = "alternating"
    """For tables and figures."""

    trains_discriminator = True
    """False: one that is there stays as it was initialised."""

    trains_variables = True
    """False: its trainer needs none of the segmentor's variables to be trainable."""

    def adversarial_training(self, settings: AdversarialTraining) -> AdversarialTraining:
        """The settings of the segmentor's updates as the method takes them."""
        return settings

    def discriminator_settings(self, settings: Discriminator) -> Discriminator | None:
        """The discriminator's settings as the method takes them; None for a method without one."""
        return settings

    def discriminator(self, settings: Discriminator, num_classes: int, seed: int) -> ConditionalDiscriminator | None:
        """The discriminator, None for a method without one."""
        own = self.discriminator_settings(settings)
        return build(own, num_classes, seed) if own else None

    def discriminator_optimizer(
        self, settings: DiscriminatorTraining, updates: int | None
    ) -> keras.optimizers.Optimizer:
        """The discriminator's, under the present strategy; `updates` is `Arena.updates`."""
        return settings.make_optimizer()

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        """What updates the segmentor."""
        return arena.adversary(AdversarialTrainer, discriminator)

    def averaging(self, settings: AdversarialTraining) -> Callable[[int], float] | None:
        """The average of the weights that is evaluated in their place, and becomes the result; None: themselves.

        Returns:
          From the number of the run's iterations made so far, at least 1, to the share of its distance to the present
          weights by which the average moves, in (0, 1]. It begins as the start model.
        """
        return (lambda iterations: 1 - settings.average) if settings.average else None

    def copies(self, settings: AdversarialTraining) -> int:
        """Copies of the weights that a commit holds beside the present, the start and the best model's."""
        return int(self.averaging(settings) is not None)

    def play(self, game: Game, settings: Lookahead, state: State | None) -> State:
        """The control: from the start model, or on from `state`, to the best model seen."""
        return alternating.play(game, settings, state)


class Supervised(Method):
    """A method without a discriminator; as it stands: cross-entropy, straight on."""

    title = "supervised"

    def discriminator_settings(self, settings: Discriminator) -> Discriminator | None:
        return None

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        return SupervisedTrainer(
            arena.segmentor, arena.settings, arena.crop, arena.num_classes, arena.strategy, arena.convention
        )

    def play(self, game: Game, settings: Lookahead, state: State | None) -> State:
        return alternating.play(game, settings, state, turns=None)
