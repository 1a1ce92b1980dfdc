"""What the discriminator sees: the image split by class, with void masked (paper, Figure 2).

`D(Y|X)` looks at `3 K` channels: for every class k the three channels of `X * Y_k`. A real map, a stored fake map and a
live one all come through `split_by_class`; whatever tells them apart other than their labels is a leak.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from load_tf.discriminator.grid import Size, grid_points
from load_tf.errors import check
from load_tf.segmentors.convention import OFFICIAL, Convention

IMAGE_RANGE = (0.25, 1.0)
"""Strictly positive, so that 0 means only "not this class" (with [-1, 1] it would be mid-grey as well)."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a live label map is made from logits.

    Attributes:
      temperature: `tau` of `softmax((logits + gumbel) / tau)` (Jang et al. 2016); the paper has 20.
      inverse_temperature: `softmax(tau * (logits + gumbel))` instead, the convention that "boosts the learning rate".
      straight_through: forward a one-hot map, backward the gradient of the softmax; False is the literal soft map.
      gumbel_noise: draw a sample; False takes the arg-max, as stored maps do.
    """

    temperature: float = 20.0
    inverse_temperature: bool = False
    straight_through: bool = True
    gumbel_noise: bool = True

    def __post_init__(self) -> None:
        check(self, "temperature", allowed=lambda value: value > 0, expected="a number above 0")


class BatchSlice(NamedTuple):
    """Where in the global batch a replica's part of it lies, so that noise is what the whole batch would draw there."""

    first: tf.Tensor
    """int32: the part's first row."""
    rows: tf.Tensor
    """int32: rows of the whole batch."""


def split_by_class(images: tf.Tensor, maps: tf.Tensor, image_range: tuple[float, float] = IMAGE_RANGE) -> tf.Tensor:
    """Class-split images, the discriminator's input.

    Args:
      images: [B, G, G, 3] uint8, RGB on the grid.
      maps: [B, G, G, K] float32: one-hot (or soft) label maps, all zero where void.
      image_range: what 0 and 255 become.

    Returns:
      float32 [B, G, G, 3 K], class-major: channel `3 k + c` is colour c where the class is k, and 0 elsewhere.
    """
    low, high = image_range
    scaled = low + tf.cast(images, tf.float32) * ((high - low) / 255.0)
    split = maps[..., :, None] * scaled[..., None, :]
    shape = tf.shape(maps)
    return tf.reshape(split, [shape[0], shape[1], shape[2], 3 * maps.shape[-1]])


def one_hot(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """One-hot label maps; a pixel that is void (or any value of K and above) becomes all zeros.

    Args:
      labels: [B, G, G] uint8.

    Returns:
      float32 [B, G, G, K].
    """
    return tf.one_hot(tf.cast(labels, tf.int32), num_classes)


def with_noise(maps: tf.Tensor, share: float, key: tf.Tensor, place: BatchSlice | None = None) -> tf.Tensor:
    """Label maps in which some points have a class drawn evenly from all: instance noise, the same for real and fake.

    Args:
      maps: [B, G, G, K] float32: one-hot (or soft) label maps, all zero where void.
      share: of the points; void stays void.
      key: int32 [2], of the stateless noise.
      place: of these maps in the batch the noise is drawn for; None: they are all of it.

    Returns:
      float32 [B, G, G, K].
    """
    shape = tf.shape(maps)
    drawn = shape[:3] if place is None else tf.concat([[place.rows], shape[1:3]], 0)
    where, what = tf.unstack(tf.random.experimental.stateless_split(key, 2))
    hit = tf.random.stateless_uniform(drawn, where) < share
    classes = tf.random.stateless_uniform(drawn, what, 0, maps.shape[-1], tf.int32)
    if place is not None:
        hit, classes = (values[place.first : place.first + shape[0]] for values in (hit, classes))
    hit &= tf.reduce_any(maps > 0, -1)
    return tf.where(hit[..., None], tf.one_hot(classes, maps.shape[-1]), maps)


def interpolation_matrix(size: int, crop: int, grid: int, convention: Convention = OFFICIAL) -> np.ndarray:
    """Bilinear interpolation from `size` logits to the grid's pixels of a crop, along one axis.

    Args:
      size: logits along the axis.
      crop: pixels along the axis.
      grid: points along the axis.
      convention: where the logits lie. With aligned corners the first and last on the first and last pixel of the crop;
        with half-pixel centres each in the middle of `crop / size` pixels, and what is beyond the outermost is theirs.

    Returns:
      float32 [grid, size]; each row has at most two entries, which add up to 1.
    """
    if convention.upsampling == "aligned":
        position = grid_points(crop, grid) * ((size - 1) / max(crop - 1, 1))
    else:
        position = np.clip((grid_points(crop, grid) + 0.5) * (size / crop) - 0.5, 0, size - 1)
    lower = np.clip(np.floor(position).astype(np.int64), 0, max(size - 2, 0))
    upper = np.minimum(lower + 1, size - 1)
    weight = position - lower
    matrix = np.zeros((grid, size), np.float64)
    np.add.at(matrix, (np.arange(grid), lower), 1 - weight)
    np.add.at(matrix, (np.arange(grid), upper), weight)
    return matrix.astype(np.float32)


def logits_on_grid(logits: tf.Tensor, crop: Size, grid: int, convention: Convention = OFFICIAL) -> tf.Tensor:
    """Interpolates logits at the grid's pixels alone, instead of at every pixel of the crop.

    Two small matrix products, one per axis; what the evaluator would up-sample and the discriminator throw away is
    never made.

    Args:
      logits: [B, h, w, K] float, a segmentor's output for padded crops; h and w static.
      crop: the padded height and width.
      grid: points along each axis.
      convention: the segmentor's.

    Returns:
      float32 [B, G, G, K].
    """
    logits = tf.cast(logits, tf.float32)
    rows = tf.constant(interpolation_matrix(logits.shape[1], crop[0], grid, convention))
    columns = tf.constant(interpolation_matrix(logits.shape[2], crop[1], grid, convention))
    return tf.einsum("gh,bhwk,xw->bgxk", rows, logits, columns, optimize="optimal")


def sample_maps(logits: tf.Tensor, sampling: Sampling, key: tf.Tensor, place: BatchSlice | None = None) -> tf.Tensor:
    """Gumbel-softmax label maps (Jang et al. 2016), by default straight-through.

    Args:
      logits: [B, G, G, K] float32.
      sampling: temperature and kind.
      key: int32 [2], of the stateless noise.
      place: of these maps in the batch the noise is drawn for; None: they are all of it.

    Returns:
      float32 [B, G, G, K]. Straight-through: exactly one-hot forward, the gradient of
      `softmax((logits + gumbel) / tau)` backward.
    """
    if sampling.gumbel_noise:
        shape = tf.shape(logits)
        drawn = shape if place is None else tf.concat([[place.rows], shape[1:]], 0)
        uniform = tf.random.stateless_uniform(drawn, key, minval=np.finfo(np.float32).tiny, maxval=1.0)
        if place is not None:
            uniform = uniform[place.first : place.first + shape[0]]
        logits -= tf.math.log(-tf.math.log(uniform))
    scale = sampling.temperature if sampling.inverse_temperature else 1.0 / sampling.temperature
    soft = tf.nn.softmax(logits * scale)
    if not sampling.straight_through:
        return soft
    hard = tf.one_hot(tf.argmax(logits, axis=-1), logits.shape[-1])
    return _hard_forward_soft_backward(hard, soft)


@tf.custom_gradient
def _hard_forward_soft_backward(
    hard: tf.Tensor, soft: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[None, tf.Tensor]]]:
    # `hard + soft - stop_gradient(soft)` would leave rounding errors in the map: 0.99999994 in place of 1 is a leak.
    return tf.identity(hard), lambda upstream: (None, upstream)
