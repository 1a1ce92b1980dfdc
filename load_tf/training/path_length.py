"""How far updates move the weights: methods whose gradients differ can be compared at equal path.

With a bound on the gradient's norm that acts in every update, and a gradient that keeps its direction, the steps of SGD
with momentum grow to `learning_rate * clip_norm / (1 - momentum)`.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf


# No control flow of tensors: AutoGraph would rewrite each function, which is seconds of every start.
@tf.autograph.experimental.do_not_convert
def step_norm(
    optimizer: keras.optimizers.SGD,
    gradients: Sequence[tf.Tensor | None],
    rate: tf.Tensor,
    variables: Sequence[keras.Variable],
) -> tf.Tensor:
    """The norm of the step that an optimizer has just made, over all its variables.

    Args:
      optimizer: after the update.
      gradients: what it was given, before it clipped them; None for variables the loss does not depend on.
      rate: the learning rate it took, float32; a decaying one has moved on.
      variables: what it moved, after the update.

    Returns:
      float32 scalar.
    """
    if optimizer.momentum and not optimizer.nesterov:
        # The new velocity is the step.
        return tf.linalg.global_norm([velocity.value for velocity in optimizer.momentums])
    given = [number for number, gradient in enumerate(gradients) if gradient is not None]
    clipped = [gradients[number] for number in given]
    if optimizer.global_clipnorm:
        clipped, _ = tf.clip_by_global_norm(clipped, optimizer.global_clipnorm)
    steps = [-rate * gradient for gradient in clipped]
    if optimizer.momentum:
        velocities = [optimizer.momentums[number].value for number in given]
        steps = [optimizer.momentum * v + step for v, step in zip(velocities, steps, strict=True)]
    if l2 := getattr(optimizer, "l2", 0.0):
        # The gradient had `l2 * w` of the weights before the step, which are those after it less the step itself.
        moved = [variables[number].value for number in given]
        steps = [(step - rate * l2 * w) / (1 - rate * l2) for step, w in zip(steps, moved, strict=True)]
    return tf.linalg.global_norm(steps)
