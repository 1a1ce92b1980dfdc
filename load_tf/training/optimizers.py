"""What Keras' optimizers lack."""

import keras
import tensorflow as tf

POWER = 0.9
"""Of the polynomial decay that segmentation networks are trained with (Chen et al. 2017)."""


def polynomial_decay(
    learning_rate: float, updates: int | None
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """`learning_rate * (1 - t / updates) ** 0.9` in update `t` from 0 on; without `updates` the rate itself."""
    if updates is None:
        return learning_rate
    return keras.optimizers.schedules.PolynomialDecay(learning_rate, updates, end_learning_rate=0.0, power=POWER)


class NesterovL2(keras.optimizers.SGD):
    """SGD with Nesterov's momentum on the loss plus `weight_decay / 2` times the squared weights.

    `g <- gradient + weight_decay * w; v <- momentum * v - rate * g; w <- w + momentum * v - rate * g`. Keras' own
    `weight_decay` takes the weights' part past the momentum.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float,
        weight_decay: float,
        name: str,
    ) -> None:
        super().__init__(learning_rate, momentum=momentum, nesterov=momentum > 0, name=name)
        self.l2 = weight_decay

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        decayed = gradient + tf.cast(self.l2, gradient.dtype) * tf.convert_to_tensor(variable)
        super().update_step(decayed, variable, learning_rate)
