"""Reading on the grid against loops over every point."""

from fractions import Fraction

import numpy as np
import pytest

from load_tf.data.dataset import Example, ExampleList
from load_tf.discriminator.grid import grid_points, read_grid_examples, read_on_grid
from load_tf.errors import UserError


@pytest.mark.parametrize(
    ("crop", "grid", "expected"),
    [
        (10, 4, [1, 3, 6, 8]),
        (7, 3, [1, 3, 5]),
        (5, 5, [0, 1, 2, 3, 4]),
        (3, 5, [0, 0, 1, 2, 2]),  # more points than pixels
        (9, 2, [2, 6]),
        (17, 1, [8]),
    ],
)
def test_points_by_hand(crop: int, grid: int, expected: list[int]) -> None:
    assert grid_points(crop, grid).tolist() == expected


def test_points_of_the_paper() -> None:
    points = grid_points(513, 224)
    assert points[:6].tolist() == [1, 3, 5, 8, 10, 12]
    assert points[-3:].tolist() == [507, 509, 511]


@pytest.mark.parametrize("crop", [33, 97, 513, 1025, 2049])
@pytest.mark.parametrize("grid", [31, 64, 224])
def test_points_follow_the_formula_exactly(crop: int, grid: int) -> None:
    """Fractions, since a float product could fall on the wrong side of a whole number."""
    exact = [int(Fraction(2 * i + 1, 2) * crop / grid) for i in range(grid)]
    assert grid_points(crop, grid).tolist() == exact
    # A common other reading, `floor(i * crop / grid)`, is not meant.
    assert exact != [i * crop // grid for i in range(grid)]


@pytest.mark.parametrize(
    ("size", "crop"), [((33, 49), (33, 49)), ((20, 31), (33, 49)), ((7, 49), (33, 49)), ((1, 1), (17, 33))]
)
@pytest.mark.parametrize("channels", [(), (3,)])
def test_reads_pixel_by_pixel(size: tuple[int, int], crop: tuple[int, int], channels: tuple[int, ...]) -> None:
    grid, fill = 12, 255 if not channels else 127
    pixels = np.random.default_rng(0).integers(0, 200, (*size, *channels), dtype=np.uint8)
    read = read_on_grid(pixels, crop, grid, fill)
    assert read.shape == (grid, grid, *channels)
    assert read.dtype == np.uint8
    padding = 0
    for i in range(grid):
        for j in range(grid):
            y, x = int(Fraction(2 * i + 1, 2) * crop[0] / grid), int(Fraction(2 * j + 1, 2) * crop[1] / grid)
            if y < size[0] and x < size[1]:
                np.testing.assert_array_equal(read[i, j], pixels[y, x])
            else:
                assert (read[i, j] == fill).all()
                padding += 1
    assert (padding > 0) == (size != crop)


def test_split_on_the_grid() -> None:
    """Void stays 255, padding becomes 255, the order is the split's although two threads read."""
    random = np.random.default_rng(1)
    crop, grid, found = (33, 49), 16, []
    for number, size in enumerate([(33, 49), (20, 49), (33, 11), (5, 7)] * 5):
        label = random.integers(0, 4, size, dtype=np.uint8)
        label[random.random(size) < 0.2] = 255
        found.append(Example(random.integers(0, 256, (*size, 3), dtype=np.uint8), label, str(number)))
    examples = read_grid_examples(ExampleList(found), crop, grid, "test")
    assert len(examples) == 20
    rows, columns = np.arange(grid) * 33 // 16 + 1, (np.arange(grid) * 2 + 1) * 49 // 32
    for number, (image, label, _) in enumerate(found):
        padded = np.full(crop, 255, np.uint8)
        padded[: label.shape[0], : label.shape[1]] = label
        np.testing.assert_array_equal(examples.labels[number], padded[np.ix_(rows, columns)])
        grey = np.full((*crop, 3), 127, np.uint8)
        grey[: label.shape[0], : label.shape[1]] = image
        np.testing.assert_array_equal(examples.images[number], grey[np.ix_(rows, columns)])
    assert (examples.labels[0] == 255).any()
    assert (examples.labels[0] != 255).any()


@pytest.mark.parametrize("size", [(34, 49), (33, 50)])
def test_image_larger_than_the_crop_is_refused(size: tuple[int, int]) -> None:
    large = Example(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), "large one")
    with pytest.raises(UserError, match=rf"'large one' is {size[0]}x{size[1]}.*33x49"):
        read_grid_examples(ExampleList([large]), (33, 49), 8, "test")
