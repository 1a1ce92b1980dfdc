"""Two sets of weights in one segmentor: fast ones that updates change, and slow ones that follow and are looked at."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from load_tf.training.segmentor import SegmentorTrainer


class SlowWeightsTrainer(SegmentorTrainer):
    """While updates are made the segmentor has the fast weights; in between, whenever anyone looks, the slow ones.

    How the slow ones follow is `after_update` of a subclass. `path_length` is that of the fast weights.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Takes the segmentor's present weights for both; the arguments are the base class's."""
        super().__init__(*arguments, **named)
        with self.strategy.scope():
            # Of a tf.Variable Keras would make no copy.
            values = [np.asarray(v.value) for v in self.trained]
            self.others = [keras.Variable(v, trainable=False, dtype=v.dtype.name, name="lookahead") for v in values]
        """Those of the two that the segmentor has not: the slow weights while updates are made, else the fast ones."""

    @property
    def momentum_variables(self) -> list[keras.Variable]:
        return [*super().momentum_variables, *self.others]

    def reset_momentum(self) -> None:
        super().reset_momentum()
        for other, variable in zip(self.others, self.trained, strict=True):
            other.assign(variable.value)

    def train_loop_begin(self) -> None:
        super().train_loop_begin()
        self._swap()

    def train_loop_end(self) -> dict[str, float | bool]:
        self._swap()
        return super().train_loop_end()

    @tf.function
    def _swap(self) -> None:
        """The segmentor gets the other weights."""
        for other, variable in zip(self.others, self.trained, strict=True):
            held = tf.identity(variable.value)
            variable.value.assign(other.value)
            other.value.assign(held)
