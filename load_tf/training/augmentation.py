"""Batches of padded examples, and stage 1's augmentation of them: scale, cut, flip and shift, drawn by key."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from load_tf.data.dataset import IGNORE_LABEL, Split
from load_tf.segmentors.labelling import PADDING_VALUE, Size


class Augmentation(NamedTuple):
    """What happens to one example."""

    flip: bool
    """Whether it is mirrored."""
    shift: tuple[int, int]
    """Pixels it moves down and to the right."""
    scale: float = 1.0
    """By which its sides are multiplied."""
    cut: tuple[float, float] = (0.0, 0.0)
    """Where the crop lies in an example that is larger, per axis: 0 at its top or left end, 1 at the other."""


UNCHANGED = Augmentation(False, (0, 0))
"""An example as it is."""


def draw_augmentation(
    random: np.random.Generator, count: int, flip: bool, shift: int, scale: tuple[float, float] = (1.0, 1.0)
) -> list[Augmentation]:
    """Augmentations of `count` examples.

    Args:
      random: a keyed generator.
      count: how many.
      flip: mirror half of them.
      shift: pixels by which one may move, per axis.
      scale: the least and the largest scale; their logarithms are drawn evenly, and with them where the crop lies.
    """
    flips = random.random(count) < 0.5
    shifts = random.integers(-shift, shift + 1, size=(count, 2))
    scales = np.exp(random.uniform(math.log(scale[0]), math.log(scale[1]), count))
    cuts = random.random((count, 2))
    return [
        Augmentation(flip and bool(f), (int(y), int(x)), float(s), (float(top), float(left)))
        for f, (y, x), s, (top, left) in zip(flips, shifts, scales, cuts, strict=True)
    ]


def put_augmented(
    image: np.ndarray, label: np.ndarray, augmentation: Augmentation, into_image: np.ndarray, into_label: np.ndarray
) -> None:
    """Puts an example, scaled, flipped, cut and moved, into a padded one; what is moved beyond its borders is cut off.

    Args:
      image: [H, W, 3]; uint8 where it is scaled.
      label: [H, W], likewise.
      augmentation: what happens to both.
      into_image: [H', W', 3], full of padding; it is changed.
      into_label: [H', W'], full of void; it is changed.
    """
    image, label = _scaled_and_cut(image, label, augmentation, into_label.shape)
    if augmentation.flip:
        image, label = image[:, ::-1], label[:, ::-1]
    (to_y, from_y), (to_x, from_x) = (
        (slice(max(s, 0), max(min(n + s, c), 0)), slice(max(-s, 0), max(min(n, c - s), 0)))
        for s, n, c in zip(augmentation.shift, label.shape, into_label.shape, strict=True)
    )
    into_image[to_y, to_x] = image[from_y, from_x]
    into_label[to_y, to_x] = label[from_y, from_x]


def _scaled_and_cut(
    image: np.ndarray, label: np.ndarray, augmentation: Augmentation, crop: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The part of the scaled example that is no larger than the crop; bilinear, the labels by nearest neighbour."""
    size = [max(1, round(side * augmentation.scale)) for side in label.shape]
    height, width = (min(side, most) for side, most in zip(size, crop, strict=True))
    places = zip(size, (height, width), augmentation.cut, strict=True)
    top, left = (round((side - kept) * cut) for side, kept, cut in places)
    if augmentation.scale == 1:
        region = slice(top, top + height), slice(left, left + width)
        return image[region], label[region]
    y, x = label.shape[0] / size[0], label.shape[1] / size[1]
    box = (left * x, top * y, (left + width) * x, (top + height) * y)
    scaled = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box)
    return np.asarray(scaled), np.asarray(Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST, box))


def padded_batch(
    split: Split, places: Sequence[int] | np.ndarray, crop: Size, drawn: Sequence[Augmentation] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Some examples of a split, padded to the crop, as the segmentor takes them.

    Args:
      split: where they are.
      places: theirs in it.
      crop: the padded height and width; of a larger example the bottom and the right are cut off.
      drawn: what happens to each; None: nothing.

    Returns:
      float32 [B, *crop, 3], `PADDING_VALUE` beside the images, and uint8 [B, *crop], void beside the label maps.
    """
    images = np.full((len(places), *crop, 3), PADDING_VALUE, np.float32)
    labels = np.full((len(places), *crop), IGNORE_LABEL, np.uint8)
    for row, place in enumerate(places):
        image, label, _ = split[int(place)]
        put_augmented(image, label, drawn[row] if drawn else UNCHANGED, images[row], labels[row])
    return images, labels
