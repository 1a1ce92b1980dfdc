"""What a training method is: which discriminator, which objective, which control."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from load_tf import alternating
from load_tf.conditioning import Sampling
from load_tf.data.grid import Size
from load_tf.discriminator import ConditionalDiscriminator, Discriminator
from load_tf.lookahead import Game, Lookahead, State
from load_tf.segmentors.convention import Convention
from load_tf.training.adversarial import AdversarialTrainer
from load_tf.training.segmentor import AdversarialTraining, SegmentorTrainer


@dataclasses.dataclass(frozen=True)
class Arena:
    """Where a method trains a segmentor."""

    segmentor: keras.Model
    settings: AdversarialTraining
    sampling: Sampling
    crop: Size
    num_classes: int
    strategy: tf.distribute.Strategy
    convention: Convention

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


class Method:
    """A way to train a segmentor after stage 1; the parts a method has of its own it overrides.

    As it stands: the paper's discriminator and adversarial objective, in plain alternation.
    """

    title = "alternating"
    """For tables and figures."""

    def discriminator_settings(self, settings: Discriminator) -> Discriminator | None:
        """The discriminator's settings as the method takes them; None for a method without one."""
        return settings

    def discriminator(self, settings: Discriminator, num_classes: int, seed: int) -> ConditionalDiscriminator | None:
        """The discriminator, None for a method without one."""
        own = self.discriminator_settings(settings)
        return own.build(num_classes, seed) if own else None

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> SegmentorTrainer:
        """What updates the segmentor."""
        return arena.adversary(AdversarialTrainer, discriminator)

    def play(self, game: Game, settings: Lookahead, state: State | None) -> State:
        """The control: from the start model, or on from `state`, to the best model seen."""
        return alternating.play(game, settings, state)
