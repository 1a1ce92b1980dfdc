"""Compares a DeepLab model with stored outputs of the official code; used by the golden tests and their controls."""

import functools
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import tensorflow as tf

from load_tf.segmentors.deeplab import Architecture, deeplab
from load_tf.segmentors.labelling import label_maps, pad_image, upsample
from load_tf.segmentors.layers import official_variables
from load_tf.segmentors.mobilenet_v2 import channels_of

ARCHITECTURES = {
    "xception65": Architecture("xception_65", 21),
    "mobilenetv2": Architecture("MobilenetV2", 21, channels_of(1.0), atrous=False, decoder=False),
}

_UNIT = "xception_65.{}.unit_{}.xception_module"
_HEAD = {
    "preprocessed": "preprocessed",
    "image_pooling_1x1": "image_pooling.Relu",
    "image_pooling": "image_pooling.ResizeBilinear",
    "aspp0": "aspp0.Relu",
    "concat_projection": "concat_projection.Relu",
    "logits": "logits.semantic",
}
LAYERS = {
    "xception65": {
        **_HEAD,
        "conv1_1": "xception_65.entry_flow.conv1_1.Relu",
        "conv1_2": "xception_65.entry_flow.conv1_2.Relu",
        **{f"entry_block{n}": _UNIT.format(f"entry_flow.block{n}", 1) + ".add" for n in (1, 2, 3)},
        "low_level": _UNIT.format("entry_flow.block2", 1) + ".separable_conv2_pointwise.BatchNorm",
        **{f"middle_unit{n}": _UNIT.format("middle_flow.block1", n) + ".add" for n in (1, 8, 16)},
        "exit_block1": _UNIT.format("exit_flow.block1", 1) + ".add",
        "features": _UNIT.format("exit_flow.block2", 1) + ".separable_conv3_pointwise.Relu",
        "aspp1_depthwise": "aspp1_depthwise.Relu",
        **{f"aspp{n}": f"aspp{n}_pointwise.Relu" for n in (1, 2, 3)},
        "feature_projection0": "decoder.feature_projection0.Relu",
        "decoder_upsampled_aspp": "decoder.ResizeBilinear",
        **{f"decoder_conv{n}": f"decoder.decoder_conv{n}_pointwise.Relu" for n in (0, 1)},
    },
    "mobilenetv2": {
        **_HEAD,
        "layer_1": "MobilenetV2.Conv.Relu6",
        "layer_2": "MobilenetV2.expanded_conv.project.BatchNorm",
        "layer_3": "MobilenetV2.expanded_conv_1.project.BatchNorm",
        "layer_4": "MobilenetV2.expanded_conv_2.output",
        "layer_7": "MobilenetV2.expanded_conv_5.output",
        "layer_11": "MobilenetV2.expanded_conv_9.output",
        "layer_14": "MobilenetV2.expanded_conv_12.output",
        "layer_15": "MobilenetV2.expanded_conv_13.project.BatchNorm",
        "layer_16": "MobilenetV2.expanded_conv_14.output",
        "layer_17": "MobilenetV2.expanded_conv_15.output",
        "features": "MobilenetV2.expanded_conv_16.project.BatchNorm",
    },
}
"""The layer whose output each stored endpoint is."""

DERIVED = {"image", "labels", "labels_cropped", "upsampled_logits", "padded_rows_cols", "top2_margin_min"}
DERIVED |= {"logits_sub4", "logits_mean", "logits_std"}
"""What a golden file holds beside endpoints."""


@functools.cache
def golden_weights(folder: Path) -> ModuleType:
    """The module that makes weights and images from names and seeds."""
    spec = importlib.util.spec_from_file_location("golden_weights", folder / "golden_weights.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def variable_list(folder: Path, net: str) -> dict:
    """The official variables of a network, as stored."""
    return json.loads((folder / f"{net}_variables.json").read_text())


def golden_model(folder: Path, net: str, output_stride: int, seed: int, rates: tuple | None = None) -> keras.Model:
    """A model with the name-seeded weights of `seed`."""
    model = deeplab(ARCHITECTURES[net], output_stride, rates)
    make = golden_weights(folder).weight
    for name, variable in official_variables(model).items():
        variable.assign(make(name, variable.shape, seed))
    return model


def relative_error(actual: np.ndarray, golden: np.ndarray) -> float:
    """max|actual - golden| / rms(golden)."""
    assert actual.shape == golden.shape
    return float(
        np.abs(np.asarray(actual, np.float64) - golden).max() / np.sqrt(np.mean(np.square(golden, dtype=float)))
    )


def errors(model: keras.Model, net: str, golden: dict[str, np.ndarray], bgr: bool = False) -> dict[str, float]:
    """How far a model is from a golden file: the relative error of each endpoint, and labels' in units of its bound."""
    size = golden["labels"].shape
    image = golden["image"][..., ::-1] if bgr else golden["image"]
    stored = [name for name in golden if name not in DERIVED and name in LAYERS[net]]
    assert set(golden) == {*stored, *(DERIVED & set(golden))}
    wanted = [*dict.fromkeys([*stored, "logits"])]
    outputs = keras.Model(model.input, [model.get_layer(LAYERS[net][name]).output for name in wanted])
    found = dict(zip(wanted, outputs(pad_image(image, size)[tf.newaxis], training=False), strict=True))
    logits = found["logits"].numpy()
    result = {name: relative_error(found[name].numpy(), golden[name]) for name in stored}
    if "logits_sub4" in golden:
        result["logits_sub4"] = relative_error(logits[:, ::4, ::4], golden["logits_sub4"])
        for name, statistic in (("logits_mean", np.mean), ("logits_std", np.std)):
            result[name] = relative_error(statistic(logits.astype(float), axis=(0, 1, 2)), golden[name])
    if "upsampled_logits" in golden:
        result["upsampled_logits"] = relative_error(upsample(logits, size).numpy(), golden["upsampled_logits"])
    labels = label_maps(logits, size)[0].numpy()
    result["labels (pixels)"] = int((labels != golden["labels"]).sum())
    if "labels_cropped" in golden:
        height, width = golden["labels_cropped"].shape
        result["labels_cropped (pixels)"] = int((labels[:height, :width] != golden["labels_cropped"]).sum())
    return result


def failures(found: dict[str, float], pixels: int) -> dict[str, float]:
    """The entries of `errors` beyond the bounds: 2e-4 of the rms, and max(3, 1e-4 of the pixels)."""
    bounds = {name: max(3, 1e-4 * pixels) if name.endswith("(pixels)") else 2e-4 for name in found}
    return {name: value for name, value in found.items() if not value <= bounds[name]}
