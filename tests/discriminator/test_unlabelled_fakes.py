"""Fakes of images without labels: what is drawn, and that nothing but the labels tells them from real maps.

The null test of `test_leaks`, with images of another camera: their "generated" maps are ground truth of the same kind
of scenes, so that a discriminator has nothing to learn but which images have labels.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL, UNLABELLED
from load_tf.discriminator.buffer import batches, draw_pairs, draw_union
from load_tf.discriminator.grid import GridExamples
from load_tf.discriminator.mobilenet import MobileNetDiscriminator
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.training.discriminator import DiscriminatorTrainer, DiscriminatorTraining

K, GRID, COUNT = 3, 32, 60


def test_pairs_without_unlabelled_images_are_what_they_were() -> None:
    plain = draw_pairs(7, 2, 3, "x")
    assert plain.beside is None
    with_some = draw_pairs(7, 2, 3, "x", unlabelled=4)
    np.testing.assert_array_equal(with_some.source, plain.source)
    np.testing.assert_array_equal(with_some.flip, plain.flip)
    np.testing.assert_array_equal(with_some.image[::2], plain.image[::2])


def test_a_pair_is_a_labelled_image_and_one_drawn_from_all() -> None:
    drawn = [draw_pairs(5, 2, 0, epoch, unlabelled=15) for epoch in range(200)]
    real = np.concatenate([one.image[one.source < 0] for one in drawn])
    fake = np.concatenate([one.image[one.source >= 0] for one in drawn])
    assert set(real) == set(range(5)) and set(fake) == set(range(20))
    assert np.mean(fake >= 5) == pytest.approx(0.75, abs=0.05)
    for one in drawn[:5]:
        assert sorted(one.image[::2]) == list(range(5))
        np.testing.assert_array_equal(one.beside[::2], one.image[1::2])
        np.testing.assert_array_equal(one.beside[1::2], one.image[::2])


def test_the_union_has_every_map_once_in_equal_weight() -> None:
    drawn = draw_union(4, 2, 0, unlabelled=6)
    real = drawn.source < 0
    assert sorted(drawn.image[real]) == list(range(4))
    for source in (0, 1):
        assert sorted(drawn.image[drawn.source == source]) == list(range(10))
    assert drawn.weight[real].sum() == pytest.approx(drawn.weight[~real].sum())
    assert drawn.weight.mean() == pytest.approx(1)
    assert (drawn.beside[~real] < 4).all() and (drawn.beside[real] < 10).all()


def scenes(count: int, seed: int, *, tint: int = 0, void: bool = True) -> GridExamples:
    """Three bands of classes in their colours, with a hole of void; another camera gives another tint, and no void."""
    random = np.random.default_rng(seed)
    labels = np.zeros((count, GRID, GRID), np.uint8)
    for row in labels:
        first, second = np.sort(random.integers(4, GRID - 4, 2))
        row[first:second], row[second:] = 1, 2
    images = np.stack([80 + 40 * labels] * 3, -1) + random.integers(-20, 20, (count, GRID, GRID, 3)) + tint
    if void:
        for row, (y, x) in zip(labels, random.integers(0, GRID - 8, (count, 2)), strict=True):
            row[y : y + 8, x : x + 8] = IGNORE_LABEL
    return GridExamples(np.clip(images, 0, 255).astype(np.uint8), labels)


def mixed(own: GridExamples, strange: GridExamples, whole: GridExamples) -> tuple[GridExamples, np.ndarray]:
    """Labelled images, strange ones behind them, and maps of all that are as right as the truth."""
    labels = np.concatenate([own.labels, np.full_like(strange.labels, UNLABELLED)])
    examples = GridExamples(np.concatenate([own.images, strange.images]), labels)
    return examples, np.concatenate([whole.labels, strange.labels])


def cameras(seed: int) -> tuple[GridExamples, np.ndarray]:
    """Labelled images of one camera, and as many of another."""
    return mixed(scenes(COUNT, seed), scenes(COUNT, seed + 1, tint=60, void=False), scenes(COUNT, seed, void=False))


@pytest.fixture(scope="module")
def training() -> tuple[GridExamples, np.ndarray]:
    return cameras(0)


def test_what_is_hidden_in_either_of_a_pair_is_hidden_in_both(training: tuple[GridExamples, np.ndarray]) -> None:
    examples, maps = training
    seen = 0
    for batch in batches(examples, [maps], draw_pairs(COUNT, 1, 0, unlabelled=COUNT), 16, 0):
        shown = batch["maps"].numpy()
        np.testing.assert_array_equal(shown[::2] == IGNORE_LABEL, shown[1::2] == IGNORE_LABEL)
        assert not (shown == UNLABELLED).any()
        seen += int((shown == IGNORE_LABEL).any(axis=(1, 2)).sum())
    assert seen == 2 * COUNT


def strangers_told(sees: str, own_void: bool = False) -> float:
    """How often the real map of a labelled image has a higher logit than the right map of one of the other camera.

    Args:
      sees: what the discriminator does.
      own_void: the leak: each map has the void of its own image alone.
    """
    keras.utils.set_random_seed(1)
    settings = Discriminator(input_size=GRID, sees=sees)
    inputs = x = keras.Input((GRID, GRID, settings.channels(K)))
    for filters in (16, 24):
        x = keras.layers.Conv2D(filters, 3, 2, activation="relu", kernel_initializer="he_normal")(x)
    body = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    head = keras.layers.Dense(1)
    head.build(body.output.shape)
    how = DiscriminatorTraining(optimizer="adam", learning_rate=0.01)
    trainer = DiscriminatorTrainer(MobileNetDiscriminator(body, head, settings), how, K, tf.distribute.get_strategy())
    for epoch in range(30):
        drawn = draw_pairs(COUNT, 1, 0, epoch, unlabelled=COUNT)
        examples, maps = cameras(0)
        drawn = drawn._replace(beside=None) if own_void else drawn
        trainer.train_dataset = batches(examples, [maps], drawn, 20, 0, epoch)
        trainer.train(tf.constant(2 * COUNT // 20))
    drawn = draw_pairs(COUNT, 1, 0, "unseen", unlabelled=COUNT)
    drawn.image[1::2] = COUNT + np.arange(COUNT)
    beside = None if own_void else drawn.image.reshape(-1, 2)[:, ::-1].reshape(-1)
    examples, maps = cameras(2)
    trainer.eval_dataset = batches(examples, [maps], drawn._replace(beside=beside), 20, 0, "unseen")
    return trainer.evaluate(tf.constant(-1))["pair_accuracy"]


def test_label_maps_alone_do_not_tell_another_camera() -> None:
    assert 0.35 <= strangers_told("masks") <= 0.65


@pytest.mark.parametrize(("sees", "own_void"), [("split", False), ("masks", True)], ids=["the image", "void"])
def test_the_image_does_and_so_would_void(sees: str, own_void: bool) -> None:
    """Why fakes of unlabelled images are shown by default where label maps alone are seen, and with void matched."""
    assert strangers_told(sees, own_void) >= 0.9


def test_the_default_is_what_does_not_leak() -> None:
    default = DiscriminatorTraining()
    assert default.shows_unlabelled(Discriminator(sees="masks"))
    assert not default.shows_unlabelled(Discriminator(sees="split"))
    assert not default.shows_unlabelled(Discriminator(sees="both"))
    assert DiscriminatorTraining(unlabelled_fakes=True).shows_unlabelled(Discriminator(sees="split"))
    assert not DiscriminatorTraining(unlabelled_fakes=False).shows_unlabelled(Discriminator(sees="masks"))
    where = Discriminator(sees="masks", verdict="place", asks="right here")
    assert not default.shows_unlabelled(where)
    with pytest.raises(UserError, match="asks is 'right here', which takes ground truth"):
        DiscriminatorTraining(unlabelled_fakes=True).shows_unlabelled(where)
