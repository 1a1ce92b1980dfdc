"""Official TensorFlow-1 checkpoints: all of the variables or an error that names them."""

import dataclasses
import tarfile
from collections.abc import Callable
from pathlib import Path

import golden_check
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf1_checkpoint
from PIL import Image

from load_tf.errors import UserError
from load_tf.segmentors import xception
from load_tf.segmentors.deeplab import Architecture, deeplab
from load_tf.segmentors.labelling import label_maps, pad_image
from load_tf.segmentors.layers import official_variables
from load_tf.segmentors.mobilenet_v2 import channels_of
from load_tf.segmentors.official_checkpoint import from_official_checkpoint, open_weights, read_architecture

QUARTER = Architecture("MobilenetV2", 5, channels_of(0.25), atrous=False, decoder=False)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return tf1_checkpoint.random_weights(QUARTER)


@pytest.fixture
def prefix(tmp_path: Path, weights: dict[str, np.ndarray]) -> Path:
    return tf1_checkpoint.write(tmp_path / "deeplab/model.ckpt-30000", weights)


def _assert_holds(model: keras.Model, weights: dict[str, np.ndarray], except_for: str = "nothing") -> None:
    variables = official_variables(model)
    assert set(variables) == set(weights)
    for name, variable in variables.items():
        if not name.startswith(except_for):
            np.testing.assert_array_equal(variable.numpy(), weights[name], err_msg=name)


def test_prefix_file_and_folder(prefix: Path, weights: dict[str, np.ndarray]) -> None:
    for path in (prefix, str(prefix), f"{prefix}.index", prefix.parent):
        _assert_holds(from_official_checkpoint(path), weights)


def test_archive(tmp_path: Path, prefix: Path, weights: dict[str, np.ndarray]) -> None:
    (tmp_path / "downloads").mkdir()
    archive = tmp_path / "downloads/deeplabv3_test.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(prefix.parent, arcname="deeplab")
    _assert_holds(from_official_checkpoint(archive), weights)


def test_frozen_graph(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    graph = tf.compat.v1.GraphDef()
    for name, value in {
        **weights,
        "ImageTensor/shape": np.int32([1, 2]),
        "MobilenetV2/Conv/Const": np.float32(3),
    }.items():
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        graph.node.add(name=f"{name}/read", op="Identity", input=[name])
    path = tmp_path / "frozen_inference_graph.pb"
    path.write_bytes(graph.SerializeToString())
    _assert_holds(from_official_checkpoint(path), weights)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match=r"frozen_inference_graph\.pb: not a frozen"):
        from_official_checkpoint(path)


def test_half_precision_is_widened(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    half = {name: value.astype(np.float16) for name, value in weights.items()}
    model = from_official_checkpoint(tf1_checkpoint.write(tmp_path / "model.ckpt", half, state=False))
    assert {variable.dtype for variable in model.variables} == {"float32"}
    _assert_holds(model, half)


def test_own_classes_leave_out_the_logits(prefix: Path, weights: dict[str, np.ndarray]) -> None:
    model = from_official_checkpoint(prefix, num_classes=8)
    assert model.output_shape == (None, None, None, 8)
    variables = official_variables(model)
    for name in weights:
        if not name.startswith("logits/"):
            np.testing.assert_array_equal(variables[name].numpy(), weights[name])
    again = official_variables(from_official_checkpoint(prefix, num_classes=8))
    fresh = variables["logits/semantic/weights"].numpy()
    assert 0.005 < fresh.std() < 0.01  # a truncated normal of 0.01 has 0.0088
    np.testing.assert_array_equal(again["logits/semantic/weights"].numpy(), fresh)


def _drop(weights: dict[str, np.ndarray]) -> None:
    del weights["MobilenetV2/expanded_conv_3/project/BatchNorm/beta"]
    del weights["aspp0/weights"]


def _add(weights: dict[str, np.ndarray]) -> None:
    weights["MobilenetV2/expanded_conv_17/project/weights"] = np.float32([[1, 2]])
    weights["surplus"] = np.float32([3])


def _reshape(weights: dict[str, np.ndarray]) -> None:
    weights["aspp0/weights"] = weights["aspp0/weights"][..., :-1]
    weights["MobilenetV2/expanded_conv_4/project/weights"] = np.zeros((1, 1, 48, 9), np.float32)


def _not_a_number(weights: dict[str, np.ndarray]) -> None:
    weights["aspp0/weights"] = np.full_like(weights["aspp0/weights"], np.nan)


def _resnet(weights: dict[str, np.ndarray]) -> None:
    weights.clear()
    weights["resnet_v1_101/conv1/weights"] = np.float32([1])


def _mobilenet_v3(weights: dict[str, np.ndarray]) -> None:
    weights.clear()
    weights["MobilenetV3/Conv/weights"] = np.float32([1])


def _something_else(weights: dict[str, np.ndarray]) -> None:
    weights.clear()
    weights["model/dense/kernel"] = np.float32([1])


def _dense_prediction_cell(weights: dict[str, np.ndarray]) -> None:
    weights["meta_architecture/op0/weights"] = np.float32([1])


def _classifier(weights: dict[str, np.ndarray]) -> None:
    for name in [name for name in weights if name.startswith("logits/")]:
        del weights[name]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (_drop, ["2 missing", "expanded_conv_3/project/BatchNorm/beta", "aspp0/weights"]),
        (_add, ["2 left over", "expanded_conv_17/project/weights", "surplus"]),
        (
            _reshape,
            [
                "2 of another shape",
                "expanded_conv_4/project/weights (checkpoint [1, 1, 48, 9], model [1, 1, 48, 8])",
                "aspp0/weights (checkpoint [1, 1, 80, 255], model [1, 1, 80, 256])",
            ],
        ),
        (_not_a_number, ["aspp0/weights", "NaN"]),
        (_resnet, ["resnet_v1_101", "expected"]),
        (_mobilenet_v3, ["MobilenetV3", "expected"]),
        (_something_else, ["model", "expected"]),
        (_dense_prediction_cell, ["DPC"]),
        (_classifier, ["MobilenetV2", "logits/semantic"]),
    ],
)
def test_faults_are_named(
    tmp_path: Path, weights: dict[str, np.ndarray], fault: Callable[[dict], None], words: list[str]
) -> None:
    faulty = dict(weights)
    fault(faulty)
    prefix = tf1_checkpoint.write(tmp_path / "model.ckpt", faulty, state=False)
    with pytest.raises(UserError) as error:
        from_official_checkpoint(prefix)
    for word in [str(prefix), *words]:
        assert word in str(error.value)


def test_damaged_and_absent_files_are_named(tmp_path: Path, prefix: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        from_official_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match="output_stride is 4"):
        from_official_checkpoint(prefix, output_stride=4)
    data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(UserError, match=r"model\.ckpt-30000.*cannot read"):
        from_official_checkpoint(prefix)
    prefix.with_name(f"{prefix.name}.index").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"model\.ckpt-30000.*not a readable"):
        from_official_checkpoint(prefix)


@dataclasses.dataclass
class _Shapes:
    """Weights of which only the shapes are asked."""

    shapes: dict[str, tuple[int, ...]]
    source: str = "test"

    def read(self, name: str) -> np.ndarray:
        raise AssertionError(name)


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture("xception_41", 3, image_pooling=False, decoder=False),
        Architecture("xception_71", 150),
        *(
            Architecture("MobilenetV2", 21, channels_of(multiplier, divisor), atrous=False, decoder=False)
            for multiplier, divisor in [(0.35, 1), (0.5, None), (0.75, 8), (1.4, None)]
        ),
        Architecture("MobilenetV2", 11, channels_of(0.25)),
    ],
    ids=str,
)
def test_architecture_is_read_from_the_variables(architecture: Architecture) -> None:
    model = deeplab(architecture, 16)
    shapes = {name: tuple(variable.shape) for name, variable in official_variables(model).items()}
    assert read_architecture(_Shapes(shapes)) == architecture


def test_channels_of_depth_multipliers() -> None:
    # By hand: with a divisor of 1 the nearest integer; with 8 the nearest multiple, raised where it loses over a tenth.
    assert channels_of(0.5) == (16, 8, 12, 12, 16, 16, 16, 32, 32, 32, 32, 48, 48, 48, 80, 80, 80, 160)
    assert channels_of(0.35, 8) == (16, 8, 8, 8, 16, 16, 16, 24, 24, 24, 24, 32, 32, 32, 56, 56, 56, 112)
    assert channels_of(1.4)[:4] == (45, 22, 34, 34)


def test_xception_variants_have_the_layers_of_their_names() -> None:
    # The number counts the convolutions along the path: three a unit and two at the entry.
    units = {name: sum(block.units for block in blocks) for name, blocks in xception.VARIANTS.items()}
    assert units == {"xception_41": 13, "xception_65": 21, "xception_71": 23}
    assert {name: 3 * count + 2 for name, count in units.items()} == {
        "xception_41": 41,
        "xception_65": 65,
        "xception_71": 71,
    }


@pytest.mark.golden
@pytest.mark.parametrize(
    ("net", "output_stride", "file"),
    [
        ("mobilenetv2", 8, "mobilenetv2_os8_129"),
        ("mobilenetv2", 16, "mobilenetv2_os16_160x192"),
        pytest.param("xception65", 16, "xception65_os16_321", marks=pytest.mark.slow),
    ],
)
def test_full_size_checkpoint_gives_the_golden_outputs(
    shared: Path, tmp_path: Path, net: str, output_stride: int, file: str
) -> None:
    folder = shared / "golden"
    arrays = golden_check.golden_weights(folder).checkpoint(folder / f"{net}_variables.json", 0)
    prefix = tf1_checkpoint.write(tmp_path / "model.ckpt", arrays)
    model = from_official_checkpoint(prefix.parent, output_stride)
    with np.load(folder / f"seed0/{file}_seed0.npz") as stored:
        golden = dict(stored)
    found = golden_check.errors(model, net, golden)
    assert golden_check.failures(found, golden["labels"].size) == {}


def test_real_weights_segment_real_images(shared: Path) -> None:
    weights = shared / "checkpoints/deeplabv3_mnv2_pascal_train_aug_fp16"
    assert read_architecture(open_weights(weights)) == golden_check.ARCHITECTURES["mobilenetv2"]
    model = from_official_checkpoint(weights)
    voc = shared / "data/VOC2012"
    right = wrong = 0
    for image_id in (voc / "ImageSets/Segmentation/val.txt").read_text().split()[:5]:
        image = np.asarray(Image.open(voc / f"JPEGImages/{image_id}.jpg").convert("RGB"))
        truth = np.asarray(Image.open(voc / f"SegmentationClass/{image_id}.png"))
        logits = model(pad_image(image, (513, 513))[tf.newaxis], training=False)
        labels = label_maps(logits, (513, 513))[0].numpy()[: truth.shape[0], : truth.shape[1]]
        right += int(((labels == truth) & (truth != 255)).sum())
        wrong += int(((labels != truth) & (truth != 255)).sum())
        objects = set(np.unique(truth)) - {0, 255}
        assert objects & set(np.unique(labels)), image_id
    assert right / (right + wrong) > 0.9
