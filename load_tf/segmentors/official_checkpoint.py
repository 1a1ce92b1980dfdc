"""Official DeepLab weights into Keras: TensorFlow-1 checkpoints and frozen graphs, by name, every one accounted for."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from load_tf.errors import UserError
from load_tf.segmentors import mobilenet_v2, xception
from load_tf.segmentors.deeplab import Architecture, deeplab
from load_tf.segmentors.layers import official_variables

_LOGITS = "logits/semantic/"
_DOWNLOADS = Path("checkpoints")
# What training leaves in a checkpoint beside the model's variables.
_NOT_THE_MODEL = ("/Momentum", "/ExponentialMovingAverage")
_GLOBAL_STEP = "global_step"
_LEAVES = ("weights", "biases", "depthwise_weights", "gamma", "beta", "moving_mean", "moving_variance")
_UNKNOWN_NETWORKS = ("resnet_v1_", "MobilenetV3", "MobilenetEdgeTPU", "MobilenetV1", "pnasnet", "hnasnet")
# What TensorFlow raises on damaged files; a data file cut off gives a bare IndexError.
_READ_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, IndexError)
_ACCEPTED = "Xception-41, -65 or -71 or MobileNetV2 DeepLab"


class Weights(Protocol):
    """Named arrays, read one at a time."""

    @property
    def source(self) -> str:
        """The file, for messages."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Every array's shape by name."""

    def read(self, name: str) -> np.ndarray:
        """The array of that name."""


class CheckpointWeights:
    """The model's variables in a TensorFlow-1 checkpoint, without optimizer slots, averages and `global_step`.

    Args:
      prefix: e.g. ".../model.ckpt-30000", where `.index` and `.data-...` follow. No `checkpoint` file is needed.

    Raises:
      UserError: TensorFlow cannot read it.
    """

    def __init__(self, prefix: Path) -> None:
        self.source = str(prefix)
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            shapes = self._reader.get_variable_to_shape_map()
        except _READ_ERRORS as error:
            raise UserError(f"{prefix}: not a readable TensorFlow checkpoint ({_first_line(error)})") from error
        self.shapes = {
            name: tuple(shape)
            for name, shape in sorted(shapes.items())
            if name != _GLOBAL_STEP and not name.endswith(_NOT_THE_MODEL)
        }

    def read(self, name: str) -> np.ndarray:
        """The variable `name`, of the type in which it is stored.

        Raises:
          UserError: the data file is cut off or damaged.
        """
        try:
            return self._reader.get_tensor(name)
        except _READ_ERRORS as error:
            raise UserError(f"{self.source}: cannot read {name}: {_first_line(error)}") from error


class FrozenGraphWeights:
    """The model's variables in an official `frozen_inference_graph.pb`: constants of the same names.

    A graph whose batch norm was folded has other constants; the importer then says which variables are missing.

    Args:
      path: of the file.

    Raises:
      UserError: it is no GraphDef.
    """

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        graph = tf.compat.v1.GraphDef()
        try:
            graph.ParseFromString(path.read_bytes())
        except Exception as error:  # protobuf's DecodeError, whose home moves between versions
            raise UserError(f"{path}: not a frozen TensorFlow graph ({_first_line(error)})") from error
        self._constants = {
            node.name: node.attr["value"].tensor
            for node in graph.node
            if node.op == "Const" and node.name.rpartition("/")[2] in _LEAVES
        }
        self.shapes = {
            name: tuple(dimension.size for dimension in constant.tensor_shape.dim)
            for name, constant in sorted(self._constants.items())
        }

    def read(self, name: str) -> np.ndarray:
        """The constant `name`."""
        return tf.make_ndarray(self._constants[name])


def from_official_checkpoint(
    path: str | Path, output_stride: int = 16, num_classes: int | None = None, seed: int = 0
) -> keras.Model:
    """Loads an official DeepLab checkpoint as a Keras model; its variables say which network it is.

    >>> model = load_tf.from_official_checkpoint("mobilenetv2_coco_voc_trainaug")  # downloaded to ./checkpoints
    >>> model.output_shape
    (None, None, None, 21)

    Every variable of the model is filled and every variable of the checkpoint is used, or there is an error that names
    them. Momentum slots, exponential averages and `global_step` are not the model's.

    Args:
      path: a checkpoint's prefix (or one of its files), a folder that holds one, an archive of the model zoo
        (`.tar.gz`, unpacked beside itself), a frozen graph (`.pb`), or an archive's official name or address, which is
        downloaded to `checkpoints/` of the current folder unless it is there. See `fetch.checkpoint_path`.
      output_stride: 8, 16 or 32; published scores say which.
      num_classes: K; None for the checkpoint's. With another number than the checkpoint's the logits layer is left out
        and starts from fresh values.
      seed: of these.

    Returns:
      A model from RGB [B, H, W, 3] in [0, 255] to float32 logits before the last up-sampling, [B, h, w, K]: see
      `deeplab`.

    Raises:
      UserError: nothing is there, it is another network, or a variable is missing, left over or of another shape.
    """
    weights = open_weights(path)
    found = read_architecture(weights)
    wanted = num_classes or found.num_classes
    model = deeplab(Architecture(**{**vars(found), "num_classes": wanted}), output_stride, seed=seed)
    assign(model, weights, skip_logits=wanted != found.num_classes)
    return model


def open_weights(path: str | Path) -> Weights:
    """Finds the weights that a path, or an official archive's name, stands for: see `from_official_checkpoint`."""
    # Imported here because it is about files and networks, which nothing else in this module is.
    from load_tf.downloads.fetch import checkpoint_path

    beside = Path(path).expanduser().parent
    local = Path(path).expanduser().exists() and os.access(beside, os.W_OK)
    found = checkpoint_path(path, beside if local else _DOWNLOADS)
    return FrozenGraphWeights(found) if found.suffix == ".pb" else CheckpointWeights(found)


def read_architecture(weights: Weights) -> Architecture:
    """Which network has these variables.

    Raises:
      UserError: none that is known here; the sentence names what it is, as far as its scopes tell.
    """
    names, source = weights.shapes, weights.source
    scopes = {name.partition("/")[0] for name in names}
    known = [scope for scope in (*xception.VARIANTS, mobilenet_v2.SCOPE) if scope in scopes]
    if not known:
        other = [scope for scope in sorted(scopes) if scope.startswith(_UNKNOWN_NETWORKS)]
        what = other[0] if other else f"scopes {', '.join(sorted(scopes)[:5]) or '(none)'}"
        raise UserError(f"{source}: holds {what}; expected an {_ACCEPTED}")
    if "meta_architecture" in scopes:
        raise UserError(
            f"{source}: holds {known[0]} with a dense prediction cell (DPC); expected an {_ACCEPTED} with ASPP"
        )
    classes = names.get(f"{_LOGITS}biases", ())
    if len(classes) != 1:
        raise UserError(
            f"{source}: holds {known[0]} without {_LOGITS}biases, so not a segmentation network "
            f"(ImageNet weights?); expected an {_ACCEPTED}"
        )
    return Architecture(
        backbone=known[0],
        num_classes=int(classes[0]),
        channels=_mobilenet_channels(names) if known[0] == mobilenet_v2.SCOPE else (),
        image_pooling="image_pooling/weights" in names,
        atrous="aspp1_depthwise/depthwise_weights" in names,
        decoder="decoder/feature_projection0/weights" in names,
    )


def assign(model: keras.Model, weights: Weights, skip_logits: bool = False) -> None:
    """Fills all variables of a model by their official names; nothing is assigned unless all names and shapes fit.

    Args:
      model: from `deeplab`.
      weights: what to fill it with; float16 is widened.
      skip_logits: leave `logits/semantic` of the model and of the weights alone.

    Raises:
      UserError: names each variable that is missing, left over, of another shape, or not finite.
    """

    def counts(name: str) -> bool:
        return not (skip_logits and name.startswith(_LOGITS))

    variables = {name: variable for name, variable in official_variables(model).items() if counts(name)}
    shapes = {name: shape for name, shape in weights.shapes.items() if counts(name)}
    faults = [
        _listed("missing", (name for name in variables if name not in shapes)),
        _listed("left over", (name for name in shapes if name not in variables)),
        _listed(
            "of another shape",
            (
                f"{name} (checkpoint {list(shapes[name])}, model {list(variable.shape)})"
                for name, variable in variables.items()
                if name in shapes and shapes[name] != tuple(variable.shape)
            ),
        ),
    ]
    if any(faults):
        raise UserError(f"{weights.source}: does not fit the network it names: {'; '.join(filter(None, faults))}")
    for name, variable in variables.items():
        value = np.asarray(weights.read(name), np.float32)
        if not np.isfinite(value).all():
            raise UserError(f"{weights.source}: {name} holds NaN or infinite values; expected finite ones")
        variable.assign(value)


def _mobilenet_channels(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The channels of the depth multiplier that explains most of a checkpoint's shapes.

    Not simply the shapes: where one of them is wrong, the error should name it and not its neighbours.
    """
    scopes = [f"{mobilenet_v2.SCOPE}/Conv", *(f"{mobilenet_v2.block_scope(block)}/project" for block in range(17))]
    stored = [shapes.get(f"{scope}/weights", (0,))[-1] for scope in scopes]
    full = mobilenet_v2.channels_of(1.0)
    ratios = {round(channels / most, 2) for channels, most in zip(stored, full, strict=True) if channels}
    candidates = [mobilenet_v2.channels_of(ratio, divisor) for ratio in sorted(ratios) for divisor in (1, 8)]

    def agreement(channels: tuple[int, ...]) -> int:
        return sum(a == b for a, b in zip(channels, stored, strict=True))

    return max(candidates, key=agreement, default=full)


def _listed(what: str, names: Iterable[str]) -> str:
    listed = list(names)
    return f"{len(listed)} {what}: {', '.join(listed)}" if listed else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
