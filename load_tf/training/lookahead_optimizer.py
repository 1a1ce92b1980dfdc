"""Updates by the Lookahead optimizer (Zhang, Lucas, Hinton, Ba 2019) around SGD on cross-entropy."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from load_tf.training.supervised import SupervisedTrainer


class LookaheadOptimizerTrainer(SupervisedTrainer):
    """After every k updates `slow <- slow + alpha * (fast - slow); fast <- slow`; SGD's momentum goes on, as published.

    While updates are made the segmentor has the fast weights, in between, whenever anyone looks at it, the slow ones.
    Updates are counted over the whole run, so that k need not divide those of an iteration. `path_length` is that of
    the fast weights.
    """

    def __init__(self, *arguments: Any, k: int, alpha: float) -> None:
        """Takes the segmentor's present weights for both.

        Args:
          *arguments: as `SupervisedTrainer`.
          k: updates between two steps of the slow weights.
          alpha: share of the way to the fast weights that such a step is.
        """
        super().__init__(*arguments)
        self.k, self.alpha = k, alpha
        with self.strategy.scope():
            # Of a tf.Variable Keras would make no copy.
            values = [np.asarray(v.value) for v in self.trained]
            self._others = [keras.Variable(v, trainable=False, dtype=v.dtype.name, name="lookahead") for v in values]
        """Those of the two that the segmentor has not: the slow weights while updates are made, else the fast ones."""

    @property
    def momentum_variables(self) -> list[keras.Variable]:
        return [*super().momentum_variables, *self._others]

    def reset_momentum(self) -> None:
        super().reset_momentum()
        for other, variable in zip(self._others, self.trained, strict=True):
            other.assign(variable.value)

    def train_loop_begin(self) -> None:
        super().train_loop_begin()
        self._swap()

    def train_loop_end(self) -> dict[str, float | bool]:
        self._swap()
        return super().train_loop_end()

    def after_update(self) -> None:
        if self.optimizer.iterations.value % self.k == 0:
            for slow, fast in zip(self._others, self.trained, strict=True):
                slow.value.assign_add(self.alpha * (fast.value - slow.value))
                fast.value.assign(slow.value)

    @tf.function
    def _swap(self) -> None:
        """The segmentor gets the other weights."""
        for other, variable in zip(self._others, self.trained, strict=True):
            held = tf.identity(variable.value)
            variable.value.assign(other.value)
            other.value.assign(held)
