"""Stage 1's scaled and cut images."""

import numpy as np
import pytest

from load_tf.data.dataset import Example, ExampleList
from load_tf.errors import UserError
from load_tf.training.augmentation import Augmentation, draw_augmentation, padded_batch
from load_tf.training.stage_one import StageOne, cross_entropy_batches

SIZE = (40, 60)


def example(size: tuple[int, int] = SIZE) -> Example:
    """A picture whose red is the row and whose green is the column, and so are its labels' high and low digits."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([rows * 4, columns * 4, np.zeros(size)], -1).astype(np.uint8)
    return Example(image, (rows // 10 * 10 + columns // 10).astype(np.uint8), "one")


def put(augmentation: Augmentation, crop: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = padded_batch(ExampleList([example()]), [0], crop, [augmentation])
    return images[0], labels[0]


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("cut", [(0.0, 0.0), (1.0, 1.0), (0.25, 0.75)])
def test_image_and_labels_show_the_same_part(scale: float, cut: tuple[float, float]) -> None:
    crop = (15, 25)
    image, labels = put(Augmentation(False, (0, 0), scale, cut), crop)
    assert (labels != 255).all()
    # Half-pixel centres: output pixel p shows the source at (p + offset + 0.5) / scale - 0.5.
    for axis, (side, kept) in enumerate(zip(SIZE, crop, strict=True)):
        offset = round((round(side * scale) - kept) * cut[axis])
        expected = (np.arange(kept) + offset + 0.5) / scale - 0.5
        found = image[..., axis] / 4
        inside = slice(2, -2)
        line = found[kept // 2 if axis else inside, inside if axis else 3]
        np.testing.assert_allclose(line[: kept - 4], expected[inside], atol=0.6)
    rows, columns = (image[..., 0] / 4 / 10).astype(int), (image[..., 1] / 4 / 10).astype(int)
    assert np.mean(labels == rows * 10 + columns) > 0.85


def test_what_is_smaller_than_the_crop_is_padded() -> None:
    image, labels = put(Augmentation(False, (0, 0), 0.5), (33, 49))
    assert (labels[:20, :30] != 255).all() and (labels[20:] == 255).all() and (labels[:, 30:] == 255).all()
    assert (image[20:] == 127.5).all()


def test_scaling_by_one_changes_no_pixel() -> None:
    image, labels = put(Augmentation(True, (0, 0), 1.0, (1.0, 0.0)), (15, 25))
    np.testing.assert_array_equal(labels, example().label[25:, :25][:, ::-1])
    np.testing.assert_array_equal(image, example().image[25:, :25][:, ::-1])


def test_scales_are_drawn_evenly_in_their_logarithm() -> None:
    drawn = draw_augmentation(np.random.default_rng(0), 4000, True, 3, (0.5, 2.0))
    scales = np.log2([one.scale for one in drawn])
    assert scales.min() > -1 and scales.max() < 1
    counts, _ = np.histogram(scales, 4, (-1, 1))
    assert counts.min() > 900
    # Flips and shifts are those that are drawn without scales.
    plain = draw_augmentation(np.random.default_rng(0), 4000, True, 3)
    assert [(one.flip, one.shift) for one in plain] == [(one.flip, one.shift) for one in drawn]
    assert {one.scale for one in plain} == {1.0}


def test_stage_one_cuts_its_own_crop() -> None:
    split = ExampleList([example() for _ in range(6)])
    settings = StageOne(batch_size=3, scale=(0.75, 1.5), crop=(17, 33))
    elements = list(cross_entropy_batches(split, settings, (41, 61), 0, 0))
    assert [element["images"].shape for element in elements] == [(3, 17, 33, 3)] * 2
    assert len({element["images"].numpy().tobytes() for element in elements}) == 2
    whole = next(iter(cross_entropy_batches(split, StageOne(batch_size=3), (41, 61), 0, 0)))
    assert whole["images"].shape == (3, 41, 61, 3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"optimizer": "adam"}, "StageOne.optimizer is 'adam'; expected 'sgd' or 'adamw'"),
        ({"batch_norm": "frozen"}, "StageOne.batch_norm is 'frozen'; expected 'batch' or 'moving'"),
        ({"scale": (1.5, 0.75)}, r"StageOne.scale is \(1.5, 0.75\); expected two numbers above 0"),
        ({"scale": 2.0}, "StageOne.scale is 2.0; expected two numbers above 0"),
        ({"crop": (0, 5)}, r"StageOne.crop is \(0, 5\); expected None or a height and a width"),
        ({"crop": 257}, "StageOne.crop is 257; expected None or a height and a width"),
        ({"calibrate": -1}, "StageOne.calibrate is -1; expected a whole number of steps"),
        ({"weight_decay": 1e-4}, "StageOne.weight_decay is 0.0001, but optimizer is 'sgd'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        StageOne(**settings)  # type: ignore[arg-type]
