"""The discriminator's view of a data set: images and label maps read on a coarse grid of the padded crop.

The same integer pixels are read in the image, the ground truth and (by interpolating its logits there) the segmentor's
map, so that no resizing can tell a real map from a generated one.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from load_tf import interruption
from load_tf.data.dataset import IGNORE_LABEL, Split
from load_tf.errors import UserError
from load_tf.progress import progress

Size = tuple[int, int]


def grid_points(crop: int, grid: int) -> np.ndarray:
    """The pixels that are read along an axis: `p_i = floor((i + 0.5) * crop / grid)`.

    Args:
      crop: pixels along the axis of the padded crop.
      grid: points along the axis, e.g. 224.

    Returns:
      int64 [grid], values in [0, crop).
    """
    return ((2 * np.arange(grid) + 1) * crop) // (2 * grid)


def read_on_grid(pixels: np.ndarray, crop: Size, grid: int, fill: int) -> np.ndarray:
    """Reads an image or a label map, padded to the crop with `fill`, at the grid's pixels.

    Args:
      pixels: [H, W, ...] uint8, no larger than the crop.
      crop: the padded height and width.
      grid: points along each axis.
      fill: what the padding holds.

    Returns:
      uint8 [grid, grid, ...].
    """
    rows, columns = grid_points(crop[0], grid), grid_points(crop[1], grid)
    rows, columns = rows[rows < pixels.shape[0]], columns[columns < pixels.shape[1]]
    result = np.full((grid, grid, *pixels.shape[2:]), fill, np.uint8)
    result[: len(rows), : len(columns)] = pixels[rows[:, None], columns]
    return result


@dataclasses.dataclass(frozen=True)
class GridExamples:
    """All of a split on the grid, in memory: 4 bytes a point (200 KB an image at 224).

    Attributes:
      images: uint8 [N, G, G, 3].
      labels: uint8 [N, G, G]; void and padding are IGNORE_LABEL.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def read_grid_examples(
    split: Split, crop: Size, grid: int, description: str, called: str = "training image"
) -> GridExamples:
    """Reads every example of a split on the grid.

    Args:
      split: where they are.
      crop: the padded height and width.
      grid: points along each axis.
      description: for the progress bar.
      called: what an image is called in an error.

    Raises:
      UserError: naming an image that is larger than the crop.
    """
    images = np.empty((len(split), grid, grid, 3), np.uint8)
    labels = np.empty((len(split), grid, grid), np.uint8)

    def read(index: int) -> str | None:
        image, label, identity = split[index]
        height, width = label.shape
        if height > crop[0] or width > crop[1]:
            return (
                f"{called} {identity!r} is {height}x{width}, larger than the crop {crop[0]}x{crop[1]}; "
                "choose a larger crop."
            )
        images[index] = read_on_grid(image, crop, grid, fill=127)
        labels[index] = read_on_grid(label, crop, grid, fill=IGNORE_LABEL)
        return None

    with interruption.abandonable(), ThreadPoolExecutor(2) as pool:
        found = progress(pool.map(read, range(len(split))), description, len(split), "img")
        faults = [fault for fault in found if fault]
    if faults:
        others = len(faults) - 1
        more = "" if not others else " So is another." if others == 1 else f" So are {others} others."
        raise UserError(faults[0] + more, faults)
    return GridExamples(images, labels)
