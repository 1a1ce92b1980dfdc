"""ImageNet's weights in the discriminator: it sees in a split image, whatever the label map, what MobileNet saw."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.colours import voc_palette
from load_tf.discriminator import build
from load_tf.discriminator.pretrained import imagenet_mobilenet
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from tests import networks

K, GRID = 4, 64
FILE = "checkpoints/mobilenet_1_0_224_tf_no_top.h5"
REAL_MOBILENET = keras.applications.MobileNet


def made(weights: str | None, **settings: Any) -> Any:
    return build.build(Discriminator(weights=weights, input_size=GRID, **settings), K, seed=0)


@pytest.fixture(name="file", scope="module")
def _file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of a narrow MobileNet, drawn: for what holds with any weights."""
    return networks.narrow_mobilenet(tmp_path_factory.mktemp("weights"))


def source_of(judge: Any) -> keras.Model:
    """The network that the weights are of, at the size of these tests."""
    return REAL_MOBILENET(input_shape=(GRID, GRID, 3), alpha=0.25, include_top=False, weights=judge.settings.weights)


def features(body: keras.Model, inputs: Any) -> np.ndarray:
    """Behind the first block, without the last row and column, which see the padding."""
    return keras.Model(body.input, body.get_layer("conv_pw_1_relu").output)(inputs).numpy()[:, :-2, :-2]


@pytest.mark.parametrize("image_range", [(0.25, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("sees", ["split", "both"])
def test_a_split_image_is_seen_as_the_image(file: str, sees: Any, image_range: tuple[float, float]) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, GRID, GRID, 3), np.uint8)
    judge = made(file, alpha=0.25, sees=sees, image_range=image_range)
    expected = features(source_of(judge), images.astype(np.float32) / 127.5 - 1)
    for labels in (random.integers(0, K, (2, GRID, GRID)), np.zeros((2, GRID, GRID), np.int64)):
        found = features(judge.body, judge.inputs(tf.constant(images), tf.one_hot(labels, K)))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert np.abs(expected).max() > 0.1
    other = features(made(None, alpha=0.25, sees=sees).body, judge.inputs(tf.constant(images), tf.one_hot(labels, K)))
    assert np.abs(other - expected).max() > 0.1, "drawn weights see something else"


def test_a_mask_is_seen_as_a_picture_in_the_classes_colours(file: str) -> None:
    labels = np.random.default_rng(1).integers(0, K, (2, GRID, GRID))
    judge = made(file, alpha=0.25, sees="masks")
    picture = np.asarray(voc_palette(K), np.float32)[labels] / 127.5 - 1
    expected = features(source_of(judge), picture)
    found = features(judge.body, tf.one_hot(labels, K))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("verdict", ["map", "place"])
def test_it_begins_undecided_and_everything_else_is_the_files(file: str, verdict: Any) -> None:
    judge = made(file, alpha=0.25, verdict=verdict)
    logits = judge(tf.random.stateless_uniform([2, GRID, GRID, 3 * K], [1, 2]), training=False)
    np.testing.assert_array_equal(logits, np.zeros(logits.shape))
    source = imagenet_mobilenet(judge.settings)
    for layer in judge.body.layers[3:]:
        if not layer.weights:
            continue
        for one, other in zip(layer.weights, source.get_layer(layer.name).weights, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_published_weights_are_recognised(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras would download them: here they are the file's; one kernel changed is a damaged download."""
    scale = 1.0

    def downloaded(*, weights: str, **options: Any) -> keras.Model:
        assert weights == "imagenet"
        network = REAL_MOBILENET(weights=str(shared / FILE), **options)
        kernel = network.get_layer("conv_pw_13").kernel
        kernel.assign(kernel * scale)
        return network

    monkeypatch.setattr(keras.applications, "MobileNet", downloaded)
    imagenet_mobilenet(Discriminator(weights="imagenet"))
    scale = 1.01
    with pytest.raises(UserError, match=r"the norm of 'conv_pw_13' is 34\.5.*the download is damaged"):
        imagenet_mobilenet(Discriminator(weights="imagenet"))


def test_without_a_network_the_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**options: Any) -> keras.Model:
        raise Exception("URL fetch failure on https://example.org: None -- [Errno -3] Temporary failure")  # as Keras

    monkeypatch.setattr(keras.applications, "MobileNet", offline)
    with pytest.raises(
        UserError, match=r"is 'imagenet', but Keras can't download them \(URL fetch failure.*\); expected"
    ):
        build.refuse_unusable(Discriminator(weights="imagenet"))


def test_another_networks_file_is_refused(file: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not hold the weights of keras\.applications\.MobileNet\(alpha=0\.5"):
        build.refuse_unusable(Discriminator(weights=file, alpha=0.5))
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(UserError, match=r"text\.h5', which does not hold"):
        build.refuse_unusable(Discriminator(weights=str(tmp_path / "text.h5")))


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    network = REAL_MOBILENET(input_shape=(224, 224, 3), alpha=0.25, include_top=False, weights=None)
    network.get_layer("conv_pw_2").kernel.assign(network.get_layer("conv_pw_2").kernel * np.nan)
    network.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(UserError, match=r"whose 'conv_pw_2/kernel' holds what is no finite number"):
        build.refuse_unusable(Discriminator(weights=str(tmp_path / "nan.weights.h5"), alpha=0.25))


def test_another_kind_has_no_weights() -> None:
    with pytest.raises(UserError, match=r"weights is 'imagenet', but architecture is 'convolutional'; expected None"):
        build.refuse_unusable(Discriminator(weights="imagenet", architecture="convolutional"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"weights": "no/such.h5"}, r"is 'no/such\.h5', and there is no such file; expected None, 'imagenet', or"),
        ({"weights": "imagenet", "alpha": 0.3}, r"is 'imagenet', but alpha is 0\.3; expected one of \(0\.25, 0"),
    ],
)
def test_what_the_settings_show_is_said_at_once(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        Discriminator(**settings)
