"""The drawn scenes: reproducible, labelled rightly, and structured as promised."""

import subprocess
import sys

import numpy as np
import pytest

from load_tf.data.synthetic import CLASS_NAMES, DOOR, GROUND, PERSON, ROOF, SKY, TRUCK, WALL, WHEEL, synthetic
from load_tf.errors import UserError


@pytest.fixture(scope="module")
def examples() -> list:
    split = synthetic(size=(97, 129)).split("train")
    return [split[index] for index in range(40)]


def test_shapes_types_and_labels(examples: list) -> None:
    for example in examples:
        assert example.image.shape == (97, 129, 3) and example.image.dtype == np.uint8
        assert example.label.shape == (97, 129) and example.label.dtype == np.uint8
        assert set(np.unique(example.label)) <= {*range(8), 255}


def test_ids_and_sizes_of_splits() -> None:
    dataset = synthetic(train=3, validation=2, size=(40, 50))
    assert dataset.split("train").ids == ("train_00000", "train_00001", "train_00002")
    assert [dataset.split("validation")[i].id for i in range(2)] == ["validation_00000", "validation_00001"]
    assert dataset.split("train")[-1].id == "train_00002"
    with pytest.raises(IndexError):
        dataset.split("train")[3]


def test_a_scene_depends_on_seed_split_and_index_alone() -> None:
    def scene(split: str, index: int, **arguments: int) -> np.ndarray:
        return synthetic(size=(40, 50), **arguments).split(split)[index].image

    reference = scene("train", 1)
    np.testing.assert_array_equal(reference, scene("train", 1, train=7))
    for other in (scene("train", 0), scene("validation", 1), scene("train", 1, seed=1)):
        assert np.abs(reference.astype(int) - other).mean() > 5


def test_every_class_occurs_often(examples: list) -> None:
    counts = sum(np.bincount(example.label.ravel(), minlength=256) for example in examples)
    shares = counts / counts.sum()
    assert shares[list(range(8))].min() > 0.005, dict(zip(CLASS_NAMES, shares, strict=False))
    assert 0.01 < shares[255] < 0.08


def test_sky_is_above_ground(examples: list) -> None:
    for example in examples:
        lowest_sky = np.nonzero((example.label == SKY).any(axis=1))[0].max()
        highest_ground = np.nonzero((example.label == GROUND).any(axis=1))[0].min()
        assert lowest_sky < highest_ground


def above(label: np.ndarray, upper: int, lower: int) -> int:
    """How often `upper` stands directly above `lower`, or above the void line on `lower`."""
    touching = (label[:-1] == upper) & (label[1:] == lower)
    return int(touching.sum())


def test_parts_keep_their_layout(examples: list) -> None:
    counts = {
        (upper, lower): sum(above(example.label, upper, lower) for example in examples)
        for upper in range(8)
        for lower in range(8)
    }
    assert counts[ROOF, WALL] > 200 and counts[WALL, ROOF] == 0
    assert counts[WALL, DOOR] > 100 and counts[DOOR, WALL] == 0
    assert counts[TRUCK, WHEEL] > 50 and counts[WHEEL, TRUCK] == 0
    # A void line parts every object from the others and from the ground.
    for part in (WALL, ROOF, DOOR, TRUCK, WHEEL, PERSON):
        for other in (SKY, GROUND):
            assert counts[part, other] == counts[other, part] == 0


def test_walls_and_trucks_are_alike_in_colour_unlike_other_classes() -> None:
    split = synthetic(train=150).split("train")
    examples = [split[index] for index in range(150)]

    def colours(label: int) -> np.ndarray:
        pixels = np.concatenate([example.image[example.label == label] for example in examples])
        histogram, _ = np.histogramdd(pixels, bins=5, range=[(0, 256)] * 3)
        return histogram / histogram.sum()

    def overlap(a: int, b: int) -> float:
        return float(np.minimum(colours(a), colours(b)).sum())

    assert overlap(WALL, TRUCK) > 0.85
    assert overlap(WALL, TRUCK) > overlap(WALL, ROOF) + 0.1
    assert overlap(WALL, TRUCK) > overlap(WALL, WHEEL) + 0.2


@pytest.mark.parametrize("arguments", [{"train": 0}, {"validation": -1}, {"size": (97,)}, {"size": (16, 400)}])
def test_faulty_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(UserError, match="synthetic"):
        synthetic(**arguments)


def test_any_size_can_be_drawn() -> None:
    for size in ((32, 32), (33, 200), (200, 33)):
        assert synthetic(size=size).split("train")[0].label.shape == size


def test_needs_no_tensorflow() -> None:
    code = (
        "import sys, load_tf.data.synthetic, load_tf.data.folder, load_tf.data.partition, load_tf.data.preparation\n"
        "import load_tf.data.cityscapes, load_tf.data.voc\n"
        "load_tf.data.synthetic.synthetic(size=(40, 40)).split('train')[0]\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
