"""Stage 2's augmentation is stage 1's."""

import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.dataset import Example, ExampleList
from load_tf.discriminator.buffer import image_order
from load_tf.discriminator.grid import GridExamples, read_grid_examples
from load_tf.randomness import generator
from load_tf.training.adversarial import adversarial_batches
from load_tf.training.augmentation import Augmentation, draw_augmentation, padded_batch, put_augmented
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne, cross_entropy_batches

CROP = (33, 49)
STAGE_ONE = StageOne(batch_size=8, flip=True, shift=5)


@pytest.fixture(scope="module")
def split() -> ExampleList:
    random = np.random.default_rng(0)
    sizes = [(33, 49), (30, 40), (20, 49), (17, 17), (33, 30)]
    return ExampleList(
        [
            Example(random.integers(0, 256, (*s, 3), np.uint8), random.integers(0, 4, s).astype(np.uint8), str(i))
            for i, s in enumerate(sizes)
        ]
    )


@pytest.fixture(scope="module")
def grid(split: ExampleList) -> GridExamples:
    return read_grid_examples(split, CROP, 32, "grid")


def by_hand(example: Example, one: Augmentation) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel."""
    image, label = np.full((*CROP, 3), 127.5, np.float32), np.full(CROP, 255, np.uint8)
    height, width = (min(side, most) for side, most in zip(example.label.shape, CROP, strict=True))
    top = round((example.label.shape[0] - height) * one.cut[0])
    left = round((example.label.shape[1] - width) * one.cut[1])
    for y, x in np.ndindex(height, width):
        to_y, to_x = y + one.shift[0], (width - 1 - x if one.flip else x) + one.shift[1]
        if 0 <= to_y < CROP[0] and 0 <= to_x < CROP[1]:
            image[to_y, to_x], label[to_y, to_x] = example.image[top + y, left + x], example.label[top + y, left + x]
    return image, label


def test_an_update_has_the_images_augmented_as_drawn_for_it(split: ExampleList, grid: GridExamples) -> None:
    settings = AdversarialTraining(batch_size=4)
    found = list(adversarial_batches(split, grid, settings, CROP, 7, 3, 4, None, True, STAGE_ONE))
    seen = set()
    for update, element in zip(range(3, 7), found, strict=True):
        drawn = draw_augmentation(generator(7, "augmentation", update), 4, True, 5)
        for row, number in enumerate(image_order(5, 7, 4 * update, 4)):
            image, label = by_hand(split[number], drawn[row])
            np.testing.assert_array_equal(element["images"][row], image)
            np.testing.assert_array_equal(element["truth"][row], label)
        seen |= set(drawn)
    assert len(seen) > 10 and {one.flip for one in seen} == {False, True}
    # The images on the grid, and which images they are, stay.
    plain = list(adversarial_batches(split, grid, settings, CROP, 7, 3, 4, None, True))
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one["grid_images"], other["grid_images"])
        assert (one["images"].numpy() != other["images"].numpy()).any()


def test_the_same_key_gives_stage_ones_augmentation(
    split: ExampleList, grid: GridExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 2 with stage 1's order and its generator: the very batch that stage 1 makes."""
    (theirs,) = cross_entropy_batches(split, StageOne(batch_size=5, flip=True, shift=5), CROP, 2, 6)
    random = generator(2, "stage 1", 6)
    order = random.permutation(5)
    monkeypatch.setattr("load_tf.training.adversarial.image_order", lambda *_: (int(i) for i in order))
    monkeypatch.setattr("load_tf.training.adversarial.generator", lambda *_: random)
    batches = adversarial_batches(split, grid, AdversarialTraining(batch_size=5), CROP, 2, 0, 1, None, True, STAGE_ONE)
    (ours,) = batches.take(1)
    np.testing.assert_array_equal(ours["images"], theirs["images"])
    np.testing.assert_array_equal(ours["truth"], theirs["labels"])


def test_without_flip_and_shift_nothing_happens(split: ExampleList, grid: GridExamples) -> None:
    settings = AdversarialTraining(batch_size=3)
    arguments = (split, grid, settings, CROP, 7, 0, 2, None, True)
    still = adversarial_batches(*arguments, StageOne(flip=False, shift=0))
    for one, other in zip(still, adversarial_batches(*arguments), strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])
        np.testing.assert_array_equal(one["truth"], other["truth"])


def test_an_example_that_is_moved_out_leaves_padding() -> None:
    image, label = np.full((4, 4, 3), 9.0, np.float32), np.ones((4, 4), np.uint8)
    into_image, into_label = np.zeros((6, 6, 3), np.float32), np.full((6, 6), 255, np.uint8)
    put_augmented(image, label, Augmentation(True, (-4, 2)), into_image, into_label)
    assert not into_image.any() and (into_label == 255).all()
    put_augmented(image, label, Augmentation(True, (-3, 4)), into_image, into_label)
    assert np.argwhere(into_label == 1).tolist() == [[0, 4], [0, 5]]
    assert tf.reduce_sum(into_image) == 9.0 * 2 * 3


def test_a_padded_batch_is_its_examples_pixel_by_pixel() -> None:
    """Smaller, larger and as large as the crop, in another order, as they are and as drawn."""
    random = np.random.default_rng(3)
    sizes = [(33, 49), (40, 52), (20, 60), (17, 17)]
    split = ExampleList(
        [
            Example(random.integers(0, 256, (*s, 3), np.uint8), random.integers(0, 4, s).astype(np.uint8), str(i))
            for i, s in enumerate(sizes)
        ]
    )
    places = [2, 0, 3, 1]
    for drawn in (None, draw_augmentation(random, 4, True, 9)):
        images, labels = padded_batch(split, np.array(places), CROP, drawn)
        assert (images.dtype, labels.dtype) == (np.float32, np.uint8)
        for row, place in enumerate(places):
            image, label = by_hand(split[place], drawn[row] if drawn else Augmentation(False, (0, 0)))
            np.testing.assert_array_equal(images[row], image)
            np.testing.assert_array_equal(labels[row], label)
    # As it was before there was an augmentation: the upper left corner, grey beside it.
    images, _ = padded_batch(split, range(1, 3), CROP)
    assert images.shape == (2, *CROP, 3)
    np.testing.assert_array_equal(images[0], split[1].image[:33, :49])
    assert (images[1, 20:] == 127.5).all()
    np.testing.assert_array_equal(images[1, :20], split[2].image[:, :49])
