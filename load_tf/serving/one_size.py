"""A SavedModel for images of one size: what all other runtimes are given, and what their files have in common.

The graph is traced anew for the one size: the exported signatures take images of any size, whose loops and checks have
no counterpart elsewhere. With every size known beforehand, also those of resized maps, other runtimes' converters
have nothing left to guess.
"""

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Collection, Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from load_tf.errors import UserError
from load_tf.segmentors import labelling
from load_tf.serving.loaded import LoadedSegmentor


class FileSegmentor(Protocol):
    """A file of another runtime in use.

    Attributes:
      size: (height, width) of the images it takes; smaller ones are padded.
    """

    size: labelling.Size

    def label_map(self, image: np.ndarray) -> np.ndarray:
        """uint8 [h, w] for uint8 [h, w, 3]."""
        ...


def checked_size(segmentor: LoadedSegmentor, size: labelling.Size | None) -> labelling.Size:
    """The size of the images that a file is made for.

    Args:
      segmentor: the model.
      size: (height, width); None: the crop.

    Raises:
      UserError: if the model takes no images of that size.
    """
    height, width = size or segmentor.crop
    if min(height, width) < 1 or height * width > segmentor.max_pixels:
        raise UserError(
            f"the size is {height} x {width} (height x width); expected at least 1 x 1 and at most "
            f"{segmentor.max_pixels} pixels."
        )
    if segmentor.largest is not None and (height > segmentor.largest[0] or width > segmentor.largest[1]):
        raise UserError(
            f"the size is {height} x {width} (height x width), but the model's network takes images of at most "
            f"{segmentor.largest[0]} x {segmentor.largest[1]}."
        )
    return height, width


def function_of(segmentor: LoadedSegmentor, size: labelling.Size) -> tf.types.experimental.PolymorphicFunction:
    """The model as a function of one image of one size.

    Args:
      segmentor: the model; its `module` has to outlive the function.
      size: (height, width) in pixels, as `checked_size` gives it.

    Returns:
      `images` uint8 [1, H, W, 3], RGB -> `label_maps` uint8 [1, H, W], those of `serving_default`. What the network
      needs beyond H x W is padded inside, with the exact `labelling.PADDING_VALUE`.

    Raises:
      UserError: if the model is not one that load_tf exported.
    """
    logits = getattr(segmentor.module, "_logits", None)
    if logits is None:
        raise UserError(f"the SavedModel {segmentor.folder} has no logits; expected one that load_tf exported.")
    height, width = size
    padded = labelling.padded_size(height, width, segmentor.crop, segmentor.convention)

    @tf.function(input_signature=[tf.TensorSpec([1, height, width, 3], tf.uint8, name="images")])
    def label_maps(images: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = labelling.pad_image(images[0], padded)[tf.newaxis]
        batch = tf.ensure_shape(batch, [1, *padded, 3])
        return {"label_maps": labelling.label_maps(logits(batch), padded, segmentor.convention)[:, :height, :width]}

    return label_maps


def fit(image: np.ndarray, size: labelling.Size) -> np.ndarray:
    """An image padded at the bottom and right with grey, for a file that takes images of one size only.

    The grey is half a level off `labelling.PADDING_VALUE`, which is no whole number. That is enough to turn
    a label where two classes are nearly alike: docs/serving.md has the numbers.

    Args:
      image: uint8 [h, w, 3].
      size: (height, width) of the result.

    Returns:
      uint8 [*size, 3].

    Raises:
      UserError: if the image is larger.
    """
    height, width = image.shape[:2]
    if height > size[0] or width > size[1]:
        raise UserError(
            f"the image is {height} x {width} (height x width); the exported file takes at most {size[0]} x {size[1]}."
        )
    missing = ((0, size[0] - height), (0, size[1] - width), (0, 0))
    return np.pad(image, missing, constant_values=int(labelling.PADDING_VALUE))


def imported(module: str, form: str) -> Any:
    """A package of the extra `export`.

    Args:
      module: its name in Python.
      form: the format it is for, for the sentence.

    Raises:
      UserError: naming the extra, if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(f"{form} takes the package {module}: pip install 'load-tf[export]'.") from None


def lacking(function: tf.types.experimental.PolymorphicFunction, operations: Collection[str], runtime: str) -> str:
    """The sentence, without a full stop, for operations that a runtime does not have.

    Args:
      function: from `function_of`.
      operations: their names in TensorFlow.
      runtime: its name.
    """
    graph = function.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    found = dict.fromkeys(f"{node.op} in {_layer(node.name)}" for node in nodes if node.op in operations) or operations
    return (
        f"the network uses {', '.join(found)}, which {runtime} does not have; expected operations of its own, such as "
        "bilinear resizing"
    )


def _layer(node: str) -> str:
    """The layer that a node of an exported network comes from, in words.

    Keras opens a scope for each model and each layer in it. Where a network is folded and traced for export, each of
    these names ends with "_1", and scopes that operations open within a layer do not. Models are named anew then, so
    only the innermost name is one that the user knows.
    """
    scopes = [scope for scope in node.split("/")[:-1] if scope != "StatefulPartitionedCall"]
    layers = [scope.removesuffix("_1").removesuffix("_any_size") for scope in scopes[1:] if scope.endswith("_1")]
    name = (layers or scopes[1:2] or scopes or [""])[-1]
    return f"its layer {name!r}" if name else f"its operation {node!r}"


@contextlib.contextmanager
def without_the_screen() -> Iterator[None]:
    """Drops what a converter's C++ prints: pages of the graph, of which the exception holds the line that counts."""
    sys.stderr.flush()
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def names_in(text: str, opening: str) -> dict[str, None]:
    """The names behind every `opening` in a converter's message, e.g. "A, B" behind "Flex ops: ", in their order."""
    lines = re.findall(rf"(?:{opening})(.+)$", text, re.M)
    return dict.fromkeys(name.strip() for line in lines for name in line.split(",") if name.strip())
