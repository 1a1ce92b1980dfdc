"""Agreement and localisation against numbers that are known by other means."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import GridExamples
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.training import direction
from load_tf.training.adversarial import AdversarialTrainer
from load_tf.training.direction import agreement, localisation
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from tests.devices.replica_steps import CROP, K, batch, discriminator, segmentor


def given(*gradients: Any) -> Any:
    """A trainer whose gradients are these."""
    return SimpleNamespace(
        gradients=lambda batch: (
            [tf.constant(part, tf.float32) for part in gradients[batch]],
            float(np.linalg.norm(np.concatenate(gradients[batch]))),
        )
    )


def test_the_mean_cosine_is_over_all_pairs() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(5, 7)) + 0.7
    found = agreement(given(*([v[:3], v[3:]] for v in vectors)), range(5))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(5, 1)]
    assert found == pytest.approx(cosines.mean(), abs=1e-5)


def test_same_opposite_and_orthogonal() -> None:
    assert agreement(given([[1.0, 2.0]], [[2.0, 4.0]]), range(2)) == pytest.approx(1)
    assert agreement(given([[1.0, 2.0]], [[-1.0, -2.0]]), range(2)) == pytest.approx(-1)
    assert agreement(given([[1.0, 0.0]], [[0.0, 3.0]]), range(2)) == pytest.approx(0, abs=1e-6)


def test_without_a_gradient_there_is_none() -> None:
    assert agreement(given([[0.0, 0.0]], [[1.0, 0.0]]), range(2)) is None
    assert agreement(given([[np.nan, 0.0]], [[1.0, 0.0]]), range(2)) is None
    with pytest.raises(ValueError, match="1 batches"):
        agreement(given([[1.0]]), range(1))


def test_gradients_are_those_of_an_update_and_nothing_moves() -> None:
    model = segmentor()
    settings = AdversarialTraining(batch_size=4, learning_rate=0.1, momentum=0.0)
    strategy = tf.distribute.get_strategy()
    trainer = AdversarialTrainer(model, discriminator("small"), settings, Sampling(temperature=2.0), CROP, K, strategy)
    before = [v.numpy().copy() for v in trainer.trained]
    gradients, norm = trainer.gradients(batch(4))
    for old, variable in zip(before, trainer.trained, strict=True):
        np.testing.assert_array_equal(variable, old)
    trainer.train_dataset = tf.data.Dataset.from_tensors(batch(4)).repeat()
    measured = trainer.train(tf.constant(1))
    assert norm == pytest.approx(measured["gradient_norm"], rel=1e-4) and norm > 0
    for old, gradient, variable in zip(before, gradients, trainer.trained, strict=True):
        np.testing.assert_allclose(variable, old - 0.1 * gradient.numpy(), rtol=1e-3, atol=1e-6)


class Knows(ConditionalDiscriminator):
    """Likes the classes that the image's colour says, by `factor`."""

    settings = Discriminator(input_size=32, dropout=0.0)

    def __init__(self, factor: float) -> None:
        self.factor = factor

    networks = property(lambda self: [])
    variables = property(lambda self: [])
    trainable_variables = property(lambda self: [])

    def inputs(self, images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
        return tf.concat([tf.one_hot(tf.cast(images[..., 0], tf.int32), K), maps], -1)

    def verdict(self, inputs: tf.Tensor, training: bool, dropped: Any) -> tf.Tensor:
        return self.factor * tf.reduce_sum(inputs[..., :K] * inputs[..., K:], [1, 2, 3])


@pytest.mark.parametrize(("factor", "expected"), [(0.01, 1.0), (-0.01, 0.0), (0.0, 0.5)])
@pytest.mark.parametrize("saturating", [True, False])
def test_it_is_the_share_of_wrong_points_that_prefer_the_truth(
    factor: float, expected: float, saturating: bool
) -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, K, (5, 32, 32), np.uint8)
    truth[random.random(truth.shape) < 0.1] = 255
    maps = random.integers(0, K, truth.shape).astype(np.uint8)
    examples = GridExamples(np.repeat(truth[..., None], 3, -1), truth)
    assert localisation(Knows(factor), examples, maps, K, saturating=saturating, batch_size=2) == expected


def test_half_of_the_images_right_is_half_of_their_points() -> None:
    """In the second image the colour says the wrong class, which stands there already."""
    truth = np.zeros((2, 32, 32), np.uint8)
    maps = np.ones_like(truth)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[1] = 1
    maps[1, :16] = 0
    found = localisation(Knows(0.01), GridExamples(images, truth), maps, K, saturating=False, batch_size=2)
    assert found == pytest.approx(1024 / (1024 + 512))


def test_a_second_cycle_traces_nothing_again() -> None:
    truth = np.zeros((4, 32, 32), np.uint8)
    examples, judge = GridExamples(np.zeros((4, 32, 32, 3), np.uint8), truth), Knows(0.01)
    traced = direction._preferring_the_truth.experimental_get_tracing_count
    localisation(judge, examples, truth + 1, K, saturating=True, batch_size=2)
    first = traced()
    localisation(judge, examples, truth + 1, K, saturating=True, batch_size=2)
    assert traced() == first > 0


def test_without_a_wrong_point_there_is_nothing_to_say() -> None:
    truth = np.zeros((2, 32, 32), np.uint8)
    examples = GridExamples(np.zeros((2, 32, 32, 3), np.uint8), truth)
    assert localisation(Knows(1.0), examples, truth, K, saturating=True, batch_size=2) is None


@pytest.mark.parametrize("batches", [1, -1, 2.0])
def test_batches_to_agree_are_none_or_several(batches: Any) -> None:
    with pytest.raises(UserError, match=rf"agreement_batches is {batches}; expected 0 or a whole number above 1"):
        DiscriminatorTraining(agreement_batches=batches)
