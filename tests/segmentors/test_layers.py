"""The layers against sums written out in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.segmentors.layers import AlignedResize, Blocks, DepthwiseConv, input_scaling, official_variables


def _numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _depthwise(images: np.ndarray, weights: np.ndarray, stride: int, rate: int, before: int) -> np.ndarray:
    """Depthwise convolution by its definition, zeros outside; `before` zeros stand in front of each axis."""
    batch, height, width, channels = images.shape
    result = np.zeros((batch, -(-height // stride), -(-width // stride), channels))
    for y, x in np.ndindex(result.shape[1:3]):
        for i, j in np.ndindex(3, 3):
            row, column = y * stride - before + i * rate, x * stride - before + j * rate
            if 0 <= row < height and 0 <= column < width:
                result[:, y, x] += images[:, row, column] * weights[i, j, :, 0]
    return result


@pytest.mark.parametrize(
    ("stride", "rate", "fixed_padding", "size", "before"),
    [
        (1, 1, True, (6, 7), 1),
        (1, 2, True, (9, 7), 2),
        (1, 4, False, (9, 10), 4),
        (2, 1, True, (6, 8), 1),
        (2, 1, False, (6, 8), 0),
        (2, 1, False, (7, 9), 1),
    ],
)
def test_depthwise_forward(stride: int, rate: int, fixed_padding: bool, size: tuple[int, int], before: int) -> None:
    layer = DepthwiseConv(stride, rate, fixed_padding)
    images = _numbers(2, *size, 3)
    found = layer(images)
    expected = _depthwise(images, layer.depthwise_weights.numpy(), stride, rate, before)
    assert tuple(layer.compute_output_shape(images.shape)) == found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [2, 3])
def test_depthwise_gradient_knows_the_rate(rate: int) -> None:
    # A dilated kernel is a larger one with zeros between; the gradient of that one needs no dilation at all.
    layer, images, factors = DepthwiseConv(rate=rate), tf.constant(_numbers(2, 9, 8, 3)), _numbers(2, 9, 8, 3, seed=1)
    layer.build(images.shape)
    spread = np.zeros((2 * rate + 1, 2 * rate + 1, 3, 1), np.float32)
    spread[::rate, ::rate] = layer.depthwise_weights.numpy()
    dense = tf.Variable(spread)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        found = tf.reduce_sum(layer(images) * factors)
        expected = tf.reduce_sum(tf.nn.depthwise_conv2d(images, dense, [1, 1, 1, 1], "SAME") * factors)
    weights = layer.depthwise_weights.value
    np.testing.assert_allclose(tape.gradient(found, images), tape.gradient(expected, images), atol=1e-5)
    np.testing.assert_allclose(tape.gradient(found, weights), tape.gradient(expected, dense)[::rate, ::rate], atol=1e-4)


def test_aligned_resize_keeps_the_corners_and_is_linear_between() -> None:
    # From 3 to 5 rows with aligned corners the new rows are at 0, 0.5, 1, 1.5, 2.
    images = _numbers(1, 3, 2, 1)
    found = AlignedResize()([images, np.zeros((1, 5, 3, 7), np.float32)]).numpy()[0, :, :, 0]
    rows = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]])
    columns = np.array([[1, 0], [0.5, 0.5], [0, 1]])
    np.testing.assert_allclose(found, rows @ images[0, :, :, 0] @ columns.T, atol=1e-6)


def test_input_scaling() -> None:
    found = input_scaling()(tf.constant([0.0, 127.5, 255.0, 51.0])).numpy()
    assert found[1] == 0.0  # exactly: padding must be no signal at all
    np.testing.assert_allclose(found, [-1, 0, 1, -0.6], atol=1e-6)


def test_blocks_normalize_with_their_epsilon_and_cap() -> None:
    inputs = keras.Input((None, None, 2))
    blocks = Blocks(epsilon=0.5, momentum=0.9, relu_cap=6, seed=3)
    model = keras.Model(inputs, blocks.conv(inputs, 2, "some/scope"))
    variables = official_variables(model)
    assert list(variables) == [
        "some/scope/weights",
        *(f"some/scope/BatchNorm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
    ]
    variables["some/scope/weights"].assign(np.float32([[[[1, 0], [0, -1]]]]))
    for name, value in (
        ("gamma", [2, 3]),
        ("beta", [1, -1]),
        ("moving_mean", [0.25, 0.5]),
        ("moving_variance", [3.5, 1.75]),
    ):
        variables[f"some/scope/BatchNorm/{name}"].assign(np.float32(value))
    # (2.25 - 0.25) / sqrt(3.5 + 0.5) * 2 + 1 = 3; (1 - 0.5) / sqrt(1.75 + 0.5) * 3 - 1 = 0; 100 is capped.
    found = model(np.float32([[[[2.25, -1.0], [100.0, 1.0]]]])).numpy()
    np.testing.assert_allclose(found, [[[[3, 0], [6, 0]]]], atol=1e-6)


def test_initial_values_depend_on_seed_and_scope_only() -> None:
    def weights(seed: int, scope: str) -> np.ndarray:
        inputs = keras.Input((None, None, 4))
        model = keras.Model(inputs, Blocks(1e-3, 0.9, seed=seed).conv(inputs, 8, scope, stddev=0.1))
        return official_variables(model)[f"{scope}/weights"].numpy()

    first = weights(0, "a/b")
    np.testing.assert_array_equal(first, weights(0, "a/b"))
    assert not np.array_equal(first, weights(1, "a/b"))
    assert not np.array_equal(first, weights(0, "a/c"))
    assert np.abs(first).max() < 0.2
