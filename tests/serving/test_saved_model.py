"""The exported model against the Python path, pixel by pixel, in a process that has TensorFlow alone."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from load_tf.data.decoding import decode_image
from load_tf.errors import UserError
from load_tf.randomness import generator
from load_tf.segmentors import labelling
from load_tf.serving import graph
from load_tf.serving.loaded import find, load
from load_tf.serving.saved_model import export
from tests import networks

CLASS_NAMES = ("background", "aéroplane", "chat", "犬", "sofa")
COLOURS = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (10, 20, 255), (192, 0, 128))
CROPS = ((65, 97), (513, 513))
SIZES = ((1, 1), (47, 33), (65, 97), (66, 97), (100, 81), (375, 500), (600, 700))

LOADING = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "load_tf":
            raise ImportError("load_tf is not here")
sys.meta_path.insert(0, Refuse())
import numpy as np
import tensorflow as tf
inputs, *folders = sys.argv[1:]
for folder in folders:
    model = tf.saved_model.load(folder)
    results = {}
    for name, image in np.load(inputs).items():
        results[name] = model.signatures["serving_default"](images=tf.constant(image))["label_maps"].numpy()
        if "encoded" in name:
            encoded = tf.io.encode_png(image[0])
            results[name + "_png"] = model.signatures["encoded_image"](image_bytes=encoded)["label_maps"].numpy()
    for name, value in model.signatures["metadata"]().items():
        results[name] = value.numpy()
    results["class_names"] = np.array([name.decode() for name in results["class_names"]])
    assert "load_tf" not in sys.modules
    np.savez(folder + ".npz", **results)
"""


def tiny_segmentor() -> keras.Model:
    """Four convolutions, output stride 16, batch norm with statistics of its own."""
    return networks.strided(len(CLASS_NAMES), (8, 4), (12, 2), (16, 2))


def picture(height: int, width: int, purpose: str = "picture") -> np.ndarray:
    """Coloured blobs with noise, uint8 [H, W, 3]."""
    draws = generator(11, purpose, height, width)
    coarse = draws.uniform(0, 255, (1, height // 24 + 2, width // 24 + 2, 3)).astype(np.float32)
    image = tf.image.resize(coarse, (height, width), "bicubic")[0].numpy() + draws.normal(0, 12, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def python_path(
    model: keras.Model, image: np.ndarray, crop: labelling.Size, grey: float = labelling.PADDING_VALUE
) -> np.ndarray:
    """The label map as the evaluator makes it, padded here in numpy. Returns uint8 [H, W]."""
    height, width = image.shape[:2]
    size = labelling.padded_size(height, width, crop)
    padded = np.full((1, *size, 3), grey, np.float32)
    padded[0, :height, :width] = image
    return labelling.label_maps(model(padded, training=False), size).numpy()[0, :height, :width]


def assert_agree(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    assert (found != expected).sum() <= max(3, 1e-4 * expected.size)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return tiny_segmentor()


@pytest.fixture(scope="module")
def exported(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> dict[labelling.Size, Path]:
    folder = tmp_path_factory.mktemp("exported")
    return {
        crop: export(model, folder / str(crop[0]), crop=crop, class_names=CLASS_NAMES, colours=COLOURS)
        for crop in CROPS
    }


Images = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def alone(
    exported: dict[labelling.Size, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Images, dict[labelling.Size, Images]]:
    """Batches of images, and what every model says of them in a process that can't import load_tf."""
    folder = tmp_path_factory.mktemp("alone")
    images = {f"{height}_{width}": picture(height, width)[np.newaxis] for height, width in SIZES}
    images["batch"] = np.stack([picture(47, 33, f"batch {i}") for i in range(3)])
    images["encoded"] = picture(90, 50)[np.newaxis]
    np.savez(folder / "inputs.npz", **images)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", LOADING, folder / "inputs.npz", *exported.values()],
        cwd=folder,
        env=environment,
        check=True,
        timeout=120,
    )
    return images, {crop: dict(np.load(path.with_name(f"{path.name}.npz"))) for crop, path in exported.items()}


@pytest.mark.parametrize("crop", CROPS)
def test_agrees_where_load_tf_cannot_be_imported(
    model: keras.Model, alone: tuple[Images, dict[labelling.Size, Images]], crop: labelling.Size
) -> None:
    images, results = alone[0], alone[1][crop]
    for name, batch in images.items():
        expected = np.stack([python_path(model, image, crop) for image in batch])
        assert_agree(results[name], expected)
        if batch.size > 10_000:
            assert len(np.unique(expected)) >= 3
    np.testing.assert_array_equal(results["encoded_png"], results["encoded"][0])
    assert tuple(results["class_names"]) == CLASS_NAMES
    np.testing.assert_array_equal(results["colours"], np.array(COLOURS))
    assert tuple(results["crop"]) == crop


def test_agreement_would_notice_other_padding_or_resizing(model: keras.Model) -> None:
    image = picture(47, 33)
    expected = python_path(model, image, (65, 97))
    assert (python_path(model, image, (65, 97), grey=0.0) != expected).sum() > 3
    padded = labelling.pad_image(tf.constant(image), (65, 97))[tf.newaxis]
    half_pixel = tf.argmax(tf.image.resize(model(padded, training=False), (65, 97)), axis=-1)[0, :47, :33].numpy()
    assert (half_pixel != expected).sum() > 3


def test_probabilities_are_the_softmax_of_the_upsampled_logits(
    model: keras.Model, exported: dict[labelling.Size, Path]
) -> None:
    images = np.stack([picture(70, 50, f"probabilities {i}") for i in range(2)])
    maps, soft = load(exported[65, 97]).probabilities(images)
    assert soft.dtype == np.float32
    assert soft.shape == (2, 70, 50, 5)
    for image, label_map, probabilities in zip(images, maps, soft, strict=True):
        assert_agree(label_map, python_path(model, image, (65, 97)))
        np.testing.assert_array_equal(np.argmax(probabilities, axis=-1), label_map)
        padded = np.full((1, 81, 97, 3), 127.5, np.float32)
        padded[0, :70, :50] = image
        expected = _softmax(_aligned_corners(model(padded, training=False).numpy()[0], (81, 97)))[:70, :50]
        np.testing.assert_allclose(probabilities, expected, atol=1e-4)


def _aligned_corners(logits: np.ndarray, size: labelling.Size) -> np.ndarray:
    """Bilinear resizing [h, w, K] -> [H, W, K] in which the corner pixels' centres coincide, in float64."""
    values = logits.astype(np.float64)
    for axis, target in enumerate(size):
        place = np.arange(target) * (values.shape[axis] - 1) / (target - 1)
        low = np.minimum(np.floor(place).astype(int), values.shape[axis] - 2)
        share = np.expand_dims(place - low, tuple(i for i in range(3) if i != axis))
        values = np.take(values, low, axis) * (1 - share) + np.take(values, low + 1, axis) * share
    return values


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def test_encoded_image_is_the_decoded_image(exported: dict[labelling.Size, Path]) -> None:
    signatures = load(exported[65, 97]).module.signatures
    grey = picture(40, 72)[..., :1]
    encodings = {
        "jpeg": tf.io.encode_jpeg(picture(40, 72), quality=80),
        "png": tf.io.encode_png(picture(40, 72)),
        "grey jpeg": tf.io.encode_jpeg(grey),
    }
    for encoded in encodings.values():
        decoded = tf.io.decode_image(encoded, channels=3)[tf.newaxis]
        expected = signatures["serving_default"](images=decoded)["label_maps"].numpy()
        # REST: {"inputs": {"b64": ...}} is a scalar; {"instances": [{"b64": ...}]} a vector, and wants one back.
        scalar = signatures["encoded_image"](image_bytes=encoded)["label_maps"].numpy()
        vector = signatures["encoded_image"](image_bytes=encoded[tf.newaxis])["label_maps"].numpy()
        np.testing.assert_array_equal(scalar, expected[0])
        np.testing.assert_array_equal(vector, expected)
    png = encodings["png"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="one image a call; it was given 2"):
        signatures["encoded_image"](image_bytes=tf.stack([png, png]))


def test_a_bmp_with_colours_is_refused_as_everywhere() -> None:
    """TensorFlow's decoder takes the numbers of its palette for greys, without a word."""

    def encoded(image: Image.Image) -> bytes:
        stream = io.BytesIO()
        image.save(stream, "BMP")
        return stream.getvalue()

    colours = Image.fromarray(picture(40, 72)).quantize(16)
    data = encoded(colours)
    wrong = tf.io.decode_image(data, channels=3).numpy()
    assert (wrong != np.asarray(colours.convert("RGB"))).any(), "no longer wrong: it may be decoded"
    decode = tf.function(graph.decode_one)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is a BMP with a colour palette"):
        decode(tf.constant(data))
    with pytest.raises(UserError, match="is a BMP with a colour palette"):
        decode_image(data, "x")
    for image in (Image.fromarray(picture(40, 72)), Image.fromarray(picture(40, 72)[..., 0])):
        np.testing.assert_array_equal(decode(tf.constant(encoded(image)))[0], decode_image(encoded(image), "x"))
        np.testing.assert_array_equal(decode(tf.constant(encoded(image)))[0], np.asarray(image.convert("RGB")))


def test_rejects_images_over_max_pixels(model: keras.Model, tmp_path: Path) -> None:
    folder = export(model, tmp_path, crop=(65, 65), class_names=CLASS_NAMES, colours=COLOURS, max_pixels=2000)
    loaded = load(folder)
    assert loaded.max_pixels == 2000
    assert loaded.label_maps(picture(50, 40)[np.newaxis]).shape == (1, 50, 40)
    for signature in ("serving_default", "probabilities"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"50 x 41 = 2050 pixels .* at most 2000"):
            loaded.module.signatures[signature](images=tf.constant(picture(50, 41)[np.newaxis]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="50 x 41 = 2050"):
        loaded.module.signatures["encoded_image"](image_bytes=tf.io.encode_png(picture(50, 41)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no image"):
        loaded.label_maps(picture(50, 40)[np.newaxis][:0])


def test_padded_size_is_that_of_the_evaluator() -> None:
    in_graph = tf.function(graph.padded_size)
    for crop in ((65, 97), (513, 513)):
        for side in (1, 2, 16, 17, 64, 65, 66, 80, 81, 82, 96, 97, 98, 112, 113, 114, 500, 513, 514, 529, 530, 2048):
            for size in ((side, 40), (40, side), (side, side + 7)):
                assert tuple(in_graph(tf.constant(size), crop).numpy()) == labelling.padded_size(*size, crop)


def test_versions_are_numbered_and_nothing_is_overwritten(model: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "9.txt").touch()
    abandoned, running = tmp_path / ".unfinished-a", tmp_path / ".unfinished-b"
    abandoned.mkdir()
    running.mkdir()
    os.utime(abandoned, (time.time() - 7200,) * 2)
    first = export(model, tmp_path, crop=(65, 65), class_names=CLASS_NAMES, colours=COLOURS)
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    second = export(model, tmp_path, crop=(65, 65), class_names=CLASS_NAMES, colours=COLOURS[::-1])
    assert (first.name, second.name) == ("8", "9")
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".unfinished-b", "7", "8", "9", "9.txt", "notes"]
    assert find(tmp_path) == second
    assert find(first) == first
    np.testing.assert_array_equal(load(tmp_path).colours, np.array(COLOURS[::-1]))


def test_a_failed_export_leaves_nothing(model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the disk burns")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(RuntimeError, match="burns"):
        export(model, tmp_path, crop=(65, 65), class_names=CLASS_NAMES, colours=COLOURS)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(UserError, match=r"cannot write a SavedModel to .*: No space left on device"):
        export(model, tmp_path, crop=(65, 65), class_names=CLASS_NAMES, colours=COLOURS)
    assert list(tmp_path.iterdir()) == []


def test_the_optimizer_is_not_saved(tmp_path: Path) -> None:
    sizes = {}
    for compiled in (False, True):
        model = tiny_segmentor()
        if compiled:
            model.compile("adam", "mse")
            model.optimizer.build(model.trainable_variables)
        folder = export(model, tmp_path, crop=(65, 65), class_names=CLASS_NAMES, colours=COLOURS)
        sizes[compiled] = (folder / "variables/variables.data-00000-of-00001").stat().st_size
    assert sizes[True] == pytest.approx(sizes[False], rel=0.05)


def test_weights_are_saved_once(tmp_path: Path) -> None:
    """The folded kernels and biases, and not also what they were folded of."""
    model = tiny_segmentor()
    folder = export(model, tmp_path, crop=(17, 17), class_names=CLASS_NAMES, colours=COLOURS)
    saved = [tuple(shape) for name, shape in tf.train.list_variables(str(folder / "variables/variables")) if shape]
    kernels_and_biases = [tuple(v.shape) for layer in model.layers for v in layer.weights if "norm" not in v.path]
    assert sorted(saved) == sorted(kernels_and_biases)


def test_the_model_of_several_replicas_is_that_of_one(tmp_path: Path) -> None:
    """A strategy's variables consist of others, one a replica."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = tiny_segmentor()
    assert isinstance(model.variables[0].value, tf.distribute.DistributedValues)
    folder = export(model, tmp_path, crop=(17, 17), class_names=CLASS_NAMES, colours=COLOURS)
    image = picture(17, 17)
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    expected = labelling.label_maps(model(tf.cast(image[np.newaxis], tf.float32), training=False), (17, 17))
    np.testing.assert_array_equal(served(images=tf.constant(image[np.newaxis]))["label_maps"], expected)


def test_a_model_that_has_not_been_called_yet(tmp_path: Path) -> None:
    def layers() -> list[keras.layers.Layer]:
        convolutions = (keras.layers.Conv2D(5, 5, 8, padding="same"), keras.layers.Conv2D(5, 3, 2, padding="same"))
        return [keras.layers.Rescaling(1 / 127.5, offset=-1), *convolutions]

    keras.utils.set_random_seed(3)
    unbuilt = keras.Sequential(layers())
    folder = export(unbuilt, tmp_path, crop=(65, 65), class_names=CLASS_NAMES, colours=COLOURS)
    image = picture(70, 50)
    assert_agree(load(folder).label_maps(image[np.newaxis])[0], python_path(unbuilt, image, (65, 65)))


def test_class_list_beside_the_model(exported: dict[labelling.Size, Path]) -> None:
    content = json.loads((exported[513, 513] / "assets.extra/classes.json").read_text(encoding="utf-8"))
    assert [(entry["label"], entry["name"], tuple(entry["colour"])) for entry in content["classes"]] == [
        (label, CLASS_NAMES[label], COLOURS[label]) for label in range(5)
    ]
    assert content["crop"] == [513, 513]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop": (64, 65)}, r"crop is \(64, 65\)"),
        ({"class_names": CLASS_NAMES[:4]}, "5 colours were given for 4"),
        ({"colours": (*COLOURS[:4], (0, 256, 0))}, r"'sofa' is \(0, 256, 0\)"),
        ({"class_names": CLASS_NAMES[:4], "colours": COLOURS[:4]}, "5 outputs a pixel, but 4 class names"),
        ({"max_pixels": 0}, "max_pixels is 0"),
    ],
)
def test_refuses_what_does_not_fit(
    model: keras.Model, tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    given = {"crop": (65, 65), "class_names": CLASS_NAMES, "colours": COLOURS} | arguments
    with pytest.raises(UserError, match=message):
        export(model, tmp_path / "new", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_refuses_a_folder_that_is_a_file(model: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write a SavedModel"):
        export(model, tmp_path / "file", crop=(65, 65), class_names=CLASS_NAMES, colours=COLOURS)


def test_loading_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        load(tmp_path / "absent")
    (tmp_path / "1").mkdir()
    with pytest.raises(UserError, match=r"holds no SavedModel; expected saved_model\.pb"):
        load(tmp_path)
    (tmp_path / "1/saved_model.pb").write_bytes(b"not a graph")
    with pytest.raises(UserError, match="can't be loaded"):
        load(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "2"))
    with pytest.raises(UserError, match="no signature 'serving_default'; expected one that load_tf exported"):
        load(tmp_path)
