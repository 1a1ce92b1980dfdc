"""A SavedModel as an ONNX file, for ONNX Runtime and others: one image of one size in, its label map out."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from load_tf.errors import UserError, reason
from load_tf.segmentors import labelling
from load_tf.serving import one_size
from load_tf.serving.loaded import LoadedSegmentor

OPSET = 18
"""The newest that tf2onnx 1.17 writes; ONNX Runtime reads it since 1.14."""

_RESIZING = ("ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor")


def convert(segmentor: LoadedSegmentor, size: labelling.Size | None = None) -> bytes:
    """Converts a model with tf2onnx.

    Args:
      segmentor: the model, from `load_tf.serving.loaded.load`.
      size: (height, width) of the images; None: the crop.

    Returns:
      An ONNX file that ONNX's own checker accepts: `images` uint8 [1, H, W, 3], RGB -> `label_maps` uint8 [1, H, W],
      those of `serving_default` up to rounding.

    Raises:
      UserError: if tf2onnx or onnx is not installed, the size is out of range, the model is not one that load_tf
        exported, or the network has an operation that ONNX lacks.
    """
    size = one_size.checked_size(segmentor, size)
    function = one_size.function_of(segmentor, size)
    tf2onnx, onnx = (one_size.imported(name, "--format=onnx") for name in ("tf2onnx", "onnx"))
    handlers: dict[str, Any] = {operation: (_resize, []) for operation in _RESIZING}
    with _quiet(), one_size.without_the_screen():
        try:
            model, _ = tf2onnx.convert.from_function(
                function, input_signature=function.input_signature, opset=OPSET, custom_op_handlers=handlers
            )
            if missing := _missing(onnx, model):
                raise UserError(one_size.lacking(function, missing, "ONNX"))
            onnx.checker.check_model(model, full_check=True)
        except UserError as error:
            raise UserError(f"{error}; the SavedModel {segmentor.folder} can be served as it is.") from None
        except Exception as error:  # tf2onnx raises whatever its parts do.
            raise UserError(
                f"tf2onnx can't convert the network: {reason(error).rstrip('.')}; the SavedModel {segmentor.folder} "
                "can be served as it is."
            ) from error
    return bytes(model.SerializeToString())


class OnnxSegmentor:
    """A file of `convert` in use, by ONNX Runtime.

    Attributes:
      size: (height, width) of the images it takes; smaller ones are padded.
    """

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        """Reads a file.

        Args:
          content: the file.
          threads: how many it computes with; None: one for each core.

        Raises:
          UserError: if ONNX Runtime is not installed.
        """
        runtime = one_size.imported("onnxruntime", "using an ONNX file")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        _, height, width, _ = self._session.get_inputs()[0].shape
        self.size: labelling.Size = (height, width)

    def label_map(self, image: np.ndarray) -> np.ndarray:
        """uint8 [h, w] for uint8 [h, w, 3].

        Raises:
          UserError: if the image is larger than `size`.
        """
        height, width = image.shape[:2]
        (found,) = self._session.run(["label_maps"], {"images": one_size.fit(image, self.size)[np.newaxis]})
        return np.asarray(found)[0, :height, :width]


def _resize(context: Any, node: Any, name: str, _: list[Any]) -> None:
    """tf2onnx's own resizing, but to the size that is wanted.

    tf2onnx writes a factor in 32 bits, and runtimes round the product down: 17 rows times 1.9411764 are 32, not 33.
    """
    from tf2onnx.onnx_opset.nn import Resize

    Resize.version_11(context, node)
    transposed = context.get_node_by_name(name)
    _, height, width, _ = context.get_shape(transposed.output[0]) or [-1] * 4
    resized = transposed.inputs[0]
    images, region, *factors = resized.input
    if len(factors) != 1 or min(height, width) < 1:
        return  # The size was not known: then tf2onnx writes it in place of factors.
    batch, channels = context.get_shape(images)[:2]
    sizes = context.make_const(f"{name}_sizes", np.array([batch, channels, height, width], np.int64))
    none = context.make_const(f"{name}_no_factors", np.array([], np.float32))
    context.replace_inputs(resized, [images, region, none.output[0], sizes.output[0]])


def _missing(onnx: Any, model: Any) -> dict[str, None]:
    """The operations in a file that ONNX has not; tf2onnx leaves those of TensorFlow that it does not know."""
    found: dict[str, None] = {}
    for node in model.graph.node:
        if not node.domain and not onnx.defs.has(node.op_type):
            found[node.op_type] = None
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps tf2onnx's log to itself; what went wrong comes as an exception or is looked for in the file."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
