"""The warm-up file as TensorFlow Serving reads it: messages declared here from its .proto files, parsed by protobuf."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

from load_tf.serving import loaded, warmup
from load_tf.serving.saved_model import export

BYTES, MESSAGE, STRING, INT64 = 12, 11, 9, 3
FIELDS: dict[str, list[tuple[str, int, int, str | None, bool]]] = {
    # name, number, type, message, repeated; from prediction_log.proto, predict.proto and model.proto
    "ModelSpec": [("name", 1, STRING, None, False), ("signature_name", 3, STRING, None, False)],
    "Input": [("key", 1, STRING, None, False), ("value", 2, BYTES, None, False)],
    "PredictRequest": [("model_spec", 1, MESSAGE, "ModelSpec", False), ("inputs", 2, MESSAGE, "Input", True)],
    "PredictLog": [("request", 1, MESSAGE, "PredictRequest", False)],
    "PredictionLog": [("predict_log", 6, MESSAGE, "PredictLog", False)],
}


def prediction_log_class() -> Any:
    """The message class, built by protobuf itself."""
    file = descriptor_pb2.FileDescriptorProto(name="warmup_test.proto", package="warmup", syntax="proto3")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind, kind_name, repeated in fields:
            added = message.field.add(name=field, number=number, type=kind, label=3 if repeated else 1)
            if kind_name:
                added.type_name = f".warmup.{kind_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("warmup.PredictionLog"))


@pytest.fixture(name="version", scope="module")
def _version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(2)
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.Conv2D(3, 3, strides=4, padding="same")(images))
    colours = [(0, 0, 0), (9, 9, 9), (200, 0, 0)]
    return export(model, tmp_path_factory.mktemp("model"), crop=(33, 49), class_names=["a", "b", "c"], colours=colours)


def test_the_requests_are_read_by_protobuf_and_answered_by_the_model(version: Path) -> None:
    file = version / "assets.extra" / warmup.FILE
    assert file.name == "tf_serving_warmup_requests" and file.stat().st_size < 2000
    model = loaded.load(version).module
    log_class = prediction_log_class()
    answered = {}
    for record in tf.data.TFRecordDataset(str(file)):
        log = log_class.FromString(record.numpy())
        assert log.SerializeToString() == record.numpy(), "no field beside those declared"
        spec, inputs = log.predict_log.request.model_spec, log.predict_log.request.inputs
        tensors = {i.key: tf.make_ndarray(tensor_pb2.TensorProto.FromString(i.value)) for i in inputs}
        outputs = model.signatures[spec.signature_name](**{name: tf.constant(t) for name, t in tensors.items()})
        answered[spec.signature_name] = outputs["label_maps"].numpy()
    assert set(answered) == {"serving_default", "probabilities", "encoded_image"}
    grey = np.full((1, 33, 49, 3), 127, np.uint8)
    for label_map in answered.values():
        np.testing.assert_array_equal(label_map, loaded.load(version).label_maps(grey))


def test_long_fields_have_lengths_of_several_bytes() -> None:
    content = bytes(range(256)) * 300
    log = prediction_log_class().FromString(warmup.prediction_log("s" * 200, {"x": content, "y": b""}, model="m"))
    request = log.predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "s" * 200)
    assert {i.key: i.value for i in request.inputs} == {"x": content, "y": b""}
