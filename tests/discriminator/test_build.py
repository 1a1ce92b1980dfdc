"""A discriminator of a newcomer's: a file, and a line in the table; then it is built, counted, trained against."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import load_tf.discriminator
from load_tf.algorithm.lookahead import Lookahead
from load_tf.discriminator import settings
from load_tf.discriminator.build import build, numbers
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.experiment.disk_use import expected_bytes
from load_tf.game.game import Players
from load_tf.methods.baseline import Baseline
from load_tf.methods.load import LoAd
from load_tf.methods.method import Method
from load_tf.training.adversarial import AdversarialTrainer
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from tests import networks

K, CROP, GRID = 3, (33, 49), 32

NEWCOMER = '''
"""What a newcomer writes: a file in load_tf/discriminator/."""

import keras

from load_tf.discriminator.conditional import ConditionalDiscriminator


def build(settings, num_classes, seed):
    return Linear(settings, num_classes)


def numbers(settings, num_classes):
    return settings.channels(num_classes), 0


class Linear(ConditionalDiscriminator):
    """A weight for every channel."""

    def __init__(self, settings, num_classes):
        self.settings = settings
        channels = settings.channels(num_classes)
        self.weight = keras.Variable([float(k) for k in range(channels)], name="weight")

    networks = property(lambda self: [])
    variables = property(lambda self: [self.weight])
    trainable_variables = property(lambda self: [self.weight])

    def verdict(self, inputs, training, dropped):
        return keras.ops.mean(inputs, axis=(1, 2)) @ self.weight.value[:, None]
'''


@pytest.fixture(name="linear")
def _linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Discriminator]:
    (tmp_path / "linear.py").write_text(NEWCOMER)
    monkeypatch.setattr(load_tf.discriminator, "__path__", [*load_tf.discriminator.__path__, str(tmp_path)])
    monkeypatch.setitem(settings.KINDS, "one weight", "linear")
    importlib.invalidate_caches()
    yield Discriminator(architecture="one weight", input_size=GRID, sees="masks", dropout=0.0)
    sys.modules.pop("load_tf.discriminator.linear", None)


def test_a_newcomer_is_built_and_counted_by_its_own_file(linear: Discriminator) -> None:
    judge = build(linear, K, seed=0)
    assert numbers(linear, K) == (K, 0) == (sum(int(np.prod(v.shape)) for v in judge.variables), 0)
    maps = tf.one_hot(tf.fill([2, GRID, GRID], 2), K)
    images = tf.zeros([2, GRID, GRID, 3], tf.uint8)
    np.testing.assert_allclose(judge(judge.inputs(images, maps), training=False)[:, 0], [2.0, 2.0])


@pytest.mark.parametrize(("optimizer", "slots"), [("adagrad", 1), ("adam", 2)])
def test_a_newcomer_is_in_the_estimate_of_the_disk(linear: Discriminator, optimizer: Any, slots: int) -> None:
    """Beside a method without a discriminator: in three commits its weights, twice, with their slots, and the maps."""
    model = networks.strided(K)

    def during(method: Method) -> int:
        plan: Any = SimpleNamespace(
            experiment=SimpleNamespace(dataset=SimpleNamespace(num_classes=K), method=method),
            segmentor=SimpleNamespace(model=model),
            players=Players(linear, DiscriminatorTraining(optimizer=optimizer)),
            lookahead=Lookahead(max_buffer_sets=2),
        )
        return expected_bytes(plan, training=5, holdout=7, validation=9)[0]

    weights, maps = 2 * 4 * (1 + slots) * K, 2 * (5 + 7) * GRID**2
    assert during(LoAd()) - during(Baseline()) == 3 * (weights + maps)


def test_the_segmentor_learns_from_a_newcomer(linear: Discriminator) -> None:
    """It likes the last class best, so that is what the segmentor learns to say."""
    model = networks.strided(K)
    chosen = AdversarialTraining(batch_size=2, learning_rate=0.5, saturating=False)
    sampling = Sampling(temperature=1.0, gumbel_noise=False, straight_through=False)
    trainer = AdversarialTrainer(
        model, build(linear, K, seed=0), chosen, sampling, CROP, K, tf.distribute.get_strategy()
    )
    images = np.random.default_rng(0).uniform(0, 255, (2, *CROP, 3)).astype(np.float32)
    batch = {
        "images": tf.constant(images),
        "grid_images": tf.zeros([2, GRID, GRID, 3], tf.uint8),
        "labels": tf.zeros([2, GRID, GRID], tf.uint8),
        "start_maps": tf.zeros([2, GRID, GRID], tf.uint8),
        "key": tf.constant([0, 1]),
    }
    trainer.train_dataset = tf.data.Dataset.from_tensors(batch).repeat()
    before = model(images).numpy().argmax(-1)
    assert trainer.train(tf.constant(10))["gradient_norm"] > 0
    after = model(images).numpy().argmax(-1)
    assert (after == 2).mean() > max(0.9, (before == 2).mean())


def test_a_kind_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(UserError, match=r"architecture is 'one weight'; expected one of 'mobilenet', 'convolutional'"):
        Discriminator(architecture="one weight")
