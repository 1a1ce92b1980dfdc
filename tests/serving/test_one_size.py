"""Files of other runtimes against the SavedModel they were made of, on real photos and at sizes that round badly."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from load_tf import export as command
from load_tf.data.synthetic import synthetic
from load_tf.errors import UserError
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.layers import AlignedResize, resize_aligned
from load_tf.segmentors.official import official_deeplab
from load_tf.serving import lite, loaded, one_size, onnx_file, openvino_file
from load_tf.serving.saved_model import export
from tests import networks, pages

ROOT = Path(__file__).resolve().parents[2]
SIZE = (360, 480)
"""Of the CamVid photos."""

Maker = Callable[[loaded.LoadedSegmentor, tuple[int, int]], one_size.FileSegmentor]


def as_tflite(segmentor: loaded.LoadedSegmentor, size: tuple[int, int]) -> one_size.FileSegmentor:
    return lite.LiteSegmentor(lite.convert(segmentor, size), threads=1)


def as_onnx(segmentor: loaded.LoadedSegmentor, size: tuple[int, int]) -> one_size.FileSegmentor:
    for package in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"needs {package} of the extra 'export' (its packages take 300 MB)")
    return onnx_file.OnnxSegmentor(onnx_file.convert(segmentor, size), threads=1)


def as_openvino(segmentor: loaded.LoadedSegmentor, size: tuple[int, int]) -> one_size.FileSegmentor:
    pytest.importorskip("openvino", reason="needs openvino of the extra 'export' (its packages take 300 MB)")
    return openvino_file.OpenVinoSegmentor(*openvino_file.convert(segmentor, size), threads=1)


SLOW = pytest.param(as_openvino, marks=pytest.mark.slow)
MAKERS = pytest.mark.parametrize("made", [as_tflite, as_onnx, SLOW])
OTHERS = pytest.mark.parametrize("made", [as_onnx, SLOW])


def saved(
    model: keras.Model, folder: Path, crop: tuple[int, int], convention: Convention = OFFICIAL
) -> loaded.LoadedSegmentor:
    classes = model.output_shape[-1]
    names, colours = [str(k) for k in range(classes)], [(k, k, k) for k in range(classes)]
    return loaded.load(export(model, folder, crop=crop, class_names=names, colours=colours, convention=convention))


def photos(folder: Path, count: int) -> list[np.ndarray]:
    """RGB uint8 photos, spread over a folder."""
    if not folder.is_dir():
        pytest.skip(f"needs real photos in {folder.name}")
    files = sorted(folder.glob("*.[jp][pn]g"))
    return [np.asarray(Image.open(file).convert("RGB")) for file in files[:: len(files) // count][:count]]


def differing(segmentor: loaded.LoadedSegmentor, file: one_size.FileSegmentor, images: list[np.ndarray]) -> float:
    """Share of pixels with another label; among the SavedModel's labels must be several."""
    maps = [(segmentor.label_maps(image[np.newaxis])[0], file.label_map(image)) for image in images]
    assert all(found.dtype == np.uint8 and found.shape == expected.shape for expected, found in maps)
    assert len(np.unique(np.concatenate([expected.ravel() for expected, _ in maps]))) > 2, "any constant would do"
    return float(np.mean(np.concatenate([(expected != found).ravel() for expected, found in maps])))


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> loaded.LoadedSegmentor:
    """A user's own network, which up-samples by itself."""
    model = networks.keyed(networks.unet(8), seed=3)
    return saved(model, tmp_path_factory.mktemp("unet") / "model", SIZE, Convention(multiple=4))


@MAKERS
def test_an_own_network_labels_real_photos_as_its_saved_model(
    unet: loaded.LoadedSegmentor, made: Maker, shared: Path
) -> None:
    images = photos(shared / "data/camvid360/images", 4)
    file = made(unet, SIZE)
    assert file.size == SIZE and {image.shape[:2] for image in images} == {SIZE}
    assert differing(unet, file, images) < 1e-4
    # The check has to fail where maps are resized by another convention, half a pixel or one aside.
    assert differing(unet, shifted(file), images) > 0.01


def shifted(file: one_size.FileSegmentor) -> one_size.FileSegmentor:
    """The file, one pixel aside."""

    class Shifted:
        size = file.size

        def label_map(self, image: np.ndarray) -> np.ndarray:
            return np.roll(file.label_map(image), 1, axis=1)

    return Shifted()


@MAKERS
@pytest.mark.slow
def test_the_official_network_labels_real_photos_as_its_saved_model(made: Maker, shared: Path, tmp_path: Path) -> None:
    weights = shared / "checkpoints/deeplabv3_mnv2_pascal_train_aug_fp16"
    if not weights.is_dir():
        pytest.skip("needs the official MobileNetV2 weights")
    images = photos(shared / "data/VOC2012/JPEGImages", 4)
    segmentor = saved(official_deeplab(21, str(weights)).model, tmp_path / "model", (513, 513))
    file = made(segmentor, (513, 513))
    # Padded by the caller with 127, where the SavedModel pads with 127.5; below it is shown that this is why.
    assert differing(segmentor, file, images) < 1e-3
    padded = [one_size.fit(image, (513, 513)) for image in images]
    assert differing(segmentor, file, padded) < 1e-5


@OTHERS
def test_resized_maps_have_the_right_size_where_factors_round_down(made: Maker, tmp_path: Path) -> None:
    """17 rows to 33 with aligned corners: 17 x 1.9411764 is less than 33. Joined maps then do not fit."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    fine = keras.layers.Conv2D(6, 3, strides=4, padding="same", activation="relu")(x)
    coarse = keras.layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(fine)
    coarse = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(coarse)
    joined = keras.layers.Concatenate()([fine, AlignedResize()([coarse, fine])])
    model = networks.keyed(keras.Model(images, keras.layers.Conv2D(5, 1)(joined)), seed=2)
    segmentor = saved(model, tmp_path / "model", (129, 129))
    picture = synthetic(train=1, validation=1, size=(257, 129)).split("train")[0].image
    assert differing(segmentor, made(segmentor, (257, 129)), [picture]) < 1e-3


def test_padding_with_127_is_why_files_and_saved_models_differ(tmp_path: Path) -> None:
    """A SavedModel that is given the file's padding labels as the file does; with its own it does not."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    # Wide, and blind to all but the padding's half level: without it the sum is exactly 0 there.
    x = keras.layers.AveragePooling2D(33, strides=4, padding="same")(x)
    x = keras.layers.Conv2D(2, 1, name="logits")(x)
    model = keras.Model(images, x)
    model.get_layer("logits").set_weights([np.array([[[[1.0, -1.0]] * 3]]), np.array([1e-3, -1e-3])])
    segmentor = saved(model, tmp_path / "model", (129, 129))
    file = as_tflite(segmentor, (129, 129))
    image = np.full((40, 40, 3), 127, np.uint8)
    image[:, 20:] = 128
    own, filled = segmentor.label_maps(image[None])[0], one_size.fit(image, (129, 129))
    assert (file.label_map(image) == segmentor.label_maps(filled[None])[0, :40, :40]).all()
    assert (file.label_map(image) != own).mean() > 0.05
    # A file of the image's own size pads by itself, exactly.
    assert (as_tflite(segmentor, (40, 40)).label_map(image) == own).all()


class Widened(keras.layers.Layer):
    """Grey-scale dilation, an operation that only TensorFlow has."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.filter = self.add_weight(shape=(3, 3, shape[-1]))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.dilation2d(inputs, tf.convert_to_tensor(self.filter), [1] * 4, "SAME", "NHWC", [1] * 4)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape


def test_the_lines_for_onnx_runtime_in_the_docs_run(
    unet: loaded.LoadedSegmentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = as_onnx(unet, SIZE)
    (tmp_path / "mine.onnx").write_bytes(onnx_file.convert(unet, SIZE))
    picture = synthetic(train=1, validation=1, size=(90, 120)).split("train")[0].image
    Image.fromarray(picture).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(pages.blocks(ROOT / "docs/serving.md", "python")[-1], "docs/serving.md", "exec"), names)
    assert (names["label_map"] == file.label_map(picture)).all()
    assert len(np.unique(names["label_map"])) > 2


@OTHERS
def test_an_operation_that_a_runtime_lacks_is_named_with_its_layer(made: Maker, tmp_path: Path) -> None:
    images = keras.Input((None, None, 3))
    inner = keras.Sequential([keras.layers.Conv2D(5, 3, padding="same"), Widened(name="widened_2")], name="head")
    segmentor = saved(keras.Model(images, inner(images), name="mine"), tmp_path / "model", (33, 49))
    runtime = {as_onnx: "ONNX", as_openvino: "OpenVINO"}[made]
    with pytest.raises(UserError) as refused:
        made(segmentor, (33, 49))
    assert f"the network uses Dilation2D in its layer 'widened_2', which {runtime} does not" in str(refused.value)
    assert str(refused.value).endswith("can be served as it is.")


@OTHERS
def test_whatever_else_a_converter_says_is_a_line(
    unet: loaded.LoadedSegmentor, made: Maker, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing\nin 30 lines")

    made_of = {as_onnx: "tf2onnx.convert.from_function", as_openvino: "openvino.convert_model"}[made]
    pytest.importorskip(made_of.partition(".")[0], reason="needs the extra 'export'")
    monkeypatch.setattr(made_of, fail)
    with pytest.raises(UserError, match=r"can't convert the network: no such thing; the SavedModel .* can be served"):
        made(unet, SIZE)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("made", "module"), [(as_onnx, "onnx"), (as_onnx, "tf2onnx"), (as_openvino, "openvino"), (None, "onnxruntime")]
)
def test_a_package_that_is_missing_is_named_with_the_extra(
    unet: loaded.LoadedSegmentor, made: Maker | None, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "tf2onnx", "openvino", "onnxruntime"):
        # Also where none is installed: only the one that is asked for shall be missing.
        monkeypatch.setitem(sys.modules, name, None if name == module else sys)
    with pytest.raises(UserError, match=rf"takes the package {module}: pip install 'load-tf\[export\]'"):
        if made is None:
            onnx_file.OnnxSegmentor(b"")
        else:
            (onnx_file if made is as_onnx else openvino_file).convert(unet, SIZE)


def call(*flags: str) -> subprocess.CompletedProcess[str]:
    done = [sys.executable, "-m", "load_tf.export", *flags]
    return subprocess.run(done, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_the_command_writes_and_scores_the_files(form: str, tmp_path: Path) -> None:
    for package in command._PACKAGES[form]:
        pytest.importorskip(package, reason="needs the extra 'export'")
    data = synthetic(train=1, validation=3, size=(40, 60))
    names = {"class_names": data.class_names, "colours": data.colours}
    run = tmp_path / "run"
    export(networks.one_convolution(8), run / "saved_model", crop=(65, 97), **names)
    config = "experiment.dataset = @synthetic()\nsynthetic.train = 1\nsynthetic.validation = 3\n"
    config += "synthetic.size = (40, 60)\nexperiment.segmentor = @small_deeplab\n"
    (run / "config.gin").write_text(config)
    ending = {"onnx": ".onnx", "openvino": ".xml"}[form]
    output = tmp_path / f"model{ending}"
    done = call(f"--run_dir={run}", f"--format={form}", f"--output={output}", "--score", "--height=65", "--width=97")
    assert done.returncode == 0, done.stderr
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert written == {output.name, "model.json", *(["model.bin"] if form == "openvino" else [])}
    beside = json.loads(output.with_suffix(".json").read_text())
    assert beside["score"]["images"] == 3 and beside["score"]["differing_pixels"] < 0.5
    assert beside["score"][f"{form}_miou"] == pytest.approx(beside["score"]["saved_model_miou"], abs=0.2)
    assert f"of the {command.FORMATS[form]} file" in done.stdout
    assert "exists already" in call(f"--run_dir={run}", f"--format={form}", f"--output={output}").stderr


def test_flags_that_do_not_go_together(tmp_path: Path) -> None:
    saved_model = f"--saved_model={tmp_path}"
    for flags, expected in (
        (["--format=onnx", "--output=x.onnx", "--quantize=dynamic_range"], ("--quantize is for", "takes the package")),
        (["--format=openvino", "--output=x.ov"], ("a name that ends in .xml", "takes the package")),
    ):
        refused = call(saved_model, *flags)
        assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
        assert any(sentence in refused.stderr for sentence in expected)


def test_aligned_resizing_is_what_the_files_are_held_against() -> None:
    """17 rows to 33 with aligned corners put every second row on a row of the 17."""
    rows = tf.reshape(tf.range(17.0), [1, 17, 1, 1])
    assert resize_aligned(rows, tf.constant([33, 1]))[0, :, 0, 0].numpy() == pytest.approx(np.arange(33) / 2)
