"""Cross-entropy only: what anyone would try first."""

import dataclasses

import gin

from load_tf import alternating
from load_tf.discriminator import ConditionalDiscriminator, Discriminator
from load_tf.lookahead import Game, Lookahead, State
from load_tf.methods.method import Arena, Method
from load_tf.training.segmentor import SegmentorTrainer
from load_tf.training.supervised import SupervisedTrainer


@gin.configurable
@dataclasses.dataclass(frozen=True)
class CrossEntropyOnly(Method):
    """As many updates by the pixel-wise loss, on the same images, with the same optimizer and selection."""

    title = "cross-entropy only"

    def discriminator_settings(self, settings: Discriminator) -> Discriminator | None:
        return None

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> SegmentorTrainer:
        return SupervisedTrainer(
            arena.segmentor, arena.settings, arena.crop, arena.num_classes, arena.strategy, arena.convention
        )

    def play(self, game: Game, settings: Lookahead, state: State | None) -> State:
        return alternating.play(game, settings, state, adversary=False)
