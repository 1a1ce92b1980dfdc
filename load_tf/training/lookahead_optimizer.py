"""Updates by the Lookahead optimizer (Zhang, Lucas, Hinton, Ba 2019) around SGD on cross-entropy."""

from typing import Any

from load_tf.training.slow_weights import SlowWeightsTrainer
from load_tf.training.supervised import SupervisedTrainer


class LookaheadOptimizerTrainer(SlowWeightsTrainer, SupervisedTrainer):
    """After every k updates `slow <- slow + alpha * (fast - slow); fast <- slow`; SGD's momentum goes on, as published.

    Updates are counted over the whole run, so that k need not divide those of an iteration.
    """

    def __init__(self, *arguments: Any, k: int, alpha: float) -> None:
        """Nothing is trained yet.

        Args:
          *arguments: as `SupervisedTrainer`.
          k: updates between two steps of the slow weights.
          alpha: share of the way to the fast weights that such a step is.
        """
        super().__init__(*arguments)
        self.k, self.alpha = k, alpha

    def after_update(self) -> None:
        if self.optimizer.iterations.value % self.k == 0:
            for slow, fast in zip(self.others, self.trained, strict=True):
                slow.value.assign_add(self.alpha * (fast.value - slow.value))
                fast.value.assign(slow.value)
