"""The networks against stored outputs of the official code, and mistakes that the same comparison must notice."""

import functools
from pathlib import Path

import golden_check as check
import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.segmentors import labelling, layers
from load_tf.segmentors.convention import Convention

pytestmark = pytest.mark.golden

FILES = [
    "mobilenetv2_os16_129",
    "mobilenetv2_os16_160x192",
    "mobilenetv2_os16_513",
    "mobilenetv2_os16_375x500_in_513",
    "mobilenetv2_os8_129",
    "xception65_os16_129",
    "xception65_os16_160x192",
    "xception65_os16_321",
    "xception65_os8_129",
    "xception65_os8_321",
    "xception65_os16_513",
    "xception65_os16_375x500_in_513",
]


@functools.cache
def _model(folder: Path, net: str, output_stride: int) -> keras.Model:
    return check.golden_model(folder, net, output_stride, seed=0)


def _golden(folder: Path, file: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"seed0/{file}_seed0.npz") as stored:
        return dict(stored)


def _parts(file: str) -> tuple[str, int]:
    net, stride, *_ = file.split("_")
    return net, int(stride.removeprefix("os"))


@pytest.mark.parametrize("file", FILES)
def test_every_stored_output(shared: Path, file: str) -> None:
    folder, (net, stride) = shared / "golden", _parts(file)
    golden = _golden(folder, file)
    found = check.errors(_model(folder, net, stride), net, golden)
    assert len(found) >= 5
    assert check.failures(found, golden["labels"].size) == {}


def test_files_are_all_there_are(shared: Path) -> None:
    assert sorted(FILES) == sorted(path.stem.removesuffix("_seed0") for path in (shared / "golden/seed0").glob("*.npz"))


@pytest.mark.parametrize("net", ["xception65", "mobilenetv2"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_variables_are_the_official_ones(shared: Path, net: str, output_stride: int) -> None:
    stored = check.variable_list(shared / "golden", net)
    model = check.deeplab(check.ARCHITECTURES[net], output_stride)
    found = {name: list(variable.shape) for name, variable in layers.official_variables(model).items()}
    assert found == {name: shape for name, shape, _ in stored["variables"]}
    assert len(found) == stored["count"]
    assert model.count_params() == stored["total_parameters"]
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == stored["trainable_parameters"]


def _control(shared: Path, file: str, net: str, model: keras.Model, bgr: bool = False) -> dict[str, float]:
    """The failures of a wrong model, which must be gross: logits 50 times beyond the bound, labels 100 times."""
    golden = _golden(shared / "golden", file)
    found = check.failures(check.errors(model, net, golden, bgr), golden["labels"].size)
    logits = found.get("logits", found.get("logits_sub4", 0.0))
    assert logits > 50 * 2e-4, found
    assert found["labels (pixels)"] > 0.01 * golden["labels"].size, found
    return found


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_control_one_epsilon(shared: Path, monkeypatch: pytest.MonkeyPatch, epsilon: float) -> None:
    model = _model(shared / "golden", "xception65", 16)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            monkeypatch.setattr(layer, "epsilon", epsilon)
    _control(shared, "xception65_os16_129", "xception65", model)


def _half_pixel(images: tf.Tensor, size: tf.Tensor, *_: Convention) -> tf.Tensor:
    return tf.image.resize(images, size)


def test_control_half_pixel_resize_in_the_decoder(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "resize_aligned", _half_pixel)
    found = _control(shared, "xception65_os16_129", "xception65", _model(shared / "golden", "xception65", 16))
    assert "concat_projection" not in found and "image_pooling" not in found


def test_control_half_pixel_final_resize(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "upsample", _half_pixel)
    monkeypatch.setattr(labelling, "upsample", _half_pixel)
    golden = _golden(shared / "golden", "mobilenetv2_os16_129")
    model = _model(shared / "golden", "mobilenetv2", 16)
    found = check.failures(check.errors(model, "mobilenetv2", golden), golden["labels"].size)
    assert set(found) == {"upsampled_logits", "labels (pixels)"}
    assert found["labels (pixels)"] > 0.01 * golden["labels"].size


def test_control_same_padding(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(shared / "golden", "xception65", 16)
    for layer in model.layers:
        if isinstance(layer, layers.DepthwiseConv):
            monkeypatch.setattr(layer, "fixed_padding", False)
    found = _control(shared, "xception65_os16_160x192", "xception65", model)
    assert "conv1_1" not in found and "entry_block1" in found


def test_control_rates_of_the_other_stride(shared: Path) -> None:
    model = check.golden_model(shared / "golden", "xception65", 8, seed=0, rates=(6, 12, 18))
    found = _control(shared, "xception65_os8_129", "xception65", model)
    assert "features" not in found and "concat_projection" in found


def test_control_swapped_branches(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The 9x9 features at 129 cannot tell rates 12 and 18 apart; the 21x21 at 321 can.
    model = _model(shared / "golden", "xception65", 16)
    for branch, rate in ((2, 18), (3, 12)):
        monkeypatch.setattr(model.get_layer(f"aspp{branch}_depthwise"), "rate", rate)
    _control(shared, "xception65_os16_321", "xception65", model)


@pytest.mark.parametrize("net", ["xception65", "mobilenetv2"])
def test_control_bgr(shared: Path, net: str) -> None:
    _control(shared, f"{net}_os16_129", net, _model(shared / "golden", net, 16), bgr=True)


def test_control_relu_in_place_of_relu6(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(shared / "golden", "mobilenetv2", 16)
    for layer in model.layers:
        if isinstance(layer, keras.layers.ReLU):
            monkeypatch.setattr(layer, "max_value", None)
    _control(shared, "mobilenetv2_os16_129", "mobilenetv2", model)
