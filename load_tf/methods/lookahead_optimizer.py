"""The Lookahead optimizer of Zhang et al. 2019 on cross-entropy, which is another thing than LoAd."""

import dataclasses

from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.errors import check, check_whole
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.method import Arena, Trainer
from load_tf.training.lookahead_optimizer import LookaheadOptimizerTrainer
from load_tf.training.segmentor import AdversarialTraining


@dataclasses.dataclass(frozen=True)
class LookaheadOptimizer(CrossEntropyOnly):
    """Fast weights run ahead by SGD on cross-entropy; slow weights, which are evaluated, follow every few updates.

    It has no discriminator, no going back and no buffer: with LoAd it shares a word.

    Attributes:
      k: updates between two steps of the slow weights; the paper's 5.
      alpha: the share of their distance to the fast weights by which the slow ones move, in (0, 1]; the paper's 0.5.
    """

    k: int = 5
    alpha: float = 0.5
    title = "Lookahead optimizer"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, "k")
        check(self, "alpha", allowed=lambda value: 0 < value <= 1, expected="a number in (0, 1]")

    def copies(self, settings: AdversarialTraining) -> int:
        return super().copies(settings) + 1

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        return LookaheadOptimizerTrainer(*self.training_arguments(arena), k=self.k, alpha=self.alpha)
