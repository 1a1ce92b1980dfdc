"""The layers of the official DeepLab graph that Keras does not have, and the blocks made of them.

Every layer bears the official TensorFlow-1 scope as its name, with "." for "/" (Keras allows no "/"), so that a
variable's official name is a pure function of its layer: `official_name`. Facts are those of tensorflow/models,
research/deeplab and research/slim.
"""

from typing import Any

import keras
import tensorflow as tf

from load_tf import randomness

BACKBONE_EPSILON = 1e-3
"""Batch norm of Xception (`xception_arg_scope`) and of MobileNetV2 (slim's default)."""

HEAD_EPSILON = 1.001e-5
"""Batch norm of ASPP and decoder: the code asks for 1e-5, and `fused_batch_norm` raises that to cuDNN's least value."""

# The leaves of the two names a variable has, where they differ.
_OFFICIAL_LEAF = {"kernel": "weights", "bias": "biases"}


def official_name(layer: keras.Layer, variable: keras.Variable) -> str:
    """The name of a layer's variable in an official checkpoint.

    Returns:
      e.g. "MobilenetV2/Conv/weights" for the kernel of the layer "MobilenetV2.Conv".
    """
    return f"{layer.name.replace('.', '/')}/{_OFFICIAL_LEAF.get(variable.name, variable.name)}"


def official_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """All variables of a DeepLab model, trainable or not, by official name, in the order of their creation."""
    return {official_name(layer, variable): variable for layer in model.layers for variable in layer.variables}


def resize_aligned(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Bilinear resizing with aligned corners, the only one in the official graph (`tf.image.resize` has no such mode).

    Args:
      images: [B, h, w, C] float.
      size: int32 [2], the new height and width.

    Returns:
      float32 [B, *size, C].
    """
    return tf.raw_ops.ResizeBilinear(images=images, size=size, align_corners=True, half_pixel_centers=False)


@keras.saving.register_keras_serializable(package="load_tf")
class AlignedResize(keras.layers.Layer):
    """Resizes a map to the height and width of another: called as `layer([features, like])`."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Resizes `inputs[0]`, [B, h, w, C], to [B, H, W, C], of `inputs[1]`'s size [B, H, W, *]."""
        features, like = inputs
        # The op computes in float32 whatever it is given; the next layer goes on in the compute type.
        return tf.cast(resize_aligned(features, tf.shape(like)[1:3]), self.compute_dtype)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """The shape of `call`'s output."""
        features, like = input_shape
        return (features[0], like[1], like[2], features[3])


@keras.saving.register_keras_serializable(package="load_tf")
class DepthwiseConv(keras.layers.Layer):
    """3x3 depthwise convolution without bias, strided or dilated.

    Dilation goes through `tf.nn`, which rearranges space to batch. The native dilation of `DepthwiseConv2dNative` has
    the same forward values and is faster on the CPU at small rates, but its gradient there ignores the rate without a
    word (TensorFlow 2.20), and without oneDNN it does not run at all.

    Args:
      stride: 1 or 2.
      rate: the dilation; 1 where the stride is 2.
      fixed_padding: with stride 2, pad one zero on each side whatever the size, as Xception does. TensorFlow's SAME,
        used otherwise, pads none in front where the size is even.
      stddev: of the truncated normal that initialises the weights.
      seed: of that draw.
      name: of the layer.
    """

    def __init__(
        self,
        stride: int = 1,
        rate: int = 1,
        fixed_padding: bool = False,
        stddev: float = 0.09,
        seed: int = 0,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.stride, self.rate, self.fixed_padding = stride, rate, fixed_padding
        self.stddev, self.seed = stddev, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes `depthwise_weights`, float32 [3, 3, C, 1]."""
        self.depthwise_weights = self.add_weight(
            name="depthwise_weights",
            shape=(3, 3, input_shape[-1], 1),
            initializer=keras.initializers.TruncatedNormal(stddev=self.stddev, seed=self.seed),
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), C]."""
        inputs, padding = self.padded(inputs)
        weights = tf.cast(tf.convert_to_tensor(self.depthwise_weights), inputs.dtype)
        strides = [1, self.stride, self.stride, 1]
        return tf.nn.depthwise_conv2d(inputs, weights, strides, padding, dilations=[self.rate, self.rate])

    def padded(self, inputs: tf.Tensor) -> tuple[tf.Tensor, str]:
        """What is convolved, and the padding that the convolution is left to do, "SAME" or "VALID"."""
        if self.stride > 1 and self.fixed_padding:
            return tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]]), "VALID"
        return inputs, "SAME"

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`'s output."""
        batch, height, width, channels = input_shape
        return (batch, *(size and -(-size // self.stride) for size in (height, width)), channels)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        own = {name: getattr(self, name) for name in ("stride", "rate", "fixed_padding", "stddev", "seed")}
        return {**super().get_config(), **own}


def input_scaling() -> keras.Layer:
    """RGB in [0, 255] to [-1, 1]; the padding value 127.5 becomes exactly 0 (`_preprocess_zero_mean_unit_range`)."""
    # In float32 under any precision policy: 2/255 is no bfloat16, and the padding would be a signal.
    return keras.layers.Rescaling(2.0 / 255.0, offset=-1.0, name="preprocessed", dtype="float32")


class Blocks:
    """Convolution, batch norm and activation as slim strings them together, with the settings of one part of a network.

    Each call makes the layers `SCOPE`, `SCOPE.BatchNorm` and `SCOPE.Relu` (or `Relu6`).

    Args:
      epsilon: of batch norm.
      momentum: of batch norm's moving averages (slim's `decay`).
      relu_cap: 6 for ReLU6, None for ReLU.
      fixed_padding: how strided 3x3 convolutions pad, see `DepthwiseConv`.
      seed: of all initial values; each variable's draw is keyed by (seed, scope).
    """

    def __init__(
        self, epsilon: float, momentum: float, relu_cap: float | None = None, fixed_padding: bool = False, seed: int = 0
    ) -> None:
        self.epsilon, self.momentum, self.relu_cap = epsilon, momentum, relu_cap
        self.fixed_padding, self.seed = fixed_padding, seed

    def conv(
        self,
        inputs: keras.KerasTensor,
        filters: int,
        scope: str,
        kernel_size: int = 1,
        stride: int = 1,
        relu: bool = True,
        stddev: float | None = None,
    ) -> keras.KerasTensor:
        """A convolution without bias, batch norm and, on request, an activation.

        Args:
          inputs: [B, H, W, C].
          filters: C'.
          scope: the official scope.
          kernel_size: 1 or 3.
          stride: 1 or 2.
          relu: whether an activation follows.
          stddev: of the truncated normal of the initial weights; None for Xavier's uniform, slim's default.

        Returns:
          [B, ceil(H / stride), ceil(W / stride), C'].
        """
        explicit = kernel_size > 1 and stride > 1 and self.fixed_padding
        if explicit:
            inputs = keras.layers.ZeroPadding2D(1, name=f"{_dotted(scope)}.Pad")(inputs)
        features = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=stride,
            padding="valid" if explicit else "same",
            use_bias=False,
            kernel_initializer=initializer(stddev, self.seed, scope),
            name=_dotted(scope),
        )(inputs)
        return self._normalized(features, scope, relu)

    def depthwise(
        self,
        inputs: keras.KerasTensor,
        scope: str,
        stride: int = 1,
        rate: int = 1,
        relu: bool = True,
        stddev: float = 0.09,
    ) -> keras.KerasTensor:
        """A 3x3 depthwise convolution (see `DepthwiseConv`), batch norm and, on request, an activation."""
        convolution = DepthwiseConv(
            stride, rate, self.fixed_padding, stddev, seed_of(self.seed, scope), name=_dotted(scope)
        )
        return self._normalized(convolution(inputs), scope, relu)

    def relu(self, inputs: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """The activation alone, as a layer of that official name."""
        return keras.layers.ReLU(max_value=self.relu_cap, name=_dotted(name))(inputs)

    def _normalized(self, features: keras.KerasTensor, scope: str, relu: bool) -> keras.KerasTensor:
        features = keras.layers.BatchNormalization(
            epsilon=self.epsilon, momentum=self.momentum, name=f"{_dotted(scope)}.BatchNorm"
        )(features)
        return self.relu(features, f"{scope}/Relu{self.relu_cap or ''}") if relu else features


def initializer(stddev: float | None, seed: int, scope: str) -> keras.initializers.Initializer:
    """A truncated normal of that standard deviation, or Xavier's uniform, drawn by (seed, scope)."""
    if stddev is None:
        return keras.initializers.GlorotUniform(seed=seed_of(seed, scope))
    return keras.initializers.TruncatedNormal(stddev=stddev, seed=seed_of(seed, scope))


def seed_of(seed: int, scope: str) -> int:
    """A non-negative 31-bit seed for the initial values of one scope."""
    return int(randomness.key(seed, "initial weights", scope)[0]) & 0x7FFFFFFF


def _dotted(scope: str) -> str:
    return scope.replace("/", ".")
