"""A user's network over the same layers, but for images of any size, where its own graph is bound to one.

Two things bind a graph of layers that would take any size: an `Input` of a fixed size, and layers that ask for the size
in Python, such as a bilinear `UpSampling2D`.
"""

from typing import Any

import keras
import tensorflow as tf


class ResizeByFactor(keras.layers.Layer):
    """What `UpSampling2D` computes with an interpolation, for sizes that are known no sooner than the graph runs.

    Args:
      factors: of height and width.
      method: as `tf.image.resize` calls it; half-pixel centres.
      name: of the layer.
    """

    def __init__(self, factors: tuple[int, int], method: str, name: str | None = None, **options: Any) -> None:
        super().__init__(name=name, **options)
        self.factors, self.method = factors, method

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """[B, h, w, C] -> [B, h * factor, w * factor, C], of the same type."""
        shape = self.compute_output_shape(tuple(inputs.shape))
        known = None not in shape[1:3]
        size = shape[1:3] if known else tf.shape(inputs)[1:3] * tf.constant(self.factors)
        resized = tf.cast(tf.image.resize(inputs, size, self.method), inputs.dtype)
        return tf.ensure_shape(resized, shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`'s output."""
        height, width = (
            None if side is None else side * factor for side, factor in zip(input_shape[1:3], self.factors, strict=True)
        )
        return (input_shape[0], height, width, input_shape[3])


def for_any_size(model: keras.Model) -> keras.Model:
    """A model's graph without what binds it to a size; it shares the layers and so all weights.

    Args:
      model: any Keras model [B, H, W, 3] -> [B, h, w, K].

    Returns:
      The model itself if nothing in it is bound to a size, or its graph of layers is not known, or does not fit
      together at an unknown size.
    """
    if not isinstance(model, keras.Model):
        return model
    try:
        return _rebuilt(model) if _is_bound(model) else model
    except (TypeError, ValueError, NotImplementedError):
        return model


def graph_of(model: keras.Model) -> keras.Model:
    """A bare functional model over a model's own layers, for `keras.models.clone_model`.

    Cloning the model itself would also compile the clone with what the user's is compiled with.

    Raises:
      TypeError: if the model has a `call` of its own, or was never built, so that its layers' order is not known.
    """
    if not getattr(model, "inputs", None):
        raise TypeError(f"{type(model).__name__} has no graph of layers")
    bare = keras.Model(model.inputs, model.outputs if len(model.outputs) > 1 else model.outputs[0])
    if type(model).call is not type(bare).call and not isinstance(model, keras.Sequential):
        raise TypeError(f"{type(model).__name__} has a call of its own")
    return bare


def flat_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model and of the models nested in it."""
    found = []
    for layer in model.layers:
        found += flat_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def _is_bound(model: keras.Model) -> bool:
    graph = graph_of(model)
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        raise TypeError("more than one input, or none of images")
    return _has_fixed_input(graph) or any(
        _replacement(layer) is not None or (isinstance(layer, keras.Model) and _binds(layer)) for layer in graph.layers
    )


def _binds(model: keras.Model) -> bool:
    try:
        return _is_bound(model)
    except TypeError:
        return False


def _has_fixed_input(graph: keras.Model) -> bool:
    return any(side is not None for side in graph.inputs[0].shape[1:3])


def _rebuilt(model: keras.Model) -> keras.Model:
    graph = graph_of(model)
    given = graph.inputs[0]
    inputs = keras.Input((None, None, given.shape[-1]), dtype=given.dtype, name=given.name)
    rebuilt = keras.models.clone_model(
        graph,
        input_tensors=[inputs],
        clone_function=_same_or_unbound,
        call_function=lambda layer, *args, **kwargs: layer(*args, **kwargs),
    )
    outputs = rebuilt.outputs if len(rebuilt.outputs) > 1 else rebuilt.outputs[0]
    return keras.Model(inputs, outputs, name=model.name)


def _same_or_unbound(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.Model):
        return _rebuilt(layer) if _binds(layer) else layer
    return _replacement(layer) or layer


def _replacement(layer: keras.layers.Layer) -> ResizeByFactor | None:
    """What computes the same for any size as a layer that is bound to one; None if the layer can stay."""
    options = {"name": f"{layer.name}_any_size", "dtype": getattr(layer, "dtype_policy", None)}
    if type(layer) is keras.layers.UpSampling2D:
        if layer.interpolation == "nearest" or layer.data_format != "channels_last":
            return None
        return ResizeByFactor(tuple(layer.size), layer.interpolation, **options)
    if type(layer) is keras.layers.Resizing:
        plain = not (layer.antialias or layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio)
        factors = _factors(layer) if plain and layer.data_format == "channels_last" else None
        if factors is not None:
            return ResizeByFactor(factors, layer.interpolation, **options)
    return None


def _factors(layer: keras.layers.Resizing) -> tuple[int, int] | None:
    """By what whole numbers a layer enlarges the one size that it is given in the graph; None if it does not."""
    try:
        height, width = layer.input.shape[1:3]
    except (AttributeError, ValueError):
        return None
    if not height or not width or layer.height % height or layer.width % width:
        return None
    return layer.height // height, layer.width // width
