"""A SavedModel as a TFLite file, for phones and boards: one image of one size in, its label map out."""

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from load_tf.errors import UserError, reason
from load_tf.segmentors import labelling
from load_tf.serving import one_size
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
    size = one_size.checked_size(segmentor, size)
    if quantization not in QUANTIZATIONS:
        raise UserError(f"the quantization is {quantization!r}; expected one of {', '.join(QUANTIZATIONS)}.")
    label_maps = one_size.function_of(segmentor, size)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([label_maps.get_concrete_function()], segmentor.module)
    if quantization != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "int8":
        fitted = [one_size.fit(_middle(image, size), size) for image in calibration]
        if not fitted:
            raise UserError("int8 has no images to calibrate with; expected a few dozen like those to come.")
        converter.representative_dataset = lambda: ({"images": image[np.newaxis]} for image in fitted)
    with _without_the_notice(), one_size.without_the_screen():
        try:
            return bytes(converter.convert())
        except Exception as error:  # The converter's own kinds, and whatever its parts raise.
            raise UserError(
                f"{_refusal(error, label_maps)}; the SavedModel {segmentor.folder} can be served as it is."
            ) from error


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
        self._interpreter.set_tensor(self._taken, one_size.fit(image, self.size)[np.newaxis])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._given)[0, :height, :width]


@contextlib.contextmanager
def _without_the_notice() -> Iterator[None]:
    """The interpreter moves to a package of its own; TensorFlow 2.20 says so, but does not bring that along."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        yield


def _refusal(error: Exception, label_maps: tf.types.experimental.PolymorphicFunction) -> str:
    """Why a network has no TFLite file, without a full stop."""
    missing = one_size.names_in(str(error), "^(?:TF Select|Flex|Custom) ops: ")
    if not missing:
        return f"TensorFlow Lite can't convert the network: {reason(error).rstrip('.')}"
    return one_size.lacking(label_maps, missing, "TensorFlow Lite")


def _middle(image: np.ndarray, size: labelling.Size) -> np.ndarray:
    """The middle of an image [H, W, 3], along the axes where it is larger than `size`."""
    top, left = (max(0, (have - want) // 2) for have, want in zip(image.shape, size, strict=False))
    return image[top : top + size[0], left : left + size[1]]
