"""Instance noise: some points of every map get a class drawn at random, in the discriminator's training alone."""

import numpy as np
import pytest
import tensorflow as tf

from load_tf.discriminator import build
from load_tf.discriminator.conditioning import BatchSlice, one_hot, with_noise
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.randomness import key
from load_tf.training.discriminator import DiscriminatorTrainer, DiscriminatorTraining

K, GRID = 4, 64


def maps(count: int = 6) -> np.ndarray:
    labels = np.random.default_rng(0).integers(0, K, (count, GRID, GRID)).astype(np.uint8)
    labels[:, :8] = 255
    return one_hot(tf.constant(labels), K).numpy()


def test_the_share_of_the_visible_points_is_drawn_evenly() -> None:
    before = maps()
    after = with_noise(tf.constant(before), 0.2, tf.constant(key(0, "noise"))).numpy()
    assert not after[:, :8].any()
    np.testing.assert_array_equal(after[:, 8:].sum(-1), 1)
    changed = (before != after).any(-1)[:, 8:]
    # Three of four drawn classes are others.
    assert changed.mean() == pytest.approx(0.2 * 3 / 4, abs=0.01)
    counts = after[:, 8:][changed].sum(0)
    assert counts.min() > 0.2 * counts.sum()
    np.testing.assert_array_equal(with_noise(tf.constant(before), 0.0, tf.constant(key(0, "noise"))), before)


def test_noise_of_a_part_is_that_of_the_whole() -> None:
    drawn = tf.constant(key(0, "noise"))
    whole = with_noise(tf.constant(maps()), 0.2, drawn).numpy()
    part = BatchSlice(tf.constant(2), tf.constant(6))
    np.testing.assert_array_equal(with_noise(tf.constant(maps()[2:5]), 0.2, drawn, part), whole[2:5])


def test_training_has_it_and_evaluation_has_not() -> None:
    """A trainer on maps with noise moves elsewhere; it measures the same of the same network."""
    found = {}
    for noise in (0.0, 0.3):
        judge = build.build(Discriminator(architecture="convolutional", sees="masks", input_size=GRID), K, seed=0)
        trainer = DiscriminatorTrainer(judge, DiscriminatorTraining(noise=noise), K, tf.distribute.get_strategy())
        labels = tf.cast(tf.argmax(maps(4), -1), tf.uint8)
        batch = {
            "images": tf.zeros([4, GRID, GRID, 3], tf.uint8), "maps": labels, "real": tf.constant([1.0, 0.0] * 2),
            "weights": tf.ones(4), "key": tf.constant(key(0, "dropout")),
        }  # fmt: skip
        trainer.eval_dataset = trainer.train_dataset = tf.data.Dataset.from_tensors(batch).repeat(3)
        before = trainer.evaluate(tf.constant(1))
        trainer.train(tf.constant(1))
        found[noise] = before, trainer.evaluate(tf.constant(1))
    assert found[0.0][0] == found[0.3][0]
    assert found[0.0][1] != found[0.3][1]


@pytest.mark.parametrize("noise", [-0.1, 1.0])
def test_a_wrong_share_is_refused(noise: float) -> None:
    with pytest.raises(UserError, match=rf"DiscriminatorTraining.noise is {noise}; expected a share in \[0, 1\)"):
        DiscriminatorTraining(noise=noise)
