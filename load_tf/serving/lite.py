"""A SavedModel as a TFLite file, for phones and boards: one image of one size in, its label map out."""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from load_tf.errors import UserError, reason
from load_tf.segmentors import labelling
from load_tf.serving.loaded import LoadedSegmentor

QUANTIZATIONS = ("none", "dynamic_range", "int8")
"""Nothing; the weights only; weights and activations."""


def convert(
    segmentor: LoadedSegmentor,
    size: labelling.Size | None = None,
    *,
    quantization: str = "none",
    calibration: Iterable[np.ndarray] = (),
) -> bytes:
    """Converts a model; the file takes TensorFlow Lite's own operations only.

    The graph is traced anew for the one size: the exported signatures take images of any size, whose loops and checks
    have no counterpart in TFLite.

    Args:
      segmentor: the model, from `load_tf.serving.loaded.load`.
      size: (height, width) of the images; None: the crop.
      quantization: "none"; "dynamic_range": weights of 8 bits, arithmetic as the runtime likes; "int8": all from the
        scaling of the image to the arg-max in 8 bits, whose ranges are those seen on `calibration`.
      calibration: for "int8", images uint8 [H, W, 3] like those to come; of larger ones the middle is taken, smaller
        ones are padded.

    Returns:
      A TFLite file: `images` uint8 [1, H, W, 3], RGB -> `label_maps` uint8 [1, H, W]; not quantised, it gives the label
      maps of `serving_default`.

    Raises:
      UserError: if the size is out of range, the model is not one that load_tf exported, the quantization is unknown or
        has no images to calibrate with, or the network has an operation that TensorFlow Lite lacks.
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
    if quantization not in QUANTIZATIONS:
        raise UserError(f"the quantization is {quantization!r}; expected one of {', '.join(QUANTIZATIONS)}.")
    logits = getattr(segmentor.module, "_logits", None)
    if logits is None:
        raise UserError(f"the SavedModel {segmentor.folder} has no logits; expected one that load_tf exported.")
    padded = labelling.padded_size(height, width, segmentor.crop, segmentor.convention)

    @tf.function(input_signature=[tf.TensorSpec([1, height, width, 3], tf.uint8, name="images")])
    def label_maps(images: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = labelling.pad_image(images[0], padded)[tf.newaxis]
        batch = tf.ensure_shape(batch, [1, *padded, 3])
        return {"label_maps": labelling.label_maps(logits(batch), padded, segmentor.convention)[:, :height, :width]}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([label_maps.get_concrete_function()], segmentor.module)
    if quantization != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "int8":
        fitted = [fit(_middle(image, (height, width)), (height, width)) for image in calibration]
        if not fitted:
            raise UserError("int8 has no images to calibrate with; expected a few dozen like those to come.")
        converter.representative_dataset = lambda: ({"images": image[np.newaxis]} for image in fitted)
    with _without_the_notice(), _without_the_screen():
        try:
            return bytes(converter.convert())
        except Exception as error:  # The converter's own kinds, and whatever its parts raise.
            raise UserError(f"{_refusal(error)}; the SavedModel {segmentor.folder} can be served as it is.") from error


def fit(image: np.ndarray, size: labelling.Size) -> np.ndarray:
    """An image padded at the bottom and right with grey, for a file that takes images of one size only.

    The grey is half a level off `labelling.PADDING_VALUE`, which is no whole number.

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
            f"the image is {height} x {width} (height x width); this TFLite file takes at most {size[0]} x {size[1]}."
        )
    missing = ((0, size[0] - height), (0, size[1] - width), (0, 0))
    return np.pad(image, missing, constant_values=int(labelling.PADDING_VALUE))


class LiteSegmentor:
    """A TFLite file of `convert` in use.

    Attributes:
      size: (height, width) of the images it takes; smaller ones are padded.
    """

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        """Reads a file.

        Args:
          content: the file.
          threads: how many it computes with; None: one for each core.
        """
        with _without_the_notice():
            self._interpreter = tf.lite.Interpreter(model_content=content, num_threads=threads or os.cpu_count())
        self._interpreter.allocate_tensors()
        (taken,), (given,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._taken, self._given = taken["index"], given["index"]
        self.size: labelling.Size = tuple(taken["shape"][1:3].tolist())

    def label_map(self, image: np.ndarray) -> np.ndarray:
        """uint8 [h, w] for uint8 [h, w, 3].

        Raises:
          UserError: if the image is larger than `size`.
        """
        height, width = image.shape[:2]
        self._interpreter.set_tensor(self._taken, fit(image, self.size)[np.newaxis])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._given)[0, :height, :width]


@contextlib.contextmanager
def _without_the_notice() -> Iterator[None]:
    """The interpreter moves to a package of its own; TensorFlow 2.20 says so, but does not bring that along."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        yield


@contextlib.contextmanager
def _without_the_screen() -> Iterator[None]:
    """Drops what the converter's C++ prints: pages of the graph, of which the exception holds the line that counts."""
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


def _refusal(error: Exception) -> str:
    """Why a network has no TFLite file, without a full stop."""
    lines = re.findall(r"^(?:TF Select|Flex|Custom) ops: (.+)$", str(error), re.M)
    missing = dict.fromkeys(name.strip() for line in lines for name in line.split(",") if name.strip())
    if not missing:
        return f"TensorFlow Lite can't convert the network: {reason(error).rstrip('.')}"
    return (
        f"the network uses {', '.join(missing)}, which TensorFlow Lite does not have; expected operations of its own, "
        "such as bilinear resizing"
    )


def _middle(image: np.ndarray, size: labelling.Size) -> np.ndarray:
    """The middle of an image [H, W, 3], along the axes where it is larger than `size`."""
    top, left = (max(0, (have - want) // 2) for have, want in zip(image.shape, size, strict=False))
    return image[top : top + size[0], left : left + size[1]]
