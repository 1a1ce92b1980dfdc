"""TensorFlow Serving as its clients see it, in this process: for the tests of what docs/serving.md tells them to send.

As in the server, a model is a graph in a session: tensors go in and come out by the names in the signature. JSON
follows the server's `util/json_tensor.cc`: "instances" are stacked along a new first dimension and "predictions" are
cut along it; "inputs" and "outputs" are the tensors as they are; the name of an only input or output is left out.
"""

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2


class ModelServer:
    """One version of a model, called "mine"."""

    def __init__(self, version: Path) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            self.signatures = tf.compat.v1.saved_model.load(self._session, ["serve"], str(version)).signature_def

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature, the default one where its name is empty.

        Raises:
          ValueError: if there is none of this name, or it has other inputs.
          tf.errors.OpError: if the model refuses the inputs.
        """
        definition = self._definition(signature)
        if set(inputs) != set(definition.inputs):
            raise ValueError(f"the inputs are {sorted(inputs)}; expected {sorted(definition.inputs)}")
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        return self._session.run({name: output.name for name, output in definition.outputs.items()}, feeds)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answers the JSON of a `:predict` request.

        Raises:
          ValueError, tf.errors.OpError: as `predict`.
        """
        definition = self._definition(request.get("signature_name", ""))
        if not definition.inputs:
            raise ValueError("Failed to get input map for signature")
        rows = "instances" in request
        values: Any = request["instances"] if rows else request["inputs"]
        example = values[0] if rows else values
        if not isinstance(example, dict) or set(example) == {"b64"}:
            (name,) = definition.inputs
            values = [{name: value} for value in values] if rows else {name: values}
        if rows:
            values = {name: [row[name] for row in values] for name in definition.inputs}
        inputs = {
            name: np.array(_decoded(value), tf.as_dtype(definition.inputs[name].dtype).as_numpy_dtype)
            for name, value in values.items()
        }
        outputs = {name: value for name, value in self.predict(request.get("signature_name", ""), inputs).items()}
        if not rows:
            columns = {name: value.tolist() for name, value in outputs.items()}
            return {"outputs": columns if len(columns) > 1 else columns.popitem()[1]}
        if any(value.ndim == 0 for value in outputs.values()) or len({len(value) for value in outputs.values()}) > 1:
            raise ValueError(f"outputs of shapes {[value.shape for value in outputs.values()]} have no common batch")
        cut = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
        predictions = [{name: value.tolist() for name, value in row.items()} for row in cut]
        return {"predictions": predictions if len(outputs) > 1 else [row.popitem()[1] for row in predictions]}

    def _definition(self, signature: str) -> Any:
        name = signature or "serving_default"
        if name not in self.signatures:
            raise ValueError(f"Serving signature name: {name!r} not found in signature def")
        return self.signatures[name]

    @contextlib.contextmanager
    def rest(self) -> Iterator[int]:
        """Listens for JSON; gives the port."""
        answer = self.answer

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    if self.path != "/v1/models/mine:predict":
                        raise ValueError(f"Malformed request: POST {self.path}")
                    status, content = 200, answer(json.loads(body))
                except (ValueError, tf.errors.OpError) as error:
                    status, content = 400, {"error": str(error)}
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()

    @contextlib.contextmanager
    def grpc(self) -> Iterator[int]:
        """Listens for the prediction service's calls; gives the port. Needs tensorflow-serving-api."""
        import grpc
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        predict = self.predict

        class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
            def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
                try:
                    if request.model_spec.name != "mine":
                        raise ValueError(f"Servable not found for request: Latest({request.model_spec.name})")
                    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                    outputs = predict(request.model_spec.signature_name, inputs)
                except (ValueError, tf.errors.OpError) as error:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
                response = predict_pb2.PredictResponse(model_spec=request.model_spec)
                for name, value in outputs.items():
                    response.outputs[name].CopyFrom(_by_field(value))
                return response

        server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", 2**31 - 1)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
        port = server.add_insecure_port("localhost:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def _decoded(value: Any) -> Any:
    """JSON with its {"b64": ...} objects as bytes."""
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    return base64.b64decode(value["b64"], validate=True) if isinstance(value, dict) else value


def _by_field(value: np.ndarray) -> tensor_pb2.TensorProto:
    """A tensor as the server sends it: numbers in a field of their type, not as the bytes of `tensor_content`."""
    tensor = tf.make_tensor_proto(value)
    if value.dtype == np.uint8:
        tensor.tensor_content = b""
        tensor.int_val.extend(value.ravel().tolist())
    return tensor
