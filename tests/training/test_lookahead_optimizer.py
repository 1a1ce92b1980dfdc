"""The Lookahead optimizer against its definition, written out for a loss whose gradient is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.training.lookahead_optimizer import LookaheadOptimizerTrainer
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.supervised import SupervisedTrainer

K, CROP, RATE, MOMENTUM = 3, (17, 17), 0.1, 0.5
TARGET = np.array([1.0, -2.0, 0.5])
START = np.array([0.3, 0.2, -0.1])


class _Quadratic(LookaheadOptimizerTrainer):
    """Minimises `0.5 * |bias - TARGET|^2`, whose gradient is `bias - TARGET`."""

    def objective(self, logits, batch):
        return 0.5 * tf.reduce_sum((logits[0, 0, 0] - tf.constant(TARGET, tf.float32)) ** 2), {}


def make(kind: type[SupervisedTrainer] = _Quadratic, **lookahead) -> SupervisedTrainer:
    images = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(K, 1, kernel_initializer="zeros", name="logits")
    model = keras.Model(images, layer(images))
    layer.bias.assign(START)
    settings = AdversarialTraining(batch_size=1, learning_rate=RATE, momentum=MOMENTUM, trainable="bias")
    one = kind(model, settings, CROP, K, tf.distribute.get_strategy(), **lookahead)
    batch = {"images": tf.zeros((1, *CROP, 3)), "truth": tf.zeros((1, *CROP), tf.uint8)}
    one.train_dataset = tf.data.Dataset.from_tensors(batch).repeat()
    return one


def expected(updates: int, k: int, alpha: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Slow and fast weights and the path of the fast ones."""
    slow, fast, velocity, path = START.copy(), START.copy(), np.zeros(K), 0.0
    for update in range(1, updates + 1):
        velocity = MOMENTUM * velocity - RATE * (fast - TARGET)
        fast, path = fast + velocity, path + float(np.linalg.norm(velocity))
        if update % k == 0:
            slow = slow + alpha * (fast - slow)
            fast = slow.copy()
    return slow, fast, path


def bias(one: SupervisedTrainer) -> np.ndarray:
    return one.segmentor.get_layer("logits").bias.numpy()


@pytest.mark.parametrize("iterations", [(7,), (2, 2, 3), (3, 4), (1,) * 7])
def test_slow_and_fast_weights_by_hand(iterations: tuple[int, ...]) -> None:
    """However updates are divided into iterations; between them the segmentor has the slow weights."""
    one, made, path = make(k=3, alpha=0.5), 0, 0.0
    for updates in iterations:
        path += float(one.train(tf.constant(updates))["path_length"])
        made += updates
        slow, fast, length = expected(made, 3, 0.5)
        np.testing.assert_allclose(bias(one), slow, rtol=1e-5)
        np.testing.assert_allclose(one.momentum_variables[-1].numpy(), fast, rtol=1e-5)
        assert path == pytest.approx(length, rel=1e-5)
    assert np.abs(slow - fast).max() > 0.01


def test_without_slow_steps_it_is_sgd_and_with_whole_ones_too() -> None:
    """Controls: alpha 1 makes slow what is fast; one slow step of a half is not SGD."""
    _, fast, _ = expected(4, 99, 0.5)
    for alpha, equal in ((1.0, True), (0.5, False)):
        one = make(k=2, alpha=alpha)
        one.train(tf.constant(4))
        assert np.allclose(bias(one), fast, rtol=1e-5) == equal


def test_it_goes_on_from_what_was_stored() -> None:
    """After four updates with k = 3: the fast weights are ahead of the slow ones."""
    whole, first, second = (make(k=3, alpha=0.5) for _ in range(3))
    whole.train(tf.constant(4))
    whole.train(tf.constant(4))
    first.train(tf.constant(4))
    stored = [v.numpy() for v in (*first.segmentor.variables, *first.momentum_variables)]
    for variable, value in zip((*second.segmentor.variables, *second.momentum_variables), stored, strict=True):
        variable.assign(value)
    second.train(tf.constant(4))
    np.testing.assert_array_equal(bias(whole), bias(second))


def test_after_going_back_nothing_is_ahead() -> None:
    one = make(k=3, alpha=0.5)
    one.train(tf.constant(4))
    one.segmentor.get_layer("logits").bias.assign(START)
    one.reset_momentum()
    np.testing.assert_array_equal(one.momentum_variables[-1].numpy(), START.astype(np.float32))
