"""The clients of docs/serving.md as they stand there, answered from an exported model by TensorFlow Serving's rules."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from load_tf.randomness import generator
from load_tf.serving import loaded
from load_tf.serving.saved_model import export
from tests import networks, pages
from tests.model_server import ModelServer

REST, GRPC, ALONE, _ = pages.blocks(pages.ROOT / "docs/serving.md", "python")
COLOURS = [(0, 0, 0), (9, 9, 9), (200, 0, 0)]


@pytest.fixture(name="version", scope="module")
def _version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client") / "runs/mine/saved_model"
    return export(networks.one_convolution(3, 8), folder, crop=(33, 49), class_names=["a", "b", "c"], colours=COLOURS)


@pytest.fixture(name="server", scope="module")
def _server(version: Path) -> ModelServer:
    return ModelServer(version)


@pytest.fixture(name="photo")
def _photo(version: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[np.ndarray]:
    """The folder the clients run in; its photo.jpg, decoded, uint8 [40, 58, 3]."""
    monkeypatch.chdir(version.parents[3])
    yield picture(40, 58)
    Path("photo.jpg").unlink()


def picture(height: int, width: int) -> np.ndarray:
    """Writes coloured patches as photo.jpg; returns its pixels."""
    patches = generator(3, "clients").integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    Image.fromarray(patches.repeat(8, 0).repeat(8, 1)[:height, :width]).save("photo.jpg")
    return tf.io.decode_jpeg(Path("photo.jpg").read_bytes(), channels=3).numpy()


def run(snippet: str, address: str, port: int) -> np.ndarray:
    """Runs a client against another port; returns its label map."""
    assert snippet.count(address) == 1
    names: dict[str, Any] = {}
    exec(compile(snippet.replace(address, f"localhost:{port}"), "docs/serving.md", "exec"), names)
    return np.array(names["label_map"])


def post(port: int, **request: Any) -> Any:
    """What the server says to a request in JSON."""
    url = f"http://localhost:{port}/v1/models/mine:predict"
    with urllib.request.urlopen(url, json.dumps(request).encode()) as answer:
        return json.load(answer)


def encoded() -> dict[str, str]:
    return {"b64": base64.b64encode(Path("photo.jpg").read_bytes()).decode()}


def test_rest(version: Path, server: ModelServer, photo: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    with server.rest() as port:
        label_map = run(REST, "localhost:8501", port)
    expected = loaded.load(version).label_maps(photo[np.newaxis])[0]
    assert len(np.unique(expected)) == 3
    np.testing.assert_array_equal(label_map, expected)
    assert capsys.readouterr().out == "40 rows of 58 labels\n"


def test_every_signature_fits_both_formats_of_rest(version: Path, server: ModelServer, photo: np.ndarray) -> None:
    """Rows are stacked and cut along a dimension of their own; columns are the tensors themselves."""
    maps, soft = loaded.load(version).probabilities(photo[np.newaxis])
    pixels = photo.tolist()
    with server.rest() as port:
        rows = post(port, instances=[pixels, pixels])["predictions"]
        np.testing.assert_array_equal(rows, [maps[0], maps[0]])
        np.testing.assert_array_equal(post(port, inputs=[pixels])["outputs"], maps)
        column = post(port, signature_name="encoded_image", inputs=encoded())["outputs"]
        np.testing.assert_array_equal(column, maps[0])
        (row,) = post(port, signature_name="probabilities", instances=[{"images": pixels}])["predictions"]
        np.testing.assert_array_equal(row["label_maps"], maps[0])
        np.testing.assert_allclose(row["probabilities"], soft[0], atol=1e-6)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"signature_name": "encoded_image", "instances": 2}, "takes one image a call; it was given 2"),
        ({"signature_name": "metadata", "instances": 1}, "Failed to get input map"),
        ({"signature_name": "else", "instances": 1}, "'else' not found"),
    ],
)
@pytest.mark.usefixtures("photo")
def test_what_rest_refuses(server: ModelServer, request_: dict[str, Any], expected: str) -> None:
    with server.rest() as port, pytest.raises(urllib.error.HTTPError) as refused:
        post(port, signature_name=request_["signature_name"], instances=[encoded()] * request_["instances"])
    assert refused.value.code == 400
    assert expected in json.load(refused.value)["error"]


@pytest.mark.parametrize(("height", "width"), [(40, 58), (2048, 2080)])
@pytest.mark.usefixtures("photo")
def test_grpc(version: Path, server: ModelServer, height: int, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The larger label map has more than the 4 MiB at which gRPC stops unless it is told not to."""
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api, of the extra dev")
    image = picture(height, width)
    with server.grpc() as port:
        label_map = run(GRPC, "localhost:8500", port)
    np.testing.assert_array_equal(label_map, loaded.load(version).label_maps(image[np.newaxis])[0])
    assert capsys.readouterr().out == f"({height}, {width})\n"


def test_without_a_server(version: Path, photo: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(ALONE, "docs/serving.md", "exec"), names)
    np.testing.assert_array_equal(names["label_map"], loaded.load(version).label_maps(photo[np.newaxis])[0])
    assert capsys.readouterr().out == "(40, 58)\n"
