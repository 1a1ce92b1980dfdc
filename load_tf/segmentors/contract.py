"""What a user's model has to be, images in and logits out, and the sentences that say what it is instead.

What can be seen in the model is said before it is tried; the rest is seen in what it gives for a grey image.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from load_tf.errors import UserError
from load_tf.segmentors.any_shape import ResizeByFactor
from load_tf.segmentors.any_size import CutToImages

EXPECTED = "expected RGB images [B, H, W, 3] in [0, 255] to logits [B, h, w, K]"
_ALONE = "expected logits [B, h, w, K] alone"
_TAKE_ONE = "take one of them, as keras.Model(model.inputs, model.outputs[0]) does"

_ENDS = {
    "softmax": "a soft-max",
    "log_softmax": None,
    "sigmoid": "a sigmoid",
    "hard_sigmoid": "a sigmoid",
}
"""What an activation at the end makes of logits; None: nothing that matters."""
_CARRIES_ON = (
    keras.layers.UpSampling2D,
    keras.layers.Resizing,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.Dropout,
    keras.layers.Identity,
    ResizeByFactor,
    CutToImages,
)
"""Layers whose outputs lie in the range of their inputs."""


class OnlyOutput(keras.Model):
    """A model that gives a list of one tensor, as one that gives the tensor; the variables are the model's."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name)
        self.inside = model

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, H, W, 3] -> [B, h, w, K]."""
        return keras.tree.flatten(self.inside(images, training=training))[0]


def single(model: Any) -> keras.Model:
    """A model of one tensor in and one out, which shares all variables with the user's; the same if it is one.

    Args:
      model: what the user gave.

    Raises:
      UserError: it is no Keras model, takes or gives several tensors, or takes no RGB images; naming what it does.
    """
    _refuse_strangers(model)
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return model  # a subclassed one: what it takes and gives is seen when it is tried
    called = f"the model {model.name!r}"
    if len(inputs) > 1:
        raise UserError(
            f"{called} takes {len(inputs)} inputs ({_names(tensor.name for tensor in inputs)}); {EXPECTED}."
        )
    _refuse_inputs(called, tuple(inputs[0].shape))
    outputs = keras.tree.flatten(model.outputs)
    structure = getattr(model, "_outputs_struct", None)
    _refuse_several(model, structure if structure is not None else outputs)
    bare = keras.Model(inputs[0], outputs[0], name=model.name)
    wrapped = (getattr(model, "_inputs_struct", None), structure)
    # One with a `call` of its own is not what its graph says.
    if type(model) is type(bare) and any(isinstance(struct, dict | list | tuple) for struct in wrapped):
        return bare
    return model


def only_output(model: keras.Model, outputs: Any) -> keras.Model:
    """The model, or what gives the one tensor that it gives in a list.

    Args:
      model: the user's.
      outputs: what it gives: a tensor, or some structure of tensors.

    Raises:
      UserError: it gives several, or a dictionary.
    """
    _refuse_several(model, outputs)
    (output,) = keras.tree.flatten(outputs)
    if not hasattr(output, "dtype"):
        raise UserError(f"the model {model.name!r} gives {output!r}; {_ALONE}.")
    return OnlyOutput(model) if isinstance(outputs, list | tuple) else model


def refuse_not_finite(model: keras.Model) -> None:
    """Raises UserError naming the first of a model's variables that holds a NaN or an infinity."""
    for variable in model.variables:
        value = tf.convert_to_tensor(variable.value)
        if not value.dtype.is_floating:
            continue
        spoilt = value.shape.num_elements() - int(tf.math.count_nonzero(tf.math.is_finite(value)))
        if spoilt:
            raise UserError(
                f"the weights of the model {model.name!r} are not finite: {spoilt} of the "
                f"{value.shape.num_elements()} values of {variable.path!r} are NaN or infinite; expected numbers: "
                "take weights from before its training diverged."
            )


def check_logits(model: keras.Model, logits: np.ndarray) -> None:
    """Checks what a model gives for one grey image.

    Args:
      model: the user's.
      logits: what it gives, as an array.

    Raises:
      UserError: it is no logits [1, h, w, K] of real numbers with K of at least 2, but probabilities or anything else.
    """
    called = f"the model {model.name!r}"
    if logits.ndim == 4 and logits.shape[-1] == 1:
        raise UserError(
            f"{called} gives {list(logits.shape)} for one image, a single channel; expected logits [1, h, w, K], one "
            "for each class: of two classes, for the background, too."
        )
    if logits.ndim != 4 or logits.shape[0] != 1:
        raise UserError(f"{called} gives {list(logits.shape)} for one image; expected logits [1, h, w, K].")
    kind = tf.as_dtype(logits.dtype)
    if kind not in (tf.float32, tf.bfloat16, tf.float16):
        raise UserError(
            f"{called} gives {kind.name}; expected logits of float32: make its last layer with dtype='float32'."
        )
    values = logits.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(
            f"{called} gives values that are NaN or infinite for a grey image; expected finite logits: does it "
            "take images in [0, 255]?"
        )
    end = _activation(model)
    if values.min() >= 0 and np.allclose(values.sum(-1), 1, atol=1e-3 if kind == tf.float32 else 2e-2):
        end = end or "a soft-max"
    if end is not None:
        raise UserError(
            f"the model gives probabilities; expected logits: take {end.replace('a ', 'the ', 1)} at its end off."
        )


def _refuse_strangers(model: Any) -> None:
    if isinstance(model, keras.Model):
        return
    kind = type(model)
    if kind.__module__.partition(".")[0] == "tf_keras":
        found = "the model is one of tf_keras, which is Keras 2"
    elif isinstance(model, str):
        found = f"the model is the text {model!r}"
    else:
        found = f"the model is of the type {kind.__name__}"
    raise UserError(f"{found}; expected a Keras 3 model, such as keras.saving.load_model('mine.keras') gives.")


def _refuse_inputs(called: str, shape: tuple[int | None, ...]) -> None:
    if len(shape) == 4 and shape[3] in (3, None):
        return
    found = f"{called} takes {_shape(shape)}"
    if len(shape) == 4 and shape[1] in (1, 3, 4):
        found += ", channels first"
    elif len(shape) == 4:
        found += f", images of {shape[3]} {'channel' if shape[3] == 1 else 'channels'}"
    raise UserError(f"{found}; {EXPECTED}.")


def _refuse_several(model: keras.Model, outputs: Any) -> None:
    tensors = keras.tree.flatten(outputs)
    if isinstance(outputs, dict):
        found = f"a dictionary of outputs ({_names(outputs)})"
    elif len(tensors) != 1:
        found = f"{len(tensors)} outputs ({', '.join(_shape(tensor.shape) for tensor in tensors)})"
    else:
        return
    take = f": {_TAKE_ONE}" if getattr(model, "inputs", None) else ""
    raise UserError(f"the model {model.name!r} gives {found}; {_ALONE}{take}.")


def _activation(model: keras.Model) -> str | None:
    """What stands at the end of a graph of layers and makes probabilities of logits; None: nothing that is known."""
    outputs = getattr(model, "outputs", None)
    tensor = outputs[0] if outputs else None
    while tensor is not None:
        history = getattr(tensor, "_keras_history", None)
        if history is None:
            return None
        operation = history.operation
        name = getattr(getattr(operation, "activation", None), "__name__", type(operation).__name__.lower())
        if name in _ENDS:
            return _ENDS[name]
        if isinstance(operation, keras.Model):
            inside = getattr(operation, "outputs", None)
            tensor = inside[history.tensor_index] if inside else None
        elif isinstance(operation, _CARRIES_ON) or (type(operation) is keras.layers.Activation and name == "linear"):
            tensor = operation._inbound_nodes[history.node_index].input_tensors[0]
        else:
            return None
    return None


def _names(names: Any) -> str:
    return ", ".join(repr(str(name)) for name in names)


def _shape(shape: Any) -> str:
    """A shape in words: unknown sides by the letters of [B, H, W, C]."""
    if isinstance(shape, tf.TensorShape) and shape.rank is None:
        return "of unknown shape"
    letters = "BHWC" if len(shape) == 4 else "B" + "N" * len(shape)
    sides = (letter if side is None else str(side) for letter, side in zip(letters, shape, strict=False))
    return f"[{', '.join(sides)}]"
