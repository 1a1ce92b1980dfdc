"""Stage 1's augmentation: flip and shift, drawn by key."""

from typing import NamedTuple

import numpy as np


class Augmentation(NamedTuple):
    """What happens to one example."""

    flip: bool
    """Whether it is mirrored."""
    shift: tuple[int, int]
    """Pixels it moves down and to the right."""


def draw_augmentation(random: np.random.Generator, count: int, flip: bool, shift: int) -> list[Augmentation]:
    """Augmentations of `count` examples.

    Args:
      random: a keyed generator.
      count: how many.
      flip: mirror half of them.
      shift: pixels by which one may move, per axis.
    """
    flips = random.random(count) < 0.5
    shifts = random.integers(-shift, shift + 1, size=(count, 2))
    return [Augmentation(flip and bool(f), (int(y), int(x))) for f, (y, x) in zip(flips, shifts, strict=True)]


def put_augmented(
    image: np.ndarray, label: np.ndarray, augmentation: Augmentation, into_image: np.ndarray, into_label: np.ndarray
) -> None:
    """Puts an example, flipped and moved, into a padded one; what is moved beyond its borders is cut off.

    Args:
      image: [H, W, 3].
      label: [H, W].
      augmentation: what happens to both.
      into_image: [H', W', 3], full of padding; it is changed.
      into_label: [H', W'], full of void; it is changed.
    """
    if augmentation.flip:
        image, label = image[:, ::-1], label[:, ::-1]
    (to_y, from_y), (to_x, from_x) = (
        (slice(max(s, 0), max(min(n + s, c), 0)), slice(max(-s, 0), max(min(n, c - s), 0)))
        for s, n, c in zip(augmentation.shift, label.shape, into_label.shape, strict=True)
    )
    into_image[to_y, to_x] = image[from_y, from_x]
    into_label[to_y, to_x] = label[from_y, from_x]
