"""A network that pools, in the wrapper that lets it take any size."""

from pathlib import Path

import keras
import numpy as np
import pytest

from load_tf.randomness import generator
from load_tf.segmentors.any_size import any_size


def pooling_network(stride: int = 1) -> keras.Model:
    """Takes multiples of 4 only, since the skip connection must fit; logits at `stride`."""
    keras.utils.set_random_seed(3)
    images = keras.Input((None, None, 3))
    first = keras.layers.Conv2D(4, 3, strides=stride, padding="same")(images)
    down = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(keras.layers.MaxPooling2D(4 // stride)(first))
    both = keras.layers.Concatenate()([first, keras.layers.UpSampling2D(4 // stride)(down)])
    return keras.Model(images, keras.layers.Conv2D(5, 1)(both))


def images(height: int, width: int) -> np.ndarray:
    return generator(0, "any size").integers(0, 256, (2, height, width, 3)).astype(np.float32)


def test_the_network_alone_refuses_what_the_wrapper_takes() -> None:
    network = pooling_network()
    with pytest.raises(Exception, match="oncat"):
        network(images(17, 33))
    assert any_size(network, 4)(images(17, 33)).shape == (2, 17, 33, 5)


def test_where_no_padding_is_needed_nothing_changes() -> None:
    network = pooling_network()
    np.testing.assert_array_equal(any_size(network, 4)(images(16, 24)), network(images(16, 24)))


def test_the_padding_is_grey_at_the_bottom_and_right() -> None:
    network = pooling_network()
    padded = np.full((2, 20, 36, 3), 127.5, np.float32)
    padded[:, :17, :33] = images(17, 33)
    np.testing.assert_array_equal(any_size(network, 4)(images(17, 33)), network(padded)[:, :17, :33])


def test_coarse_logits_are_brought_to_the_images_size() -> None:
    network = pooling_network(stride=2)
    wrapped = any_size(network, 4)(images(18, 30))
    padded = np.full((2, 20, 32, 3), 127.5, np.float32)
    padded[:, :18, :30] = images(18, 30)
    # Between the half-pixel centres of two neighbours lie a quarter and three quarters.
    coarse = np.asarray(network(padded))
    assert wrapped.shape == (2, 18, 30, 5)
    np.testing.assert_allclose(wrapped[:, 1, 1], _mix(coarse), atol=1e-4)


def _mix(coarse: np.ndarray) -> np.ndarray:
    rows = 0.75 * coarse[:, 0, :2] + 0.25 * coarse[:, 1, :2]
    return 0.75 * rows[:, 0] + 0.25 * rows[:, 1]


def test_it_is_saved_and_shares_its_weights(tmp_path: Path) -> None:
    network = pooling_network()
    wrapped = any_size(network, 4)
    wrapped.save(tmp_path / "wrapped.keras")
    before = np.asarray(wrapped(images(17, 33)))
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "wrapped.keras")(images(17, 33)), before)
    network.trainable_variables[0].assign_add(np.full(network.trainable_variables[0].shape, 0.1, np.float32))
    assert np.abs(np.asarray(wrapped(images(17, 33))) - before).max() > 1e-3


def test_one_size_for_networks_that_cannot_be_traced_with_another() -> None:
    """Keras' bilinear up-sampling is one: it asks for the size in Python."""
    import tensorflow as tf

    images_in = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(5, 3, strides=2, padding="same")(images_in)
    network = keras.Model(images_in, keras.layers.UpSampling2D(2, interpolation="bilinear")(features))

    def traced(model: keras.Model) -> tf.Tensor:
        spec = tf.TensorSpec([None, None, None, 3], tf.float32)
        return tf.function(lambda given: model(given, training=False), input_signature=[spec])(images(17, 30))

    with pytest.raises(Exception, match="symbolic"):
        traced(network)
    padded = np.full((2, 24, 40, 3), 127.5, np.float32)
    padded[:, :17, :30] = images(17, 30)
    np.testing.assert_allclose(
        traced(any_size(network, 8, largest=(17, 33))), np.asarray(network(padded))[:, :17, :30], atol=1e-4
    )
