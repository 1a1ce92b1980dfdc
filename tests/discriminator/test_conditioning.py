"""What the discriminator sees, against numpy in float64 and TensorFlow's own resizing."""

import numpy as np
import pytest
import tensorflow as tf

from load_tf.discriminator.conditioning import (
    Sampling,
    interpolation_matrix,
    logits_on_grid,
    one_hot,
    sample_maps,
    split_by_class,
)
from load_tf.errors import UserError
from load_tf.randomness import key
from load_tf.segmentors.labelling import label_maps

K = 4


def points(crop: int, grid: int) -> np.ndarray:
    return np.array([int((i + 0.5) * crop / grid) for i in range(grid)])


# --- split by class


def test_split_is_class_major() -> None:
    """Every channel by brute force: 3 k + c is colour c where the class is k."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    labels = random.choice([0, 1, 3, 255], (2, 5, 6)).astype(np.uint8)  # class 2 is absent
    split = split_by_class(tf.constant(images), one_hot(tf.constant(labels), K)).numpy()
    assert split.shape == (2, 5, 6, 3 * K)
    assert split.dtype == np.float32
    expected = np.zeros((2, 5, 6, 3 * K))
    for place in np.ndindex(2, 5, 6):
        if labels[place] != 255:
            for c in range(3):
                expected[(*place, 3 * labels[place] + c)] = 0.25 + 0.75 * images[(*place, c)] / 255
    np.testing.assert_allclose(split, expected, rtol=1e-6)
    # Colour-major (channel c K + k) would be another tensor.
    colour_major = expected.reshape(2, 5, 6, K, 3).swapaxes(3, 4).reshape(expected.shape)
    assert np.abs(split - colour_major).max() > 0.2


def test_split_range_and_zeros() -> None:
    """Zero means "not this class" and nothing else, even for black pixels."""
    images = np.stack([np.zeros((4, 4, 3)), np.full((4, 4, 3), 255)]).astype(np.uint8)
    labels = np.tile(np.array([[0, 1, 3, 255]], np.uint8), (2, 4, 1))
    split = split_by_class(tf.constant(images), one_hot(tf.constant(labels), K)).numpy()
    by_class = split.reshape(2, 4, 4, K, 3)
    for column, k in enumerate((0, 1, 3)):
        np.testing.assert_allclose(by_class[0, :, column, k], 0.25, rtol=1e-6)
        np.testing.assert_allclose(by_class[1, :, column, k], 1.0, rtol=1e-6)
        assert np.count_nonzero(by_class[:, :, column]) == 2 * 4 * 3
    assert not by_class[..., 2, :].any()  # an absent class
    assert not by_class[:, :, 3].any()  # void


def test_split_with_another_range() -> None:
    """The range a prototype failed with: mid-grey cannot be told from "not this class"."""
    images = np.full((1, 1, 1, 3), (0, 127.5, 255), np.float32)
    split = split_by_class(tf.constant(images), tf.constant([[[[0.0, 1.0]]]]), (-1.0, 1.0)).numpy()
    np.testing.assert_allclose(split[0, 0, 0], [0, 0, 0, -1, 0, 1], atol=1e-7)


def test_one_hot_leaves_void_and_foreign_labels_empty() -> None:
    maps = one_hot(tf.constant([[[0, 3, 255, 4, 254]]], tf.uint8), K).numpy()
    np.testing.assert_array_equal(maps[0, 0], [[1, 0, 0, 0], [0, 0, 0, 1], [0] * 4, [0] * 4, [0] * 4])


# --- logits on the grid


def smooth_logits(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """float32 [2, *size, K]: waves of a few periods, of a confident network's height."""
    random = np.random.default_rng(seed)
    y, x = np.linspace(0, 1, size[0])[:, None, None], np.linspace(0, 1, size[1])[None, :, None]
    waves = [
        sum(np.sin(2 * np.pi * (a * y + b * x) + phase) for a, b, phase in random.uniform(-2, 2, (3, 3, K)))
        for _ in range(2)
    ]
    return (4 * np.stack(waves)).astype(np.float32)


GEOMETRIES = [
    # logits, crop, grid
    ((33, 33), (129, 129), 64),
    ((17, 25), (65, 97), 40),
    ((9, 7), (129, 97), 33),
    ((5, 33), (65, 513), 50),
    ((13, 9), (49, 33), 56),  # more points than pixels
    ((65, 97), (65, 97), 32),  # logits at full resolution
]


@pytest.mark.parametrize(("size", "crop", "grid"), GEOMETRIES)
def test_logits_on_grid_are_the_up_sampled_ones_at_its_pixels(
    size: tuple[int, int], crop: tuple[int, int], grid: int
) -> None:
    logits = smooth_logits(size)
    ours = logits_on_grid(tf.constant(logits), crop, grid).numpy()
    assert ours.shape == (2, grid, grid, K)
    assert ours.dtype == np.float32
    rows, columns = points(crop[0], grid), points(crop[1], grid)
    full = tf.raw_ops.ResizeBilinear(images=logits, size=crop, align_corners=True, half_pixel_centers=False).numpy()
    theirs = full[:, rows][:, :, columns]
    assert np.abs(ours - theirs).max() < 1e-3
    assert np.mean(ours.argmax(-1) == theirs.argmax(-1)) >= 0.9999
    evaluators = label_maps(tf.constant(logits), crop).numpy()[:, rows][:, :, columns]
    assert np.mean(ours.argmax(-1) == evaluators) >= 0.9999


@pytest.mark.parametrize(("size", "crop", "grid"), GEOMETRIES[:5])
def test_other_ways_of_resizing_do_not_agree(size: tuple[int, int], crop: tuple[int, int], grid: int) -> None:
    """The control of the test above: half-pixel centres, and another grid."""
    logits = smooth_logits(size)
    ours = logits_on_grid(tf.constant(logits), crop, grid).numpy()
    rows, columns = points(crop[0], grid), points(crop[1], grid)
    half_pixel = tf.image.resize(logits, crop, "bilinear").numpy()
    aligned = tf.raw_ops.ResizeBilinear(images=logits, size=crop, align_corners=True, half_pixel_centers=False).numpy()
    straight_to_the_grid = tf.raw_ops.ResizeBilinear(
        images=logits, size=(grid, grid), align_corners=True, half_pixel_centers=False
    ).numpy()
    shifted = aligned[:, np.maximum(rows - 1, 0)][:, :, np.maximum(columns - 1, 0)]
    for other in (half_pixel[:, rows][:, :, columns], straight_to_the_grid, shifted):
        assert np.abs(ours - other).max() > 0.1
        assert np.mean(ours.argmax(-1) == other.argmax(-1)) < 0.9999


def test_logits_on_grid_exactly_at_the_logits_pixels() -> None:
    """With a logit on every pixel nothing is interpolated: the very values, bit for bit."""
    logits = np.random.default_rng(0).normal(size=(1, 33, 49, K)).astype(np.float32)
    ours = logits_on_grid(tf.constant(logits), (33, 49), 16).numpy()
    np.testing.assert_array_equal(ours, logits[:, points(33, 16)][:, :, points(49, 16)])


def test_one_logit_is_everywhere() -> None:
    logits = np.random.default_rng(0).normal(size=(1, 1, 1, K)).astype(np.float32)
    np.testing.assert_array_equal(
        logits_on_grid(tf.constant(logits), (17, 33), 8).numpy(), np.tile(logits, (1, 8, 8, 1))
    )


@pytest.mark.parametrize(
    ("size", "crop", "grid"), [(129, 513, 224), (33, 513, 224), (7, 97, 32), (2, 17, 40), (1, 17, 4)]
)
def test_interpolation_matrix(size: int, crop: int, grid: int) -> None:
    matrix = interpolation_matrix(size, crop, grid).astype(np.float64)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    assert (np.count_nonzero(matrix, axis=1) <= 2).all()
    assert (matrix >= 0).all()
    # It reproduces straight lines: the places of the logits themselves.
    np.testing.assert_allclose(
        matrix @ np.linspace(0, crop - 1, size), points(crop, grid) if size > 1 else 0, atol=1e-4
    )


# --- sampling


def noise(shape: tuple[int, ...], seed: np.ndarray) -> np.ndarray:
    """Gumbel noise in float64 from the same uniform draws."""
    uniform = tf.random.stateless_uniform(shape, seed, minval=np.finfo(np.float32).tiny).numpy().astype(np.float64)
    return -np.log(-np.log(uniform))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


LOGITS = np.random.default_rng(3).normal(scale=2, size=(2, 7, 9, K)).astype(np.float32)
KEY = key(5, "gumbel", 0)


@pytest.mark.parametrize("gumbel", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_straight_through_is_exactly_one_hot(gumbel: bool, temperature: float) -> None:
    maps = sample_maps(tf.constant(LOGITS), Sampling(temperature, gumbel_noise=gumbel), tf.constant(KEY)).numpy()
    noisy = LOGITS + (noise(LOGITS.shape, KEY) if gumbel else 0)
    assert set(np.unique(maps.view(np.uint32)).tolist()) == {0, 0x3F800000}  # the bits of +0.0 and 1.0
    np.testing.assert_array_equal(maps, np.eye(K)[noisy.argmax(axis=-1)])
    assert np.mean(noisy.argmax(-1) != LOGITS.argmax(-1)) == pytest.approx(0.2 if gumbel else 0, abs=0.15)


def test_the_usual_way_of_writing_it_is_not_exactly_one_hot() -> None:
    """The control: `hard + soft - stop_gradient(soft)` leaves rounding errors."""
    soft = softmax(LOGITS).astype(np.float32)
    hard = np.eye(K, dtype=np.float32)[LOGITS.argmax(-1)]
    assert np.float32(0.99999994) in (hard + soft) - soft


@pytest.mark.parametrize("gumbel", [False, True])
@pytest.mark.parametrize("straight_through", [False, True])
@pytest.mark.parametrize(("temperature", "inverse", "scale"), [(1.0, False, 1), (20.0, False, 1 / 20), (4.0, True, 4)])
def test_gradient_is_the_softmaxs(
    gumbel: bool, straight_through: bool, temperature: float, inverse: bool, scale: float
) -> None:
    """d sum(W * softmax(s x)) / dx = s * p * (W - sum(W p)), by hand in float64."""
    upstream = np.random.default_rng(4).normal(size=LOGITS.shape)
    sampling = Sampling(temperature, inverse, straight_through, gumbel)
    variable = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = tf.reduce_sum(sample_maps(variable, sampling, tf.constant(KEY)) * upstream.astype(np.float32))
    p = softmax(scale * (LOGITS + (noise(LOGITS.shape, KEY) if gumbel else 0)))
    expected = scale * p * (upstream - (upstream * p).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(tape.gradient(value, variable).numpy(), expected, rtol=1e-3, atol=2e-6)
    assert np.abs(expected).max() > 0.005


def test_literal_soft_map() -> None:
    soft = sample_maps(tf.constant(LOGITS), Sampling(2.0, straight_through=False), tf.constant(KEY)).numpy()
    np.testing.assert_allclose(soft, softmax((LOGITS + noise(LOGITS.shape, KEY)) / 2), rtol=1e-4, atol=1e-6)
    assert ((soft > 0.01) & (soft < 0.99)).mean() > 0.5


def test_noise_is_keyed() -> None:
    one, again, other = (
        sample_maps(tf.constant(LOGITS), Sampling(), tf.constant(key(5, "gumbel", place))).numpy()
        for place in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any(axis=-1).mean() > 0.05
    plain = [
        sample_maps(tf.constant(LOGITS), Sampling(gumbel_noise=False), tf.constant(key(5, "gumbel", place))).numpy()
        for place in (0, 1)
    ]
    np.testing.assert_array_equal(*plain)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_samples_are_distributed_as_the_softmax(temperature: float) -> None:
    """The arg-max of logits + Gumbel noise is a draw from softmax(logits), whatever tau: 3 sigma on 6400 draws."""
    logits = np.array([1.0, 0.0, -1.5, 2.0], np.float32)
    count = 6400
    maps = sample_maps(
        tf.constant(np.broadcast_to(logits, (1, 80, 80, K))), Sampling(temperature), tf.constant(key(0, "draws"))
    ).numpy()
    p = softmax(logits.astype(np.float64))
    sigma = np.sqrt(p * (1 - p) / count)
    frequency = maps.reshape(-1, K).mean(axis=0)
    assert (np.abs(frequency - p) < 3 * sigma).all()
    # Uniform noise in place of Gumbel's, or tau inside the draw, would be far outside.
    assert (np.abs(frequency - softmax(logits / 2.0)) > 3 * sigma).any()


def test_extreme_logits_stay_finite() -> None:
    logits = tf.constant(np.random.default_rng(0).choice([-1e6, 0, 1e6], (1, 8, 8, K)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        maps = sample_maps(logits, Sampling(), tf.constant(KEY))
    assert np.isfinite(tape.gradient(maps, logits, output_gradients=tf.cast(maps > 0, tf.float32)).numpy()).all()
    np.testing.assert_array_equal(maps.numpy().sum(axis=-1), 1)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(UserError, match=r"Sampling\.temperature is"):
        Sampling(temperature)
