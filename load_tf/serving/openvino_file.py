"""A SavedModel as OpenVINO's two files, for Intel's processors: one image of one size in, its label map out."""

import os
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from load_tf.errors import UserError, reason
from load_tf.segmentors import labelling
from load_tf.serving import one_size
from load_tf.serving.loaded import LoadedSegmentor


def convert(segmentor: LoadedSegmentor, size: labelling.Size | None = None) -> tuple[bytes, bytes]:
    """Converts a model with OpenVINO's own reader of SavedModels.

    Args:
      segmentor: the model, from `load_tf.serving.loaded.load`.
      size: (height, width) of the images; None: the crop.

    Returns:
      The `.xml` and the `.bin` file, weights float32: `images` uint8 [1, H, W, 3], RGB -> `label_maps` uint8 [1, H, W],
      those of `serving_default` up to rounding.

    Raises:
      UserError: if OpenVINO is not installed, the size is out of range, the model is not one that load_tf exported, or
        the network has an operation that OpenVINO lacks.
    """
    size = one_size.checked_size(segmentor, size)
    function = one_size.function_of(segmentor, size)
    openvino = one_size.imported("openvino", "--format=openvino")
    with tempfile.TemporaryDirectory() as name, one_size.without_the_screen():
        folder = Path(name)
        tf.saved_model.save(segmentor.module, str(folder / "model"), signatures=function.get_concrete_function())
        try:
            model = openvino.convert_model(str(folder / "model"))
            # Not in 16 bits, as it would by default: the labels are to be the SavedModel's.
            openvino.save_model(model, str(folder / "model.xml"), compress_to_fp16=False)
        except Exception as error:  # OpenVINO's own kinds.
            missing = one_size.names_in(str(error), "No conversion rule found for operations: ")
            sentence = one_size.lacking(function, missing, "OpenVINO") if missing else None
            sentence = sentence or f"OpenVINO can't convert the network: {reason(error).rstrip('.')}"
            raise UserError(f"{sentence}; the SavedModel {segmentor.folder} can be served as it is.") from error
        return (folder / "model.xml").read_bytes(), (folder / "model.bin").read_bytes()


class OpenVinoSegmentor:
    """Files of `convert` in use, on the CPU, in float32.

    Attributes:
      size: (height, width) of the images it takes; smaller ones are padded.
    """

    def __init__(self, xml: bytes, weights: bytes, threads: int | None = None) -> None:
        """Reads the files.

        Args:
          xml: the `.xml` file.
          weights: the `.bin` file.
          threads: how many it computes with; None: one for each core.

        Raises:
          UserError: if OpenVINO is not installed.
        """
        openvino = one_size.imported("openvino", "using OpenVINO's files")
        core = openvino.Core()
        # Where a processor has them, OpenVINO computes in bfloat16 unless it is told not to.
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads or os.cpu_count() or 1}
        self._compiled = core.compile_model(core.read_model(xml, weights), "CPU", options)
        _, height, width, _ = self._compiled.inputs[0].shape
        self.size: labelling.Size = (int(height), int(width))

    def label_map(self, image: np.ndarray) -> np.ndarray:
        """uint8 [h, w] for uint8 [h, w, 3].

        Raises:
          UserError: if the image is larger than `size`.
        """
        height, width = image.shape[:2]
        found = self._compiled(one_size.fit(image, self.size)[np.newaxis])["label_maps"]
        return np.asarray(found)[0, :height, :width]
