"""What is assembled from gin: the crop that was left to be found is the one that `load_tf.run` finds."""

from pathlib import Path
from typing import Any

import gin
import keras
import numpy as np
import pytest
from PIL import Image

from load_tf.data.folder import folder
from load_tf.errors import UserError
from load_tf.experiment import images, own_model, plan
from tests import bad_inputs, networks


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    """Six images of 20 x 30, one of them larger along one axis, another along the other."""
    (tmp_path / "scenes").mkdir()
    bad_inputs.make_sound(tmp_path / "scenes")
    for name, size in (("b", (37, 30)), ("d", (20, 50))):
        for kind, shape in (("images", (*size, 3)), ("masks", size)):
            Image.fromarray(np.resize(np.arange(3, dtype=np.uint8), shape)).save(tmp_path / f"scenes/{kind}/{name}.png")
    return tmp_path / "scenes"


def assembled(root: Path, network: str | keras.Model, *bindings: str) -> plan.Plan:
    """A folder's experiment; the network is a name that gin knows, or a model."""
    if isinstance(network, keras.Model):
        network.save(root.parent / "mine.keras")
        bindings = (f"keras_model.path = '{root.parent / 'mine.keras'}'", *bindings)
        network = "@keras_model"
    gin.clear_config()
    gin.parse_config(["experiment.dataset = @folder()", f"folder.data_dir = '{root}'", "experiment.crop = None",
                      "experiment.holdout_images = 1", f"experiment.segmentor = {network}", *bindings])  # fmt: skip
    return plan.assemble()


def fixed(height: int, width: int) -> keras.Model:
    """A network whose graph takes one size only."""
    inputs = keras.Input((height, width, 3))
    x = keras.layers.Conv2D(3, 3, padding="same")(inputs)
    x = keras.layers.Reshape((height * width, 3))(x)
    return keras.Model(inputs, keras.layers.Reshape((height, width, 3))(x), name="fixed")


def test_the_crop_is_the_smallest_that_holds_all_images(root: Path) -> None:
    found = assembled(root, "@small_deeplab")
    assert found.crop == found.experiment.crop == (49, 65), "16 k + 1"
    assert len(images.read_data(found).training) == 3
    # Negative control: with a crop that is written down, nothing is looked for.
    assert assembled(root, "@small_deeplab", "experiment.crop = (33, 49)").crop == (33, 49)


@pytest.mark.parametrize("make", [lambda: networks.one_convolution(3), lambda: networks.one_convolution(3, 8)])
def test_it_is_that_of_load_tf_run(root: Path, make: Any) -> None:
    model, data = make(), folder(str(root))
    sizes = own_model._sizes([data.split("train"), data.split("validation")])
    assert sizes == {(20, 30), (37, 30), (20, 50)}
    expected = own_model._segmentor(model, True, None, None, sizes)[1]
    assert assembled(root, make()).crop == expected and expected[0] >= 37 and expected[1] >= 50


def test_images_of_one_size_are_not_padded(root: Path) -> None:
    for kind in ("images", "masks"):
        for name in ("b", "d"):
            (root / kind / f"{name}.png").write_bytes((root / kind / "a.png").read_bytes())
    assert assembled(root, networks.one_convolution(3)).crop == (20, 30)


def test_a_network_of_one_size_takes_its_own_or_says_so(root: Path) -> None:
    assert assembled(root, fixed(40, 64)).crop == (40, 64)
    with pytest.raises(
        UserError, match="the crop is 37 x 50, but the network takes images of 32 x 64 pixels at the most"
    ):
        assembled(root, fixed(32, 64))


def test_what_cannot_be_read_is_said_with_all_other_faults(root: Path) -> None:
    (root / "images/a.png").write_bytes(b"no image")
    (root / "images/e.png").write_bytes(b"no image either")
    found = assembled(root, "@small_deeplab")
    assert found.crop == (49, 65)
    with pytest.raises(UserError) as refused:
        images.read_data(found)
    assert "a.png is no image" in str(refused.value) and "e.png is no image" in str(refused.value)
    for image in (root / "images").iterdir():
        image.write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        images.read_data(assembled(root, "@small_deeplab"))
