"""DeepLabv3+ on MobileNet: what its backbone computes is what Keras' network computes."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from load_tf.errors import UserError
from load_tf.segmentors.mobilenet import mobilenet_deeplab
from tests import networks


@pytest.fixture(name="file", scope="module")
def _file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return networks.narrow_mobilenet(tmp_path_factory.mktemp("weights"))


def test_the_backbone_is_keras_up_to_its_output_stride(file: str) -> None:
    model = mobilenet_deeplab(num_classes=3, weights=file, alpha=0.25).model
    theirs = keras.applications.MobileNet(input_shape=(64, 96, 3), alpha=0.25, include_top=False, weights=file)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    for name in ("conv_pw_3", "conv_pw_11"):
        ours = keras.Model(model.input, model.get_layer(f"{name}.Relu6").output)(images)
        expected = keras.Model(theirs.input, theirs.get_layer(f"{name}_relu").output)(images / 127.5 - 1)
        assert np.ptp(expected) > 1
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3)
    drawn = mobilenet_deeplab(num_classes=3, weights=None, alpha=0.25).model
    other = keras.Model(drawn.input, drawn.get_layer("conv_pw_3.Relu6").output)(images)
    assert np.abs(other - keras.Model(model.input, model.get_layer("conv_pw_3.Relu6").output)(images)).max() > 0.1


@pytest.mark.parametrize(("stride", "rates"), [(16, (1, 2)), (8, (2, 4))])
def test_behind_the_output_stride_it_is_dilated(stride: int, rates: tuple[int, int]) -> None:
    """conv_dw_12 has stride 2 in Keras' network, so that conv_dw_13 looks twice as far here."""
    model = mobilenet_deeplab(num_classes=3, weights=None, alpha=0.25, output_stride=stride).model
    assert tuple(model.get_layer(f"conv_dw_{number}").rate for number in (12, 13)) == rates
    assert keras.ops.shape(keras.Model(model.input, model.get_layer("conv_pw_13").output)(np.zeros((1, 64, 64, 3))))[
        1
    ] == (64 // stride)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"output_stride": 32}, "output_stride is 32"),
        ({"alpha": 2.0}, r"alpha is 2\.0"),
        ({"weights": "nowhere.h5"}, r"mobilenet_deeplab\.weights is 'nowhere\.h5', which does not hold"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        mobilenet_deeplab(num_classes=3, **settings)


def test_the_published_weights_fit(shared: Path) -> None:
    file = shared / "checkpoints/mobilenet_1_0_224_tf_no_top.h5"
    model = mobilenet_deeplab(num_classes=8, weights=str(file)).model
    assert np.linalg.norm(model.get_layer("conv_pw_13").kernel.numpy()) == pytest.approx(34.2167, rel=1e-4)
