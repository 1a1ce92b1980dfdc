"""Self-training: cross-entropy on labelled images and on those without labels, with the labels that the start gives."""

import dataclasses

from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.errors import check, check_number
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.method import Arena, Trainer
from load_tf.training.semi_supervised import BesideTrainer, with_made_up_labels


@dataclasses.dataclass(frozen=True)
class SelfTraining(CrossEntropyOnly):
    """The start model labels the images that have no labels, once; where it is not sure nothing is learned.

    Every update has as many of these images as labelled ones, augmented in the same way where `augment` is set.

    Attributes:
      weight: of their cross-entropy per pixel, beside 1 of the labelled images'.
      confidence: the least probability of a label that counts, in [0, 1).
    """

    weight: float = 1.0
    confidence: float = 0.9
    title = "self-training"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "weight", zero=True)
        check(self, "confidence", allowed=lambda value: 0 <= value < 1, expected="a probability in [0, 1)")

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        evaluator, size = arena.evaluator, arena.settings.batch_size
        labelled = with_made_up_labels(
            arena.needed_unlabelled(self.title), evaluator, arena.crop, self.confidence, size
        )
        return BesideTrainer(*self.training_arguments(arena), beside=labelled, weight=self.weight)
