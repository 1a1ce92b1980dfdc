"""The warm-up file as TensorFlow Serving reads it: by its own messages, replayed to a session with the model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from load_tf.serving import loaded, warmup
from load_tf.serving.saved_model import export
from tests import networks
from tests.model_server import ModelServer

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api, of the extra dev")


def parsed(content: bytes) -> Any:
    """A `PredictionLog`, all of whose fields its .proto file knows."""
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog.FromString(content)
    log.DiscardUnknownFields()
    assert log.ByteSize() == len(content)
    return log


@pytest.fixture(name="version", scope="module")
def _version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = networks.one_convolution(3)
    colours = [(0, 0, 0), (9, 9, 9), (200, 0, 0)]
    return export(model, tmp_path_factory.mktemp("model"), crop=(33, 49), class_names=["a", "b", "c"], colours=colours)


def test_the_requests_are_read_and_answered(version: Path) -> None:
    file = version / "assets.extra" / warmup.FILE
    assert file.name == "tf_serving_warmup_requests" and file.stat().st_size < 2000
    server = ModelServer(version)
    answered = {}
    for record in tf.data.TFRecordDataset(str(file)):
        log = parsed(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        signature = request.model_spec.signature_name
        answered[signature] = server.predict(signature, inputs)["label_maps"]
    assert set(answered) == {"serving_default", "probabilities", "encoded_image"}
    grey = np.full((1, 33, 49, 3), 127, np.uint8)
    for label_map in answered.values():
        np.testing.assert_array_equal(label_map, loaded.load(version).label_maps(grey))


def test_long_fields_have_lengths_of_several_bytes() -> None:
    tensor = tf.make_tensor_proto(np.arange(70_000) % 251)
    inputs = {"x": tensor.SerializeToString(), "y": b""}
    request = parsed(warmup.prediction_log("s" * 200, inputs, model="m")).predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "s" * 200)
    assert set(request.inputs) == {"x", "y"}
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["x"]), np.arange(70_000) % 251)
