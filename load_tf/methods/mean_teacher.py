"""The mean teacher (Tarvainen, Valpola 2017) on images with and without labels."""

import dataclasses

from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.errors import check, check_number
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.method import Arena, Trainer
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.semi_supervised import MeanTeacherTrainer


@dataclasses.dataclass(frozen=True)
class MeanTeacher(CrossEntropyOnly):
    """Cross-entropy, and agreement of a disturbed student with the moving average of its weights, which is the result.

    Not theirs: the segmentor, and that its batch norm stands still; what disturbs the student is brightness, contrast
    and noise, since a network that is finished has no dropout; there is no ramp, since it does not start from nothing.

    Attributes:
      weight: of the agreement.
      decay: of the teacher, in an update.
      jitter: how much contrast and brightness vary, in [0, 1).
      noise: standard deviation, of the 255 steps of grey.
    """

    weight: float = 1.0
    decay: float = 0.99
    jitter: float = 0.25
    noise: float = 10.0
    title = "mean teacher"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "weight", "noise", zero=True)
        check(self, "decay", "jitter", allowed=lambda value: 0 <= value < 1, expected="a number in [0, 1)")

    def copies(self, settings: AdversarialTraining) -> int:
        return super().copies(settings) + 1

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        return MeanTeacherTrainer(
            *self.training_arguments(arena),
            beside=arena.needed_unlabelled(self.title),
            weight=self.weight,
            decay=self.decay,
            jitter=self.jitter,
            noise=self.noise,
        )
