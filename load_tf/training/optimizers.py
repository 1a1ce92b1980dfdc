"""What Keras' optimizers lack."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from load_tf.devices.precision import LossScale

POWER = 0.9
"""Of the polynomial decay that segmentation networks are trained with (Chen et al. 2017)."""


def polynomial_decay(
    learning_rate: float, updates: int | None
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """`learning_rate * (1 - t / updates) ** 0.9` in update `t` from 0 on; without `updates` the rate itself."""
    if updates is None:
        return learning_rate
    return keras.optimizers.schedules.PolynomialDecay(learning_rate, updates, end_learning_rate=0.0, power=POWER)


def apply_scaled(
    strategy: tf.distribute.Strategy,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
    loss: tf.Tensor,
    loss_scale: LossScale | None,
) -> None:
    """One step of a training that has nothing to go back to; in a graph, across replicas.

    Args:
      strategy: where the variables live.
      optimizer: theirs.
      gradients: of the global batch, unscaled, per replica.
      variables: what they are of.
      loss: float32 scalar, of the global batch.
      loss_scale: of float16, whose overflows are passed over and lower it; None: every step is made.
    """
    if loss_scale is None:
        strategy.run(optimizer.apply, args=(gradients, variables))
    else:
        local = [strategy.experimental_local_results(gradient)[0] for gradient in gradients]
        finite = tf.math.is_finite(loss) & tf.math.is_finite(tf.linalg.global_norm(local))
        # At the lowest scale what is not finite is no overflow; it shall show.
        if finite | loss_scale.is_lowest():
            strategy.run(optimizer.apply, args=(gradients, variables))
        loss_scale.adapt(finite)


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
