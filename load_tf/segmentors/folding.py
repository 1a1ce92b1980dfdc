"""A network's pass in inference mode: batch norm folded into the convolutions.

In inference mode batch norm is an affine map of each channel, `scale * x + offset`, so the convolution in front of it
can have it in its kernel and a bias. For evaluation, aggregation and export the folded values are variables, refreshed
from the live ones by one small graph, so that a network that is still being trained is traced once. Where gradients are
wanted, in the adversarial step, they are made anew in every call.

The pass may compute in bfloat16, from the first convolution to the one that makes the logits; that one, and what is no
convolution and has weights, stays in float32. Processors with instructions for it take about half the time.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import keras
import numpy as np
import tensorflow as tf

from load_tf.segmentors.any_shape import for_any_size, graph_of
from load_tf.segmentors.layers import DepthwiseConv

_LARGEST_NATIVE_RATE = 8
"""Above it the rearrangement of space to batch is faster than a native dilated kernel (measured at 12 and 18)."""


_BFLOAT16 = "mixed_bfloat16"
"""The policy of layers that compute in it and whose variables are float32."""


class Forward(Protocol):
    """What evaluates a segmentor: `refresh` after the model has changed, then call."""

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor: ...

    def refresh(self) -> None: ...

    @property
    def variables(self) -> Sequence[keras.Variable]:
        """All that the pass reads."""
        ...


class FoldedConvolution(keras.layers.Layer):
    """A convolution and the batch norm behind it as one convolution with a bias.

    Args:
      convolution: a built `Conv2D`, `DepthwiseConv2D` or `DepthwiseConv`.
      norm: the built batch norm that takes its output; None: there is none.
      portable: whether the operations have to run elsewhere.
      live: fold the sources' present values in every call, which gradients then flow through.
      policy: of the layer; None: the convolution's.
    """

    def __init__(
        self,
        convolution: keras.layers.Layer,
        norm: keras.layers.BatchNormalization | None,
        portable: bool = False,
        live: bool = False,
        policy: str | None = None,
    ) -> None:
        super().__init__(name=f"{convolution.name}_folded", dtype=policy or convolution.dtype_policy)
        self._sources = (convolution, norm)
        self._live = live
        if not live:
            kernel = _kernel(convolution)
            channels = math.prod(kernel.shape[2:] if _is_depthwise(convolution) else kernel.shape[3:])
            self.kernel = self.add_weight(name="kernel", shape=kernel.shape, trainable=False)
            self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros", trainable=False)
        self._convolve = _operation(convolution, portable or live)
        self.built = True

    def refresh(self) -> None:
        """Folds the sources' present values; in a graph or out of it."""
        kernel, bias = self._folded()
        self.kernel.value.assign(kernel)
        self.bias.value.assign(bias)

    def _folded(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The kernel and the bias that do what the sources do."""
        convolution, norm = self._sources
        if norm is None:
            own = getattr(convolution, "bias", None)
            return _kernel(convolution).value, tf.zeros(self.bias.shape) if own is None else own.value
        scale = tf.math.rsqrt(norm.moving_variance.value + norm.epsilon)
        if norm.gamma is not None:
            scale *= norm.gamma.value
        offset = -norm.moving_mean.value * scale
        if norm.beta is not None:
            offset += norm.beta.value
        bias = getattr(convolution, "bias", None)
        if bias is not None:
            offset += bias.value * scale
        kernel = _kernel(convolution)
        per_output = tf.reshape(scale, kernel.shape[2:]) if _is_depthwise(convolution) else scale
        return kernel.value * per_output, offset

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """[B, H, W, C] -> [B, H', W', C'], as the sources one after the other."""
        kernel, bias = self._folded() if self._live else map(tf.convert_to_tensor, (self.kernel, self.bias))
        outputs = self._convolve(inputs, kernel, bias)
        convolution, norm = self._sources
        return convolution.activation(outputs) if norm is None and hasattr(convolution, "activation") else outputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`'s output."""
        return cast(tuple[int | None, ...], self._sources[0].compute_output_shape(input_shape))


class KeptApart(keras.layers.Layer):
    """The identity, between a convolution and a sum.

    Without it TensorFlow 2.20's optimiser tries to make one operation of both, where the sum has two readers fails at
    it, and then leaves the whole graph as it was, no bias or activation joined to its convolution.

    The class has no leading underscore: its name becomes that of a scope, which may not begin with one.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(inputs, inputs.shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


class FoldedSegmentor:
    """A functional Keras model with every batch norm that follows a convolution folded; all else is shared with it.

    Layers that are not folded are the model's own, so their values are always the present ones; the folded ones are
    those of the last `refresh` (the first at construction).
    """

    def __init__(self, model: keras.Model, portable: bool = False, live: bool = False, bfloat16: bool = False) -> None:
        """Builds the folded graph beside the model, whose layers keep their variables.

        Args:
          model: functional (or sequential) and built.
          portable: keep to operations that run on any machine, for export.
          live: fold in every call, so that nothing has to be refreshed and gradients reach the model's variables;
            layers that compute in 16 bits stay as they are.
          bfloat16: compute in it all convolutions but the one that makes the logits, and what stands between them and
            has no weights of its own.

        Raises:
          TypeError: if the model has a `call` of its own, so that its layers' order is not known.
        """
        self._portable, self._live = portable, live
        self._policy = _BFLOAT16 if bfloat16 else None
        self._last = last_layer_with_weights(model) if bfloat16 else None
        self._folded: dict[tuple[int, int], FoldedConvolution] = {}
        self._narrow: dict[int, keras.layers.Layer] = {}
        self.model = self._rebuild(model)
        if not live:
            self.refresh()

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The model's output in inference mode; [B, H, W, 3] -> [B, h, w, K]."""
        if training:
            raise ValueError("batch norm is folded for inference; train the model itself.")
        return self.model(images, training=False)

    @tf.function(autograph=False)
    def refresh(self) -> None:
        """Folds the model's present values."""
        for layer in self._folded.values():
            layer.refresh()

    @property
    def variables(self) -> Sequence[keras.Variable]:
        return self.model.variables

    @property
    def convolutions(self) -> int:
        """How many convolutions have a batch norm folded into them."""
        return len(self._folded)

    def _rebuild(self, model: keras.Model) -> keras.Model:
        convolved: dict[int, tuple[keras.KerasTensor, keras.layers.Layer, keras.KerasTensor]] = {}
        folded: dict[int, keras.KerasTensor] = {}
        graph = graph_of(model)
        alone = self._convolutions_alone(graph) if self._policy else set()

        def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
            if id(layer) in alone:
                return self._fold(layer, None)(args[0])
            layer = self._in_16_bits(layer, args)
            if args and id(args[0]) in convolved and self._can_fold(layer):
                _, convolution, inputs = convolved[id(args[0])]
                outputs = self._fold(convolution, layer)(inputs)
                folded[id(outputs)] = outputs
                return outputs
            if isinstance(layer, keras.layers.Add):
                apart = [KeptApart()(summand) if id(summand) in folded else summand for summand in args[0]]
                return layer(apart, *args[1:], **kwargs)
            outputs = layer(*args, **kwargs)
            if _is_foldable_convolution(layer):
                # The tensor is kept so that no other gets its id.
                convolved[id(outputs)] = (outputs, layer, args[0])
            return outputs

        return keras.models.clone_model(graph, clone_function=self._same_layer, call_function=call)

    def _convolutions_alone(self, graph: keras.Model) -> set[int]:
        """By id the convolutions without a norm behind them that can be folded into, but for the last."""
        normed = set()
        for layer in graph.layers:
            if self._can_fold(layer):
                normed |= {id(tensor._keras_history.operation) for tensor in keras.tree.flatten(layer.input)}
        others = (layer for layer in graph.layers if _is_convolution(layer) and layer is not self._last)
        return {id(layer) for layer in others} - normed

    def _in_16_bits(self, layer: keras.layers.Layer, inputs: tuple[Any, ...]) -> keras.layers.Layer:
        """A layer without weights behind one of 16 bits in 16 bits, too; any other as it is."""
        tensors = keras.tree.flatten(inputs)
        narrow = self._policy and any(getattr(tensor, "dtype", "") == "bfloat16" for tensor in tensors)
        if not narrow or not isinstance(layer, keras.layers.Layer) or layer.weights or isinstance(layer, keras.Model):
            return layer
        if id(layer) not in self._narrow:
            try:
                self._narrow[id(layer)] = type(layer).from_config({**layer.get_config(), "dtype": self._policy})
            except (NotImplementedError, TypeError):
                return layer  # of somebody's own, which can't be made a second time
        return self._narrow[id(layer)]

    def _same_layer(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        """The layer itself, or a nested model rebuilt."""
        if not isinstance(layer, keras.Model):
            return layer
        try:
            return self._rebuild(layer)
        except TypeError:
            return layer

    def _can_fold(self, layer: keras.layers.Layer) -> bool:
        # In a call of a layer of 16 bits its variables come as 16 bits, in which folding would round twice.
        return _is_foldable_norm(layer) and not (self._live and layer.compute_dtype != layer.variable_dtype)

    def _fold(self, convolution: keras.layers.Layer, norm: keras.layers.BatchNormalization | None) -> FoldedConvolution:
        key = (id(convolution), id(norm))
        if key not in self._folded:
            policy = None if convolution is self._last else self._policy
            self._folded[key] = FoldedConvolution(convolution, norm, self._portable, self._live, policy)
        return self._folded[key]


class LiveSegmentor:
    """A model as it is, for those that can't be folded: always fresh."""

    def __init__(self, model: Callable[..., tf.Tensor]) -> None:
        self.model = model

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.model(images, training=training)

    def refresh(self) -> None:
        """Nothing to do."""

    @property
    def variables(self) -> Sequence[keras.Variable]:
        return getattr(self.model, "variables", ())


def forward(model: Callable[..., tf.Tensor], portable: bool = False, bfloat16: bool = False) -> Forward:
    """The fastest forward pass of a segmentor that gives the same logits, up to rounding (1e-4; in bfloat16 3e-2).

    Args:
      model: a Keras model or anything called like one, (images, training=False) -> logits; if it can be refreshed, it
        is returned as it is.
      portable: keep to operations that run on any machine, for export.
      bfloat16: compute in it, where the model's layers are known.
    """
    if hasattr(model, "refresh"):
        return cast(Forward, model)
    if isinstance(model, keras.Model):
        try:
            return FoldedSegmentor(for_any_size(model), portable, bfloat16=bfloat16)
        except TypeError:
            pass
    return LiveSegmentor(model)


def differentiable(model: keras.Model) -> keras.Model:
    """A model's pass in inference mode, to take gradients through.

    The same function of the same variables up to rounding, in less time and memory: the gradient of a folded
    convolution has one sum per channel where that of batch norm has products and sums over every activation, and holds
    the activations for them.

    Args:
      model: any Keras model; one whose layers' order is not known is returned as it is.
    """
    try:
        return FoldedSegmentor(for_any_size(model), live=True).model
    except TypeError:
        return model


def last_layer_with_weights(model: keras.Model) -> keras.layers.Layer | None:
    """The layer that makes a network's logits: back from the output, along first inputs, into nested models."""
    tensor = model.outputs[0] if getattr(model, "outputs", None) else None
    while tensor is not None:
        layer, node, _ = tensor._keras_history
        if isinstance(layer, keras.Model):
            return last_layer_with_weights(layer)
        if getattr(layer, "weights", None):
            return layer
        inputs = layer._inbound_nodes[node].input_tensors
        tensor = inputs[0] if inputs else None
    return None


def _is_foldable_norm(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.BatchNormalization and layer.axis in (-1, 3)


def _is_convolution(layer: keras.layers.Layer) -> bool:
    """Whether it is one whose operation is known here."""
    if type(layer) is DepthwiseConv:
        return True
    return type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D) and layer.data_format == "channels_last"


def _is_foldable_convolution(layer: keras.layers.Layer) -> bool:
    """Whether nothing stands between it and a norm behind it."""
    return _is_convolution(layer) and getattr(layer, "activation", keras.activations.linear) is keras.activations.linear


def _is_depthwise(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, DepthwiseConv | keras.layers.DepthwiseConv2D)


def _kernel(layer: keras.layers.Layer) -> keras.Variable:
    return layer.depthwise_weights if isinstance(layer, DepthwiseConv) else layer.kernel


_Operation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def _operation(layer: keras.layers.Layer, portable: bool) -> _Operation:
    """(inputs, kernel, bias) -> outputs of a convolution, by the operations that are fastest in inference."""
    if isinstance(layer, DepthwiseConv):
        native = not portable and 1 < layer.rate <= _LARGEST_NATIVE_RATE and has_native_dilation()
        return functools.partial(_depthwise, layer=layer, native=native)
    convolve = keras.ops.depthwise_conv if isinstance(layer, keras.layers.DepthwiseConv2D) else keras.ops.conv
    settings = {
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
        "data_format": layer.data_format,
    }
    # Bias and activation behind it TensorFlow's own optimiser makes one operation of.
    return lambda inputs, kernel, bias: tf.nn.bias_add(convolve(inputs, kernel, **settings), bias)


def _depthwise(inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, layer: DepthwiseConv, native: bool) -> tf.Tensor:
    inputs, padding = layer.padded(inputs)
    strides, rate = [1, layer.stride, layer.stride, 1], layer.rate
    if native:
        # `DepthwiseConv` says why training can't have it.
        outputs = tf.raw_ops.DepthwiseConv2dNative(
            input=inputs, filter=kernel, strides=strides, padding=padding, dilations=[1, rate, rate, 1]
        )
    else:
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, padding, dilations=[rate, rate])
    return tf.nn.bias_add(outputs, bias)


@functools.cache
def has_native_dilation() -> bool:
    """Whether the depthwise kernel of this machine's CPU honours its dilations; on a GPU it was not tried: False."""
    if tf.config.list_logical_devices("GPU"):
        return False
    inputs = tf.reshape(tf.range(98.0), [1, 7, 7, 2]) / 98
    kernel = tf.reshape(tf.range(18.0), [3, 3, 2, 1]) / 18
    expected = tf.nn.depthwise_conv2d(inputs, kernel, [1, 1, 1, 1], "SAME", dilations=[2, 2])
    try:
        found = tf.raw_ops.DepthwiseConv2dNative(
            input=inputs, filter=kernel, strides=[1, 1, 1, 1], padding="SAME", dilations=[1, 2, 2, 1]
        )
    except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError):
        return False
    return bool(np.allclose(expected, found, atol=1e-5))
