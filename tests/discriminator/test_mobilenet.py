"""The discriminator: its size, its keyed weights and dropout, and that no hidden randomness is in it."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.discriminator.build import build
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.mobilenet import MobileNetDiscriminator
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.randomness import key

K = 3
SMALL = Discriminator(alpha=0.25, input_size=32, dropout=0.5)


@pytest.fixture(scope="module")
def small() -> ConditionalDiscriminator:
    return build(SMALL, K, seed=0)


@pytest.fixture(scope="module")
def inputs() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).random((4, 32, 32, 3 * K), np.float32))


def weights(of: ConditionalDiscriminator) -> list[np.ndarray]:
    return [v.numpy().copy() for v in of.variables]


def test_the_papers_discriminator() -> None:
    """MobileNet-224: 3,228,864 parameters without its head (Keras' own number for 3 channels), plus what 63 take."""
    paper = Discriminator()
    assert (paper.alpha, paper.input_size, paper.dropout, paper.image_range) == (1.0, 224, 0.01, (0.25, 1.0))
    discriminator = build(paper, 21, seed=0)
    assert discriminator.body.input_shape == (None, 224, 224, 63)
    assert discriminator.body.output_shape == (None, 1024)
    body = 3_228_864 + 3 * 3 * (63 - 3) * 32
    assert sum(int(np.prod(v.shape)) for v in discriminator.variables) == body + 1024 + 1
    # Batch norm's moving averages, 2 per channel, are not trained: 21,888 of Keras' number.
    assert sum(int(np.prod(v.shape)) for v in discriminator.trainable_variables) == body - 21_888 + 1025


def test_a_logit_for_every_map(small: ConditionalDiscriminator, inputs: tf.Tensor) -> None:
    """A linear head on pooled features; every map for itself at inference."""
    logits = small(inputs, training=False).numpy()
    assert logits.shape == (4,)
    assert logits.dtype == np.float32
    assert len(set(logits.tolist())) == 4
    features = small.body(inputs, training=False).numpy()
    kernel, bias = small.head.get_weights()
    np.testing.assert_allclose(logits, (features @ kernel + bias)[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(small(inputs[1:2], training=False).numpy(), logits[1:2], rtol=1e-4, atol=1e-6)


def test_weights_are_drawn_by_key(small: ConditionalDiscriminator) -> None:
    tf.random.normal([3])  # what happened before must not count
    keras.utils.set_random_seed(99)
    for one, again in zip(weights(small), weights(build(SMALL, K, seed=0)), strict=True):
        np.testing.assert_array_equal(one, again)
    other = build(SMALL, K, seed=1)
    kernels = [v for v in other.trainable_variables if v.path.endswith("kernel")]
    ours = [v for v in small.trainable_variables if v.path.endswith("kernel")]
    assert len(kernels) == 28  # 1 convolution, 13 times depthwise and pointwise, 1 head
    for a, b in zip(ours, kernels, strict=True):
        assert np.mean(a.numpy() != b.numpy()) > 0.99


def test_dropout_is_keyed_and_only_in_training(small: ConditionalDiscriminator, inputs: tf.Tensor) -> None:
    before = weights(small)

    def logits(training: bool, place: int | None) -> np.ndarray:
        dropout_key = None if place is None else tf.constant(key(0, "dropout", place))
        return small(inputs, training=training, dropout_key=dropout_key).numpy()

    np.testing.assert_array_equal(logits(False, 0), logits(False, None))
    one, again, other = logits(True, 0), logits(True, 0), logits(True, 1)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    for variable, value in zip(small.variables, before, strict=True):
        variable.assign(value)


def test_dropout_scales_what_is_left(small: ConditionalDiscriminator, inputs: tf.Tensor) -> None:
    """Over 300 keys the mean logit is the one without dropout, within 4 standard errors."""
    plain = MobileNetDiscriminator(small.body, small.head, Discriminator(alpha=0.25, input_size=32, dropout=0.0))
    before = weights(small)
    expected = plain(inputs, training=True).numpy()
    features = small.body(inputs, training=True)
    fixed = MobileNetDiscriminator(lambda x, training: features, small.head, SMALL)
    drawn = np.stack([fixed(inputs, True, tf.constant(key(0, n))).numpy() for n in range(300)])
    assert (np.abs(drawn.mean(axis=0) - expected) < 4 * drawn.std(axis=0) / np.sqrt(300)).all()
    assert (drawn.std(axis=0) > 1e-3).all()
    for variable, value in zip(small.variables, before, strict=True):
        variable.assign(value)


def test_batch_norm_moves_only_in_training_and_by_its_momentum(inputs: tf.Tensor) -> None:
    discriminator = build(Discriminator(alpha=0.25, input_size=32, batch_norm_momentum=0.75), K, seed=0)
    norm = next(layer for layer in discriminator.body.layers if isinstance(layer, keras.layers.BatchNormalization))
    before = weights(discriminator)
    discriminator(inputs, training=False)
    for old, new in zip(before, weights(discriminator), strict=True):
        np.testing.assert_array_equal(old, new)
    convolution = discriminator.body.layers[discriminator.body.layers.index(norm) - 1]
    seen = keras.Model(discriminator.body.inputs, convolution.output)(inputs).numpy()
    discriminator(inputs, training=True, dropout_key=tf.constant(key(0)))
    np.testing.assert_allclose(norm.moving_mean.numpy(), 0.25 * seen.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance.numpy(), 0.75 + 0.25 * seen.var(axis=(0, 1, 2)), rtol=1e-4)
    momenta = {
        layer.momentum for layer in discriminator.body.layers if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta == {0.75}


def seed_generators(thing: Any, seen: set[int] | None = None) -> list[keras.random.SeedGenerator]:
    """All that can be reached from an object through attributes, lists and dicts of Keras and load_tf objects."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return []
    seen.add(id(thing))
    if isinstance(thing, keras.random.SeedGenerator):
        return [thing]
    if isinstance(thing, dict):
        children = list(thing.values())
    elif isinstance(thing, list | tuple | set):
        children = list(thing)
    elif type(thing).__module__.split(".")[0] in ("keras", "load_tf") and not isinstance(thing, type):
        children = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
    else:
        children = []
    return [generator for child in children for generator in seed_generators(child, seen)]


def test_no_seed_generator_is_in_it(small: ConditionalDiscriminator) -> None:
    """Keras' own state of randomness starts at random and is in no checkpoint."""
    assert seed_generators(small) == []
    assert not [v for v in small.variables if "seed" in v.path]
    assert not [layer for layer in small.body.layers if isinstance(layer, keras.layers.Dropout)]


def test_the_search_finds_seed_generators() -> None:
    """The control: a dropout layer deep in a model, and the MobileNet with its own head."""
    images = keras.Input((4,))
    inner = keras.Sequential([keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    model = keras.Model(images, inner(images))
    assert len(seed_generators(MobileNetDiscriminator(model, keras.layers.Dense(1), SMALL))) == 1
    with_head = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None)
    assert len(seed_generators(with_head)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": 31}, "input_size is 31"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Discriminator(**settings)


def test_range_from_a_config_file_becomes_a_tuple() -> None:
    assert Discriminator(image_range=[0.5, 1.0]).image_range == (0.5, 1.0)
