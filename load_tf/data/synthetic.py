"""Procedurally drawn street scenes: no download, thousands of images in seconds, the same on every machine.

They are made for an adversary to find what a pixel-wise loss misses. Things have parts in a fixed layout: a house is a
wall under a roof, with a door at the middle of its foot; a truck is a body over two wheels; a person's head is on the
torso. Wall and truck body are twins: the same colours, stripes and windows, told apart only by what they belong to.
Windows, stains and shade on them are no classes of their own, so a segmentor that looks at too small a neighbourhood
leaves holes or mixes the twins. Objects hide one another, light and noise change by image, and a void line (255) runs
around every object as in PASCAL VOC.
"""

import dataclasses
import functools

import numpy as np

from load_tf.data.colours import Colour
from load_tf.data.dataset import IGNORE_LABEL, Example, Listed, SegmentationDataset
from load_tf.errors import UserError
from load_tf.randomness import generator

CLASS_NAMES = ("sky", "ground", "wall", "roof", "door", "truck", "wheel", "person")
COLOURS: tuple[Colour, ...] = (
    *((135, 190, 235), (110, 130, 80), (205, 170, 125), (165, 60, 45)),
    *((100, 60, 20), (60, 90, 200), (30, 30, 30), (235, 120, 180)),
)
SKY, GROUND, WALL, ROOF, DOOR, TRUCK, WHEEL, PERSON = range(len(CLASS_NAMES))

_FACADES = np.array([[176, 150, 120], [150, 92, 78], [120, 132, 146], [172, 166, 92], [112, 128, 100]], np.float32)
"""The colours that walls and truck bodies share."""


def synthetic(
    train: int = 400, validation: int = 200, size: tuple[int, int] = (96, 128), seed: int = 0
) -> SegmentationDataset:
    """Street scenes of 8 classes, drawn when they are asked for; a function of (seed, split, index) alone.

    Args:
      train: how many images the split `train` has.
      validation: how many `validation` has.
      size: (H, W) of every image, at least (32, 32).
      seed: of the scenes; not the experiment's, so that several runs see the same images.

    Raises:
      UserError: if a split would be empty or the size is too small.
    """
    for name, count in (("train", train), ("validation", validation)):
        if count < 1:
            raise UserError(f"synthetic.{name} is {count}; expected at least 1 image.")
    if len(size) != 2 or min(size) < 32:
        raise UserError(f"synthetic.size is {size}; expected (height, width), at least (32, 32).")
    height, width = size
    sources = {
        name: functools.partial(SyntheticScenes, name, count, (height, width), seed)
        for name, count in (("train", train), ("validation", validation))
    }
    return SegmentationDataset("synthetic", CLASS_NAMES, COLOURS, sources)


@dataclasses.dataclass(frozen=True, repr=False)
class SyntheticScenes(Listed):
    """A split of scenes.

    Attributes:
      name: of the split, part of the key.
      count: how many.
      size: (H, W).
      seed: of the scenes.
    """

    name: str
    count: int
    size: tuple[int, int]
    seed: int

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_{index:05d}" for index in range(self.count))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        """Draws one scene."""
        index = range(self.count)[index]
        scene = _Scene(self.size, generator(self.seed, "synthetic", self.name, index))
        scene.draw()
        return Example(scene.photograph(), scene.label_map(), f"{self.name}_{index:05d}")


class _Scene:
    """A canvas: colour, label and object of every pixel.

    Lengths are in units of the image's height, places in pixels. What is drawn later hides what was drawn before.
    """

    def __init__(self, size: tuple[int, int], random: np.random.Generator):
        self.height, self.width = size
        self.random = random
        self.colours = np.empty((*size, 3), np.float32)
        self.labels = np.empty(size, np.uint8)
        self.objects = np.zeros(size, np.int16)
        self.count = 0

    def draw(self) -> None:
        """The background, then objects from the far to the near."""
        random = self.random
        horizon = int(self.height * random.uniform(0.4, 0.6))
        self._background(horizon)
        kinds = [self._house] * random.integers(1, 4) + [self._truck] * random.integers(1, 3)
        kinds += [self._person] * random.integers(1, 4)
        depths = np.sort(random.uniform(0.1, 1, len(kinds)))
        for place, depth in zip(random.permutation(len(kinds)), depths, strict=True):
            foot = horizon + depth * (self.height - horizon) * 0.9
            scale = self.height * (0.5 + 0.5 * depth) * random.uniform(0.8, 1.2)
            self.count += 1
            kinds[place](random.uniform(0, self.width), foot, scale)

    def photograph(self) -> np.ndarray:
        """uint8 [H, W, 3]: the canvas under uneven light, slightly blurred, with noise."""
        random = self.random
        light = random.uniform(0.6, 1.15) * random.uniform(0.9, 1.1, 3)
        shade = 1 + 0.22 * self._clouds(4)
        image = self.colours * (light * shade[..., None]) + 14 * self._clouds(16)[..., None]
        image[1:-1] = (image[:-2] + 2 * image[1:-1] + image[2:]) / 4
        image[:, 1:-1] = (image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]) / 4
        image += random.uniform(6, 14) * random.standard_normal(image.shape, np.float32)
        return np.clip(image, 0, 255).astype(np.uint8)

    def label_map(self) -> np.ndarray:
        """uint8 [H, W]: the labels, void where one object ends."""
        labels = self.labels.copy()
        objects = self.objects
        labels[:-1][objects[:-1] != objects[1:]] = IGNORE_LABEL
        labels[:, :-1][objects[:, :-1] != objects[:, 1:]] = IGNORE_LABEL
        return labels

    def _background(self, horizon: int) -> None:
        """Sky above ground; in some light the one has the colour of the other."""
        random = self.random
        hazy = random.uniform(0, 1) < 0.4
        sky = np.array([165, 165, 160] if hazy else [130, 170, 220], np.float32) + random.normal(0, 12, 3)
        ground = np.array([135, 132, 126] if hazy else [112, 118, 88], np.float32) + random.normal(0, 12, 3)
        down = np.linspace(0, 1, self.height, dtype=np.float32)[:, None, None]
        self.colours[:] = sky + 30 * down
        self.colours[horizon:] = ground - 40 * (down[horizon:] - 0.5)
        self.labels[:] = SKY
        self.labels[horizon:] = GROUND

    def _house(self, x: float, foot: float, scale: float) -> None:
        random = self.random
        width, height = scale * random.uniform(0.4, 0.65), scale * random.uniform(0.3, 0.42)
        left, top = x - width / 2, foot - height
        self._facade(left, top, width, height, WALL)
        peak, eaves = scale * random.uniform(0.14, 0.24), width * 0.1
        rows, columns = self._window(left - eaves, top - peak, width + 2 * eaves, peak)
        y, across = _grid(rows, columns)
        # Half the houses have a hipped roof: a trapezium, not a triangle.
        ridge = width * random.choice([0.0, 0.3])
        half = ridge + (width / 2 + eaves - ridge) * (y - (top - peak)) / peak
        tiles = np.array([150, 84, 66], np.float32) + random.normal(0, 22, 3)
        self._paint(rows, columns, np.abs(across - x) <= half, tiles, ROOF)
        door = random.uniform(0.16, 0.22) * width
        rows, columns = self._window(x - door / 2, foot - 0.55 * height, door, 0.55 * height)
        self._paint(rows, columns, True, np.array([92, 70, 52], np.float32) + random.normal(0, 22, 3), DOOR)

    def _truck(self, x: float, foot: float, scale: float) -> None:
        random = self.random
        width, height = scale * random.uniform(0.5, 0.75), scale * random.uniform(0.24, 0.36)
        radius = scale * random.uniform(0.06, 0.08)
        self._facade(x - width / 2, foot - radius - height, width, height, TRUCK)
        rubber = np.array([58, 56, 56], np.float32) + random.normal(0, 10, 3)
        for share in (-0.3, 0.3):
            self._disc(x + share * width, foot - radius, radius, radius, rubber, WHEEL)

    def _person(self, x: float, foot: float, scale: float) -> None:
        random = self.random
        tall = scale * random.uniform(0.3, 0.4)
        clothes = random.uniform(40, 200, 3).astype(np.float32)
        skin = np.array([190, 150, 125], np.float32) * random.uniform(0.6, 1.1)
        self._disc(x, foot - 0.4 * tall, 0.16 * tall, 0.42 * tall, clothes, PERSON)
        self._disc(x, foot - 0.88 * tall, 0.12 * tall, 0.13 * tall, skin, PERSON)

    def _facade(self, left: float, top: float, width: float, height: float, label: int) -> None:
        """What walls and truck bodies look like: a shared colour, stripes, windows and stains."""
        random = self.random
        rows, columns = self._window(left, top, width, height)
        colour = _FACADES[random.integers(len(_FACADES))] + random.normal(0, 8, 3)
        y, x = _grid(rows, columns)
        stripes = 10 * np.sin(random.uniform(0.8, 2) * (y if random.uniform() < 0.5 else x))
        self._paint(rows, columns, True, colour + stripes[..., None], label)
        glass = np.array([90, 110, 130], np.float32) + random.normal(0, 25, 3)
        count = random.integers(2, 4)
        for place in range(count):
            pane = width / (2 * count + 1)
            panes = self._window(left + (2 * place + 1) * pane, top + 0.18 * height, pane, 0.25 * height)
            self._paint(*panes, True, glass, label)
        stained_x, stained_y = left + random.uniform(0.1, 0.9) * width, top + random.uniform(0.2, 0.9) * height
        across, down = np.minimum(
            random.uniform(0.05, 0.16, 2) * width, (left + width - stained_x, top + height - stained_y)
        )
        rows, columns = self._window(stained_x, stained_y, across, down)
        self._paint(rows, columns, True, random.uniform(60, 200, 3).astype(np.float32), label)

    def _disc(self, x: float, y: float, half_width: float, half_height: float, colour: np.ndarray, label: int) -> None:
        rows, columns = self._window(x - half_width, y - half_height, 2 * half_width, 2 * half_height)
        down, across = _grid(rows, columns)
        inside = ((across - x) / half_width) ** 2 + ((down - y) / half_height) ** 2 <= 1
        self._paint(rows, columns, inside, colour, label)

    def _window(self, left: float, top: float, width: float, height: float) -> tuple[slice, slice]:
        """The rows and columns of a rectangle that are on the canvas."""

        def span(start: float, length: float, size: int) -> slice:
            end = min(max(round(start + length), 0), size)
            return slice(min(max(round(start), 0), end), end)

        return span(top, height, self.height), span(left, width, self.width)

    def _paint(self, rows: slice, columns: slice, inside: np.ndarray | bool, colour: np.ndarray, label: int) -> None:
        """Covers the pixels of a window that are inside with the current object."""
        where = inside if isinstance(inside, bool) else inside[..., None]
        np.copyto(self.colours[rows, columns], colour, where=where, casting="same_kind")
        np.copyto(self.labels[rows, columns], np.uint8(label), where=inside)
        np.copyto(self.objects[rows, columns], np.int16(self.count), where=inside)

    def _clouds(self, cells: int) -> np.ndarray:
        """float32 [H, W]: smooth noise around 0 with a standard deviation of about 0.6, `cells` along the width."""
        grid = self.random.standard_normal((cells * self.height // self.width + 1, cells), np.float32)
        return _interpolation(self.height, grid.shape[0]) @ grid @ _interpolation(self.width, cells).T


@functools.cache
def _interpolation(size: int, cells: int) -> np.ndarray:
    """float32 [size, cells]: linear interpolation from `cells` values to `size`."""
    places = np.linspace(0, cells - 1, size, dtype=np.float32)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells, dtype=np.float32)))


def _grid(rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """int64 [h, 1] and [1, w]: the coordinates of a window's pixels."""
    return np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop)[None, :]
