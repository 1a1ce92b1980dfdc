"""Mixed precision: which layers compute in 16 bits, and the loss scale that float16 gradients need.

Variables stay float32. So do logits, everything that is made of them (soft-max, Gumbel noise, losses) and confusion
matrices: the networks' last layers are made in float32, and batch norm takes its statistics in it.
"""

from collections.abc import Iterable, Sequence

import keras
import tensorflow as tf

from load_tf.errors import UserError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

INITIAL_SCALE = 2.0**15
DOUBLE_AFTER = 2000
"""Updates without an overflow after which the scale is doubled (Micikevicius et al. 2018)."""


def use(precision: str) -> None:
    """Layers made from here on compute in this precision.

    Raises:
      UserError: if there is none of this name, or TensorFlow has no convolution in 16 bits for this processor.
    """
    if precision not in PRECISIONS:
        expected = ", ".join(map(repr, PRECISIONS))
        raise UserError(f"Runtime.precision is {precision!r}; expected one of {expected}.")
    if precision != "float32":
        _refuse_where_nothing_computes_in(precision)
    keras.config.set_dtype_policy(precision)


def _refuse_where_nothing_computes_in(precision: str) -> None:
    """TensorFlow may choose a kernel that oneDNN does not have here, and says so in the first step only."""
    number = tf.as_dtype(precision.removeprefix("mixed_"))
    try:
        image = tf.ones((1, 8, 8, 3), number)
        with tf.GradientTape() as tape:
            tape.watch(image)
            convolved = tf.nn.conv2d(image, tf.ones((3, 3, 3, 4), number), 1, "SAME")
        tape.gradient(convolved, image)
    except tf.errors.OpError as error:
        raise UserError(
            f"Runtime.precision is {precision!r}, but TensorFlow has no convolution in {number.name} here "
            f"({type(error).__name__}); expected 'float32' on this processor."
        ) from None


class LossScale:
    """A factor of the loss that keeps small float16 gradients from becoming zero, adapted to what overflows.

    An update whose gradients overflowed is not made and the scale is halved, down to 1; after `DOUBLE_AFTER` updates
    without one it is doubled. At 1 what is not finite is no overflow.
    """

    def __init__(self, name: str) -> None:
        """Makes its variables, under the present strategy.

        Args:
          name: begins the variables' names.
        """
        self._scale = keras.Variable(INITIAL_SCALE, trainable=False, dtype="float32", name=f"{name}_loss_scale")
        self._good = keras.Variable(0, trainable=False, dtype="int32", name=f"{name}_good_updates")

    @classmethod
    def where_needed(cls, networks: Iterable[keras.Layer], name: str) -> "LossScale | None":
        """A loss scale if a layer of the networks computes in float16, else None."""
        layers = (layer for network in networks for layer in network._flatten_layers())
        return cls(name) if any(layer.compute_dtype == "float16" for layer in layers) else None

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a restart needs."""
        return [self._scale, self._good]

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss to take gradients of; float32."""
        return loss * tf.convert_to_tensor(self._scale)

    def unscale(self, gradients: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
        """The gradients of the loss itself; None for a variable it does not depend on."""
        # A power of 2, so that nothing is rounded.
        return [None if gradient is None else gradient / tf.convert_to_tensor(self._scale) for gradient in gradients]

    def is_lowest(self) -> tf.Tensor:
        """Whether the scale is 1, bool."""
        return tf.convert_to_tensor(self._scale) <= 1.0

    def adapt(self, finite: tf.Tensor) -> None:
        """Goes on to the next update's scale.

        Args:
          finite: whether this one's loss and gradients were, bool.
        """
        scale, good = tf.convert_to_tensor(self._scale), tf.convert_to_tensor(self._good) + 1
        double = finite & (good >= DOUBLE_AFTER)
        raised = tf.where(double, 2.0 * scale, scale)
        self._scale.assign(tf.where(finite, raised, tf.maximum(scale / 2.0, 1.0)))
        self._good.assign(tf.where(finite & ~double, good, 0))
