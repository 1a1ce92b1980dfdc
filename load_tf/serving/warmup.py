"""Warm-up requests for TensorFlow Serving: what it sends a model before the first client does.

The first call of a graph takes seconds, in which memory is allocated and kernels are chosen. TensorFlow Serving replays
`assets.extra/tf_serving_warmup_requests`, a TFRecord file of `PredictionLog` messages, before it calls a model ready.
The few fields that takes are encoded here by their public numbers (tensorflow/serving, `tensorflow_serving/apis/`), so
that no server package is needed to export:

    PredictionLog.predict_log = 6;  PredictLog.request = 1;  PredictRequest.model_spec = 1, inputs = 2 (a map);
    ModelSpec.name = 1, signature_name = 3;  a map's entry: key = 1, value = 2.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from load_tf.segmentors.labelling import Size

FILE = "tf_serving_warmup_requests"
"""The name TensorFlow Serving looks for in `assets.extra`."""


def write(folder: Path, crop: Size) -> None:
    """Writes a request for every signature that clients call: a grey image, and the same as PNG.

    Args:
      folder: `assets.extra` of a SavedModel.
      crop: (height, width) of the image.
    """
    # One value stands for all of a tensor whose elements are equal, which keeps the file small.
    grey = tf.make_tensor_proto(np.uint8(127), shape=[1, *crop, 3])
    picture = io.BytesIO()
    Image.new("RGB", (crop[1], crop[0]), (127, 127, 127)).save(picture, "PNG")
    encoded = tf.make_tensor_proto([picture.getvalue()], dtype=tf.string)
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for signature, inputs in (
            ("serving_default", {"images": grey}),
            ("probabilities", {"images": grey}),
            ("encoded_image", {"image_bytes": encoded}),
        ):
            writer.write(prediction_log(signature, {name: t.SerializeToString() for name, t in inputs.items()}))


def prediction_log(signature: str, inputs: Mapping[str, bytes], model: str = "") -> bytes:
    """A `PredictionLog` of one predict request.

    Args:
      signature: its name.
      inputs: a serialized `TensorProto` for every input.
      model: the model's name; the server takes its own where it is empty.
    """
    spec = _field(1, model.encode()) if model else b""
    request = _field(1, spec + _field(3, signature.encode()))
    for name, tensor in inputs.items():
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer (wire type 2)."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
