"""The aggregation buffer B: sets of label maps of degraded models, and the discriminator's batches from D_t and B.

A set holds one model's maps of every image of D_t and of the hold-out (which is never trained on), uint8 at the
discriminator's resolution: 50 KB an image at 224. Sets live in the run directory, named by its state with size and
checksum; after a restart those in memory are views of what was read from there.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL
from load_tf.data.pipeline import read_ahead
from load_tf.discriminator.grid import GridExamples
from load_tf.randomness import generator, key


@dataclasses.dataclass(frozen=True)
class LabelMapSet:
    """The label maps of one model.

    Attributes:
      training: uint8 [N, G, G], of the images of D_t, in their order: first those with labels, then those without.
      holdout: uint8 [M, G, G], of the hold-out images, in their order.
      cycle: the cycle before which they were made.
    """

    training: np.ndarray
    holdout: np.ndarray
    cycle: int

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"training": self.training, "holdout": self.holdout, "cycle": np.array(self.cycle)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "LabelMapSet":
        return cls(arrays["training"], arrays["holdout"], int(arrays["cycle"]))


class Draw(NamedTuple):
    """One map the discriminator is shown: whose, from where, how."""

    image: np.ndarray
    """int64 [n]: index into D_t."""
    source: np.ndarray
    """int64 [n]: -1 for the ground truth, else the index of the set in the buffer."""
    flip: np.ndarray
    """bool [n]: mirrored left to right."""
    weight: np.ndarray
    """float32 [n]: of its loss; 1 on average."""
    beside: np.ndarray | None = None
    """int64 [n]: index into D_t of the image whose hidden points are hidden here, too; None: no other image's."""


def draw_pairs(examples: int, sets: int, seed: int, *purpose: int | str, unlabelled: int = 0) -> Draw:
    """One epoch of pairs: every image once with its ground truth and once with the map of a set drawn by key.

    Both of a pair stand next to each other, so that an even batch holds whole pairs; both are flipped or neither is.
    Images without labels have no ground truth to stand beside: with some, the fake map is one of an image drawn from
    all, and what is hidden in either of a pair is hidden in both.

    Args:
      examples: images of D_t with labels.
      sets: in the buffer.
      seed: with `purpose` the key.
      unlabelled: images of D_t without labels that may be drawn; they come behind the others.
    """
    random = generator(seed, "pairs", *purpose)
    order = random.permutation(examples)
    source = np.stack([np.full(examples, -1), random.integers(sets, size=examples)], axis=1)
    flip = random.random(examples) < 0.5
    drawn = Draw(np.repeat(order, 2), source.reshape(-1), np.repeat(flip, 2), np.ones(2 * examples, np.float32))
    if not unlabelled:
        return drawn
    faked = random.integers(examples + unlabelled, size=examples)
    both = np.stack([order, faked], axis=1)
    return drawn._replace(image=both.reshape(-1), beside=both[:, ::-1].reshape(-1))


def draw_union(examples: int, sets: int, seed: int, *purpose: int | str, unlabelled: int = 0) -> Draw:
    """One epoch of the literal union `D_t + B`: every map of every set once, real and fake weighing the same in sum.

    The arguments are those of `draw_pairs`. With images without labels, every map has the hidden points of another
    image beside its own: a real one those of any, a fake one those of one with labels.
    """
    random = generator(seed, "union", *purpose)
    fakes = examples + unlabelled
    order = random.permutation(examples + fakes * sets)
    real = order < examples
    source = np.where(real, -1, (order - examples) // fakes)
    image = np.where(real, order, (order - examples) % fakes)
    weight = np.where(real, len(order) / (2 * examples), len(order) / (2 * sets * fakes))
    drawn = Draw(image, source, random.random(len(order)) < 0.5, weight.astype(np.float32))
    if not unlabelled:
        return drawn
    return drawn._replace(
        beside=np.where(real, *(random.integers(count, size=len(order)) for count in (fakes, examples)))
    )


def mask_void(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Makes void what is void (or padding) in the ground truth: VOC outlines objects with it, and no model does.

    The truth may be that of another image: beside the map of an image whose void nobody knows, a real map would be told
    by its own.
    """
    return np.where(truth == IGNORE_LABEL, np.uint8(IGNORE_LABEL), maps)


WRONG_FROM = 0.25
"""Share of a place's visible points that must be wrong for the place to be."""


def right_places(maps: np.ndarray, truth: np.ndarray, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a label map is right, place by place.

    Args:
      maps: uint8 [B, G, G]; `truth` likewise, void where IGNORE_LABEL.
      place: points of a place along each axis; the last ones may have fewer.

    Returns:
      float32 [B, g, g] each, with `g = ceil(G / place)`: 1 for places without a wrong point, 0 for those where
      `WRONG_FROM` of the visible points or more are wrong; and weights, of mean 1 and as much in sum on either kind,
      0 for the places between and for those that are void.
    """
    visible = truth != IGNORE_LABEL
    beyond = [(0, 0), *[(0, -side % place) for side in truth.shape[1:]]]

    def counted(points: np.ndarray) -> np.ndarray:
        padded = np.pad(points, beyond)
        rows, columns = padded.shape[1] // place, padded.shape[2] // place
        return padded.reshape(-1, rows, place, columns, place).sum(axis=(2, 4))

    seen, wrong = counted(visible), counted((maps != truth) & visible)
    right = (wrong == 0) & (seen > 0)
    fake = (wrong >= WRONG_FROM * seen) & (seen > 0)
    kinds = [kind for kind in (right, fake) if kind.any()]
    weights = sum(kind * (right.size / len(kinds) / kind.sum()) for kind in kinds) if kinds else np.zeros(right.shape)
    return right.astype(np.float32), np.asarray(weights, np.float32)


def batches(
    examples: GridExamples,
    sets: list[np.ndarray],
    draw: Draw,
    batch_size: int,
    seed: int,
    *purpose: int | str,
    place: int | None = None,
) -> tf.data.Dataset:
    """The discriminator's batches, in the order of the draw.

    Args:
      examples: D_t on the grid.
      sets: for every set of the buffer uint8 [N, G, G].
      draw: what to show, in which order.
      batch_size: maps in a batch; the last one of an epoch may be smaller.
      seed: with `purpose` the key of the dropout.
      place: for a discriminator that is asked "right here": points of a place along each axis.

    Returns:
      Elements with `images` uint8 [B, G, G, 3], `maps` uint8 [B, G, G] (void where the truth is), `real` float32 [B]
      (1 for ground truth), `weights` float32 [B], `key` int32 [2]; with `place` also `right` and `place_weights`
      float32 [B, g, g], of `right_places`.
    """

    def batch(start: int) -> tuple[np.ndarray, ...]:
        part = slice(start, start + batch_size)
        index, source, flip = draw.image[part], draw.source[part], draw.flip[part]
        images, truth = examples.images[index], examples.labels[index]
        if draw.beside is not None:
            truth = mask_void(truth, examples.labels[draw.beside[part]])
        maps = truth.copy()
        for number, one_set in enumerate(sets):
            chosen = source == number
            maps[chosen] = one_set[index[chosen]]
        maps = mask_void(maps, truth)
        images[flip] = images[flip, :, ::-1]
        maps[flip] = maps[flip, :, ::-1]
        real = (source < 0).astype(np.float32)
        found = images, maps, real, draw.weight[part], key(seed, "dropout", *purpose, int(start))
        if place is None:
            return found
        truth[flip] = truth[flip, :, ::-1]
        return *found, *right_places(maps, truth, place)

    grid = examples.images.shape[1]
    specification = (
        tf.TensorSpec([None, grid, grid, 3], tf.uint8),
        tf.TensorSpec([None, grid, grid], tf.uint8),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([2], tf.int32),
        *([tf.TensorSpec([None, -(-grid // place), -(-grid // place)], tf.float32)] * 2 if place else []),
    )
    names = ("images", "maps", "real", "weights", "key", "right", "place_weights")
    starts = range(0, len(draw.image), batch_size)
    return stream(batch, starts, specification).map(lambda *values: dict(zip(names, values, strict=False)))


def holdout_pairs(
    examples: GridExamples,
    sets: list[np.ndarray],
    batch_size: int,
    seed: int,
    *purpose: int | str,
    place: int | None = None,
) -> tf.data.Dataset:
    """The hold-out's real and fake maps side by side, unflipped; elements as in `batches`."""
    draw = draw_pairs(len(examples), len(sets), seed, "hold-out", *purpose)
    plain = draw._replace(flip=np.zeros_like(draw.flip))
    return batches(examples, sets, plain, batch_size, seed, "hold-out", place=place)


def stream(
    produce: Callable[[int], tuple[np.ndarray, ...]], positions: range, specification: tuple[tf.TensorSpec, ...]
) -> tf.data.Dataset:
    """A tf.data pipeline over batches that numpy gathers from memory, two ahead of the consumer, in order."""

    @tf.autograph.experimental.do_not_convert
    def load(position: tf.Tensor) -> tuple[tf.Tensor, ...]:
        values = tf.numpy_function(lambda p: produce(int(p)), [position], [s.dtype for s in specification])
        for value, spec in zip(values, specification, strict=True):
            value.set_shape(spec.shape)
        return tuple(values)

    indices = tf.data.Dataset.range(positions.start, positions.stop, positions.step)
    return read_ahead(indices.map(load, num_parallel_calls=2, deterministic=True))


def image_order(examples: int, seed: int, start: int, count: int, purpose: str = "image order") -> Iterator[int]:
    """The images at places `start` to `start + count` of an endless stream that visits D_t epoch by epoch.

    A pure function of (seed, purpose, place): going on after a restart needs no iterator state.
    """
    for place in range(start, start + count):
        epoch, offset = divmod(place, examples)
        if offset == 0 or place == start:
            order = generator(seed, purpose, epoch).permutation(examples)
        yield int(order[offset])
