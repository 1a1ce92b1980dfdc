"""The TFLite file against the SavedModel it was made of, by an interpreter that knows neither Keras nor load_tf."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from load_tf.errors import UserError
from load_tf.randomness import generator
from load_tf.serving import lite, loaded
from load_tf.serving.saved_model import export

ROOT = Path(__file__).resolve().parents[2]
CROP = (65, 97)


@pytest.fixture(name="saved_model", scope="module")
def _saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What DeepLab is made of: strides, dilated depthwise convolutions, batch norm, image pooling, resizing."""
    keras.utils.set_random_seed(5)
    images = keras.Input((None, None, 3))
    features = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    features = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(features)
    features = keras.layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(features)
    features = keras.layers.BatchNormalization()(features)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(features)
    model = keras.Model(images, keras.layers.Conv2D(5, 1)(keras.layers.Subtract()([features, pooled])))
    folder = tmp_path_factory.mktemp("lite") / "model"
    export(model, folder, crop=CROP, class_names=list("abcde"), colours=[(k, 2 * k, 3 * k) for k in range(5)])
    return folder


def blocks(size: tuple[int, int], draw: int) -> np.ndarray:
    """A picture with areas: in noise a network sees the same everywhere."""
    colours = generator(draw, "lite image").integers(0, 256, (1, 6, 6, 3)).astype(np.uint8)
    rows, columns = (np.arange(side) * 6 // side for side in size)
    return colours[:, rows][:, :, columns]


def interpreter(content: bytes) -> Any:
    """LiteRT's interpreter, or the one in TensorFlow."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite import Interpreter  # type: ignore[no-redef]
    return Interpreter(model_content=content)


def label_map(content: bytes, image: np.ndarray) -> np.ndarray:
    runner = interpreter(content).get_signature_runner("serving_default")
    return np.asarray(runner(images=image)["label_maps"])


@pytest.mark.parametrize("size", [CROP, (47, 33), (70, 113)])
def test_it_gives_the_label_maps_of_the_saved_model(saved_model: Path, size: tuple[int, int]) -> None:
    segmentor = loaded.load(saved_model)
    content = lite.convert(segmentor, size)
    differing = pixels = 0
    for draw in range(3):
        image = blocks(size, draw)
        expected = segmentor.label_maps(image)
        found = label_map(content, image)
        assert found.shape == expected.shape and found.dtype == np.uint8
        assert len(np.unique(expected)) > 1, "else any constant would do"
        differing, pixels = differing + int((found != expected).sum()), pixels + expected.size
    # Sums in another order may turn a pixel whose two best classes are as good as equal.
    assert differing <= pixels / 1000


def test_sizes_out_of_range_are_named(saved_model: Path) -> None:
    with pytest.raises(UserError, match="100000 x 100000"):
        lite.convert(loaded.load(saved_model), (100_000, 100_000))


def test_the_command_writes_the_file_and_the_classes(saved_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "model.tflite"
    command = [sys.executable, "-m", "load_tf.export"]

    def call(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=300)

    done = call(f"--saved_model={saved_model}", f"--output={output}", "--height=40", "--width=50")
    assert done.returncode == 0, done.stderr
    assert "40 x 50" in done.stdout
    image = blocks((40, 50), 9)
    assert label_map(output.read_bytes(), image).shape == (1, 40, 50)
    assert [c["name"] for c in json.loads(output.with_suffix(".json").read_text())["classes"]] == list("abcde")
    for flags, expected in (
        ([f"--saved_model={saved_model}", f"--output={output}"], "exists already"),
        ([f"--saved_model={saved_model}", f"--run_dir={tmp_path}", "--output=x"], "either --run_dir or --saved_model"),
        ([f"--saved_model={saved_model}"], "--output is missing"),
        ([f"--run_dir={tmp_path}", f"--output={tmp_path / 'y'}"], "has the run ended?"),
    ):
        refused = call(*flags)
        assert refused.returncode == 2 and expected in refused.stderr and len(refused.stderr.splitlines()) == 1
