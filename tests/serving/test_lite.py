"""The TFLite file against the SavedModel it was made of, by an interpreter that knows neither Keras nor load_tf."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from load_tf.data.dataset import Example, ExampleList
from load_tf.data.synthetic import synthetic
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou
from load_tf.experiment import config
from load_tf.randomness import generator
from load_tf.serving import file_score, lite, loaded
from load_tf.serving.saved_model import export
from tests import forked, tiny

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


COLOURS = ((220, 40, 30), (40, 200, 60), (30, 60, 210), (230, 220, 50), (150, 150, 150))


@pytest.fixture(name="trained", scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A network that has learned in seconds to name the colours of `scene`: its arg-max has margins."""
    keras.utils.set_random_seed(5)
    images = keras.Input((None, None, 3))
    features = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    features = keras.layers.Conv2D(32, 3, strides=4, padding="same")(features)
    features = keras.layers.ReLU(6)(keras.layers.BatchNormalization()(features))
    features = keras.layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(features)
    features = keras.layers.Conv2D(64, 1)(features)
    features = keras.layers.ReLU(6)(keras.layers.BatchNormalization()(features))
    model = keras.Model(images, keras.layers.Conv2D(5, 1)(features))
    pictures = [scene(CROP, draw) for draw in range(64)]
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.stack([example.label[::4, ::4] for example in pictures])
    model.fit(np.stack([example.image for example in pictures]), labels, batch_size=8, epochs=6, verbose=0)
    folder = tmp_path_factory.mktemp("lite") / "trained"
    export(model, folder, crop=CROP, class_names=list("abcde"), colours=COLOURS)
    return model, folder


def scene(size: tuple[int, int], draw: int) -> Example:
    """Areas of the five colours, with noise; the label is which."""
    random = generator(draw, "scene")
    rows, columns = (np.arange(side) * 6 // side for side in size)
    label = random.integers(0, 5, (6, 6)).astype(np.uint8)[rows][:, columns]
    image = np.array(COLOURS)[label] + random.integers(-25, 26, (*size, 3))
    return Example(image.clip(0, 255).astype(np.uint8), label, f"scene {draw}")


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


LACKED = "the network uses ResizeBicubic in its layer 'enlarged', which TensorFlow Lite does not have; expected"


@pytest.fixture(scope="module")
def bicubic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with an operation that TensorFlow Lite lacks."""
    images = keras.Input((None, None, 3))
    coarse = keras.layers.Conv2D(5, 3, strides=2, padding="same")(images)
    model = keras.Model(images, keras.layers.UpSampling2D(2, interpolation="bicubic", name="enlarged")(coarse))
    folder = tmp_path_factory.mktemp("bicubic") / "model"
    export(model, folder, crop=CROP, class_names=list("abcde"), colours=COLOURS)
    return folder


def test_an_operation_that_tflite_lacks_is_named(bicubic: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=LACKED):
        lite.convert(loaded.load(bicubic))
    assert "ResizeBicubic" not in capfd.readouterr().err, "the converter's pages"


@pytest.mark.slow
def test_the_command_names_it_in_a_line(bicubic: Path, tmp_path: Path) -> None:
    refused = call(f"--saved_model={bicubic}", f"--output={tmp_path / 'model.tflite'}")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert LACKED in refused.stderr and refused.stderr.endswith("can be served as it is.\n")
    assert not (tmp_path / "model.tflite").exists()


def test_whatever_else_the_converter_says_is_a_line(
    saved_model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(self: object) -> bytes:
        os.write(2, b"pages of MLIR")
        raise RuntimeError("Quantization not yet supported\nfor this")

    monkeypatch.setattr(lite.tf.lite.TFLiteConverter, "from_concrete_functions", lambda *_: Converter())
    monkeypatch.setattr(Converter, "convert", fail)
    with pytest.raises(UserError, match="TensorFlow Lite can't convert the network: Quantization not yet supported;"):
        lite.convert(loaded.load(saved_model))
    os.write(2, b"read again")
    assert capfd.readouterr().err == "read again"


class Converter:
    """In place of TensorFlow's."""

    def convert(self) -> bytes:
        return b""


def call(*flags: str) -> subprocess.CompletedProcess[str]:
    return forked.run(["-m", "load_tf.export", *flags], ROOT, tiny.environment())


def test_a_file_in_the_place_of_its_class_names_is_refused(tmp_path: Path) -> None:
    refused = call("--run_dir=run", f"--output={tmp_path / 'model.json'}")
    assert refused.returncode == 2 and not list(tmp_path.iterdir())
    assert "model.json, where the class names go; expected another ending, e.g. model.tflite." in refused.stderr


def agreement(segmentor: loaded.LoadedSegmentor, content: bytes) -> float:
    """Share of pixels on which a file and its SavedModel agree, over scenes that neither was made with."""
    images = [scene(CROP, draw).image[np.newaxis] for draw in range(100, 108)]
    return float(np.mean([label_map(content, image) == segmentor.label_maps(image) for image in images]))


def test_int8_is_smaller_and_agrees_if_it_was_calibrated(trained: tuple[keras.Model, Path]) -> None:
    segmentor = loaded.load(trained[1])
    whole = lite.convert(segmentor)
    # Of another size than the file's: one is cut, one padded.
    calibration = [scene((80, 90), 200).image, scene((50, 120), 201).image, *(scene(CROP, d).image for d in range(8))]
    content = lite.convert(segmentor, quantization="int8", calibration=calibration)
    assert len(content) < len(whole)
    floats, eights = kinds(content)
    assert set(floats) <= {"image"} and {"activation", "weight"} <= set(eights)
    found = agreement(segmentor, content)
    assert found > 0.98
    # Ranges seen on black images fit no other.
    black = lite.convert(segmentor, quantization="int8", calibration=[np.zeros((*CROP, 3), np.uint8)])
    assert agreement(segmentor, black) < 0.5


def test_the_dynamic_range_is_of_the_weights_only(trained: tuple[keras.Model, Path]) -> None:
    segmentor = loaded.load(trained[1])
    content = lite.convert(segmentor, quantization="dynamic_range")
    assert len(content) < len(lite.convert(segmentor))
    floats, eights = kinds(content)
    assert "activation" in floats and set(eights) == {"weight"}
    assert agreement(segmentor, content) > 0.99


def kinds(content: bytes) -> tuple[set[str], set[str]]:
    """What a file holds in float32 and in int8: "image" (three channels), "activation", "weight"."""
    runner = interpreter(content)
    found: dict[type, set[str]] = {np.float32: set(), np.int8: set()}
    for tensor in runner.get_tensor_details():
        shape = tuple(tensor["shape"])
        if tensor["dtype"] in found and len(shape) >= 3 and max(shape) > 5:
            spatial = shape[-3:-1] in (CROP, (17, 25))
            kind = "image" if shape[-1] == 3 and spatial else "activation" if spatial else "weight"
            found[tensor["dtype"]].add(kind)
    return found[np.float32], found[np.int8]


def test_the_score_is_the_evaluators(trained: tuple[keras.Model, Path]) -> None:
    model, folder = trained
    segmentor = loaded.load(folder)
    examples = [scene(size, draw) for draw, size in enumerate([CROP, (40, 97), (64, 30)], 300)]
    examples = [Example(e.image, np.where(e.label == 4, 3, e.label), e.id) for e in examples]  # else it were 100 %
    content = lite.convert(segmentor, quantization="int8", calibration=[e.image for e in examples])
    file = lite.LiteSegmentor(content)
    too_large = scene((66, 97), 310)
    score = file_score.compare(segmentor, file, ExampleList([*examples, too_large]))
    assert (score.images, score.left_out) == (3, 1) and file.size == CROP
    expected = Evaluator(model, ExampleList(examples), CROP, 5).evaluate()
    assert score.saved_model_miou == pytest.approx(100 * mean_iou(expected), abs=0.05)
    assert abs(score.file_miou - score.saved_model_miou) < 2 and score.saved_model_miou < 90
    differing = pixels = 0
    for image, label, _ in examples:
        height, width = label.shape
        padded = np.full((1, *CROP, 3), 127, np.uint8)
        padded[0, :height, :width] = image
        maps = (segmentor.label_maps(image[np.newaxis])[0], label_map(content, padded)[0, :height, :width])
        differing, pixels = differing + int((maps[0] != maps[1]).sum()), pixels + label.size
    assert score.differing_pixels == pytest.approx(100 * differing / pixels)
    assert "3 images; 1 too large for the file were left out: mIoU" in score.text()
    with pytest.raises(UserError, match="all 1 images are larger than the 65 x 97"):
        file_score.compare(segmentor, file, ExampleList([too_large]))
    with pytest.raises(UserError, match="66 x 97"):
        file.label_map(too_large.image)


@pytest.mark.parametrize(("quantization", "message"), [("int8", "no images to calibrate"), ("int4", "'int4'")])
def test_a_quantization_that_cannot_be(saved_model: Path, quantization: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lite.convert(loaded.load(saved_model), quantization=quantization)


def test_the_command_writes_the_file_and_the_classes(saved_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "model.tflite"
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
        ([f"--saved_model={saved_model}", "--output=x", "--quantize=int8"], "needs --calibration"),
        ([f"--saved_model={saved_model}", "--output=x", f"--calibration={tmp_path}"], "is for --quantize=int8"),
        ([f"--saved_model={saved_model}", "--output=x", "--score"], "--score takes --run_dir"),
        (
            [f"--saved_model={saved_model}", "--output=x", "--quantize=int8", f"--calibration={tmp_path}/*.jpg"],
            "no image matches",
        ),
    ):
        refused = call(*flags)
        assert refused.returncode == 2 and expected in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_the_command_scores_a_file_on_the_data_of_its_run(tmp_path: Path) -> None:
    """The folder of a run, as far as it counts here: config and SavedModel."""
    run = tmp_path / "run"
    keras.utils.set_random_seed(6)
    images = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    features = keras.layers.Conv2D(32, 5, strides=4, padding="same", activation="relu")(scaled)
    data = synthetic(train=1, validation=3, size=(40, 60))
    names = {"class_names": data.class_names, "colours": data.colours}
    export(keras.Model(images, keras.layers.Conv2D(8, 1)(features)), run / "saved_model", crop=CROP, **names)
    config = "experiment.dataset = @synthetic()\nsynthetic.train = 1\nsynthetic.validation = 3\n"
    config += "synthetic.size = (40, 60)\nexperiment.segmentor = @small_deeplab\n"
    (run / "config.gin").write_text(config)
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        Image.fromarray(data.split("train")[0].image).save(photos / f"{index}.png")
    output = tmp_path / "model.tflite"
    flags = (f"--run_dir={run}", "--quantize=int8", f"--calibration={photos}", "--score", "--overwrite")
    done = call(*flags, f"--output={output}")
    assert done.returncode == 0, done.stderr
    score = json.loads(output.with_suffix(".json").read_text())["score"]
    assert score["images"] == 3 and 0 < score["tflite_miou"] < 100 and 0 < score["differing_pixels"] < 20
    assert f"mIoU {score['saved_model_miou']:.2f} of the SavedModel, {score['tflite_miou']:.2f} of the" in done.stdout
    (run / "config.gin").write_text(config.replace("@synthetic()", "@voc()"))
    refused = call(*flags, f"--output={output}")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert "'voc_segmentation' has other classes by now than the model" in refused.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no config.gin"),
        ("Lookahead.patience = 3\n", "names no data set"),
        ("experiment.dataset = @cubes()\n", "is not accepted"),
        ("import os\nexperiment.dataset = @synthetic()\n", "neither import nor include"),
    ],
)
def test_a_config_that_names_no_data(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.gin").write_text(text)
    with pytest.raises(UserError, match=message):
        config.parse_run_config(tmp_path)
