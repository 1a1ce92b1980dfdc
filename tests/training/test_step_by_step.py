"""Both networks in one update, in a game of two numbers that is played on paper: who moves first, by which rule."""

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.dataset import Example, ExampleList
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.settings import Discriminator
from load_tf.evaluation.evaluator import Evaluator
from load_tf.methods.hung import HungEtAl
from load_tf.methods.luc import LucEtAl
from load_tf.methods.method import Arena, Method
from load_tf.methods.step_by_step import StepByStep
from load_tf.training.discriminator import DiscriminatorTrainer, DiscriminatorTraining
from load_tf.training.optimizers import NesterovL2, polynomial_decay
from load_tf.training.segmentor import AdversarialTraining, SegmentorTrainer
from load_tf.training.stage_one import StageOne

CROP, GRID, ROWS = (33, 33), 32, 2
BIAS, SLOPE = 0.4, 0.7
SHARE = 0.25
"""Of the pixels, in the upper rows, that are of class 0."""


class OneSlope(ConditionalDiscriminator):
    """Its logit is its one weight times the mean of the map of class 0."""

    def __init__(self) -> None:
        self.slope = keras.Variable(SLOPE, name="slope")
        self.settings = Discriminator(input_size=GRID, sees="masks")

    networks = property(lambda self: [])
    variables = property(lambda self: [self.slope])
    trainable_variables = property(lambda self: [self.slope])

    def verdict(self, inputs: tf.Tensor, training: bool, dropped) -> tf.Tensor:
        return self.slope.value * tf.reduce_mean(inputs[..., 0], axis=(1, 2))


def segmentor() -> keras.Model:
    """Gives every pixel the logits (b, 0), of which b is trained."""
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.Conv2D(2, 1, kernel_initializer="zeros", name="logits")(images))
    model.get_layer("logits").bias.assign([BIAS, 0.0])
    return model


def batch() -> dict[str, tf.Tensor]:
    truth, labels = np.ones((ROWS, *CROP), np.uint8), np.ones((ROWS, GRID, GRID), np.uint8)
    # Of 33 rows 8 are a quarter only without the last one, which is void.
    truth[:, :8], truth[:, 32], labels[:, :8] = 0, 255, 0
    return {
        "images": tf.zeros((ROWS, *CROP, 3)),
        "truth": tf.constant(truth),
        "grid_images": tf.zeros((ROWS, GRID, GRID, 3), tf.uint8),
        "labels": tf.constant(labels),
        "start_maps": tf.constant(labels),
        "key": tf.constant([1, 2]),
    }


def made(
    method: Method, updates: int | None = None, **settings
) -> tuple[SegmentorTrainer, DiscriminatorTrainer, OneSlope]:
    """The method's trainers, as the game makes them; straight-through maps unless the method has others."""
    strategy, judge = tf.distribute.get_strategy(), OneSlope()
    chosen = AdversarialTraining(batch_size=ROWS, **{"learning_rate": 0.5, "momentum": 0.9, **settings})
    chosen = method.adversarial_training(chosen)
    own = DiscriminatorTraining(optimizer="adam", learning_rate=0.1)
    trains = DiscriminatorTrainer(judge, own, 2, strategy, lambda: method.discriminator_optimizer(own, updates))
    network = segmentor()
    data = ExampleList([Example(np.zeros((*CROP, 3), np.uint8), np.zeros(CROP, np.uint8), "a")])
    evaluator = Evaluator(network, data, CROP, 2, strategy=strategy)
    arena = Arena(
        *(network, chosen, Sampling(gumbel_noise=False), CROP, 2, strategy, evaluator.convention),
        *(data, evaluator, StageOne(), updates, trains),
    )
    return method.trainer(arena, judge), trains, judge


def played(method: Method, count: int, updates: int | None = None, **settings) -> np.ndarray:
    """float64 [count, 4]: the two logits' biases, the slope and the discriminator's loss after every update."""
    trainer, _, judge = made(method, updates, **settings)
    trainer.train_dataset = tf.data.Dataset.from_tensors(batch()).repeat()
    found = []
    for _ in range(count):
        measured = trainer.train(tf.constant(1))
        assert measured["finite"]
        bias = trainer.segmentor.get_layer("logits").bias.numpy()
        found.append([*bias, judge.slope.numpy(), measured["discriminator_loss"]])
    return np.array(found, np.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def on_paper(
    count: int,
    judge_moves: Callable[[int, float], float],
    moves: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
    weight: float,
    pixelwise: bool = True,
    first: str = "discriminator",
) -> np.ndarray:
    """The same by formulas: `judge_moves` and `moves` are what the optimizers add, given a gradient."""
    bias, slope, found = np.array([BIAS, 0.0]), SLOPE, []
    for t in range(count):

        def judged(t: int = t) -> float:
            nonlocal slope
            p = sigmoid(bias[0] - bias[1])
            loss = (math.log1p(math.exp(-slope * SHARE)) + math.log1p(math.exp(slope * p))) / 2
            slope += judge_moves(t, (-SHARE * sigmoid(-slope * SHARE) + p * sigmoid(slope * p)) / 2)
            return loss

        def segmented(t: int = t) -> None:
            nonlocal bias
            p = sigmoid(bias[0] - bias[1])
            # d/dp of -log sigmoid(slope p), and of the cross-entropy by the logits.
            gradient = -weight * slope * sigmoid(-slope * p) * p * (1 - p) * np.array([1, -1])
            if pixelwise:
                gradient = gradient + (p - SHARE) * np.array([1, -1])
            bias = bias + moves(t, gradient, bias)

        if first == "discriminator":
            loss = judged()
            segmented()
        else:
            segmented()
            loss = judged()
        found.append([*bias, slope, loss])
    return np.array(found)


class Momentum:
    """`v <- momentum v - rate g; w <- w + v`."""

    def __init__(self, rate: float, momentum: float) -> None:
        self.rate, self.momentum, self.velocity = rate, momentum, 0.0

    def __call__(self, t: int, gradient: np.ndarray, value: np.ndarray) -> np.ndarray:
        self.velocity = self.momentum * self.velocity - self.rate * gradient
        return self.velocity


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(self, rate: Callable[[int], float], beta1: float, beta2: float) -> None:
        self.rate, self.beta1, self.beta2, self.m, self.v = rate, beta1, beta2, 0.0, 0.0

    def __call__(self, t: int, gradient: float) -> float:
        self.m = self.beta1 * self.m + (1 - self.beta1) * gradient
        self.v = self.beta2 * self.v + (1 - self.beta2) * gradient**2
        m, v = self.m / (1 - self.beta1 ** (t + 1)), self.v / (1 - self.beta2 ** (t + 1))
        return -self.rate(t) * m / (math.sqrt(v) + 1e-8)


def nesterov(rate: Callable[[int], float], momentum: float, decay: float) -> Callable[..., np.ndarray]:
    velocity = np.zeros(2)

    def move(t: int, gradient: np.ndarray, value: np.ndarray) -> np.ndarray:
        nonlocal velocity
        gradient = gradient + decay * value
        velocity = momentum * velocity - rate(t) * gradient
        return momentum * velocity - rate(t) * gradient

    return move


def luc_on_paper(first: str) -> np.ndarray:
    # The discriminator minimises the sum of its terms, twice their mean.
    return on_paper(4, lambda t, g: -0.3 * 2 * g, Momentum(0.5, 0.9), 2.0, first=first)


def test_luc_et_al_by_hand() -> None:
    found = played(LucEtAl(weight=2.0, discriminator_learning_rate=0.3), 4)
    np.testing.assert_allclose(found, luc_on_paper("discriminator"), rtol=2e-5)
    # The other order would be seen from the first update on.
    assert np.abs(found - luc_on_paper("segmentor"))[:, 0].min() > 1e-3


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_hung_et_al_by_hand(decay: float) -> None:
    """Nesterov, weight decay and both rates' fall over a budget of 5 updates: 1, 0.818, 0.631, 0.438 of themselves."""
    method = HungEtAl(weight=0.5, learning_rate=0.3, momentum=0.8, weight_decay=decay, discriminator_learning_rate=0.05)
    falls = [1.0, 0.8 ** 0.9, 0.6 ** 0.9, 0.4 ** 0.9]  # fmt: skip
    expected = on_paper(
        4,
        Adam(lambda t: 0.05 * falls[t], 0.9, 0.99),
        nesterov(lambda t: 0.3 * falls[t], 0.8, decay),
        0.5,
    )
    found = played(method, 4, updates=5)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    constant = played(method, 4)
    assert np.abs(constant - found)[3, :3].min() > 1e-3


def test_the_published_settings_are_the_defaults() -> None:
    """Hung et al. 2018, section 4; Luc et al. 2016."""
    trainer, trains, _ = made(HungEtAl(), updates=10)
    assert isinstance(trainer.optimizer, NesterovL2) and trainer.optimizer.nesterov
    optimizer, judges = trainer.optimizer.get_config(), trains.optimizer.get_config()
    assert (optimizer["momentum"], trainer.optimizer.l2, trainer.weight) == (0.9, 1e-4, 0.01)
    assert (judges["beta_1"], judges["beta_2"], judges["name"]) == (0.9, 0.99, "discriminator")
    rates = [float(one._learning_rate(5)) for one in (trainer.optimizer, trains.optimizer)]
    np.testing.assert_allclose(rates, [2.5e-4 * 0.5**0.9, 1e-4 * 0.5**0.9], rtol=1e-6)
    chosen = HungEtAl().discriminator_settings(Discriminator())
    assert (chosen.architecture, chosen.sees) == ("convolutional", "masks")
    for method in (HungEtAl(), LucEtAl()):
        settings = method.adversarial_training(AdversarialTraining(clip_norm=1.0))
        assert not settings.saturating and settings.clip_norm is None
        sampling = made(method)[0].sampling
        assert (sampling.temperature, sampling.straight_through, sampling.gumbel_noise) == (1.0, False, False)


def test_without_cross_entropy_the_discriminator_sees_what_the_experiment_samples() -> None:
    """Straight-through: the map is class 0 everywhere, so the loss is that of p = 1; soft-max has p = 0.599."""
    losses = {}
    for method in (StepByStep(), LucEtAl()):
        losses[method.title] = played(method, 1)[0, 3]
    for title, p in (("step by step", 1.0), ("Luc et al.", sigmoid(BIAS))):
        expected = (math.log1p(math.exp(-SLOPE * SHARE)) + math.log1p(math.exp(SLOPE * p))) / 2
        assert losses[title] == pytest.approx(expected, rel=1e-5)
    assert losses["step by step"] - losses["Luc et al."] > 0.08


def test_descent_ascent_step_by_step_by_hand() -> None:
    """Soft maps, so that the formulas are those above; no cross-entropy, the saturating loss is the experiment's."""
    method, soft = StepByStep(), Sampling(1.0, straight_through=False, gumbel_noise=False)
    found = []
    trainer, _, judge = made(method, saturating=False)
    trainer.sampling = soft
    trainer.train_dataset = tf.data.Dataset.from_tensors(batch()).repeat()
    for _ in range(3):
        loss = trainer.train(tf.constant(1))["discriminator_loss"]
        found.append([*trainer.segmentor.get_layer("logits").bias.numpy(), judge.slope.numpy(), loss])
    expected = on_paper(3, Adam(lambda t: 0.1, 0.9, 0.999), Momentum(0.5, 0.9), 1.0, pixelwise=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert not trainer.needs_truth


def test_a_step_of_the_one_for_a_step_of_the_other() -> None:
    trainer, trains, _ = made(LucEtAl())
    trainer.train_dataset = tf.data.Dataset.from_tensors(batch()).repeat()
    trainer.train(tf.constant(3))
    trainer.train(tf.constant(2))
    assert [int(one.optimizer.iterations) for one in (trainer, trains)] == [5, 5]


def test_weight_decay_is_part_of_the_momentum() -> None:
    """Two steps of NesterovL2 on a gradient of 1: keras' own decay, which is not, ends elsewhere."""
    ends = []
    for optimizer in (NesterovL2(0.1, 0.5, 0.2, "own"), keras.optimizers.SGD(0.1, 0.5, True, weight_decay=0.2)):
        variable = keras.Variable(2.0)
        optimizer.build([variable])
        for _ in range(2):
            optimizer.apply([tf.constant(1.0)])
        ends.append(float(variable))
    # g = 1.4, v = -0.14, w = 2 - 0.07 - 0.14 = 1.79; g = 1.358, v = -0.2058, w = 1.79 - 0.1029 - 0.1358.
    assert ends[0] == pytest.approx(1.5513, rel=1e-6)
    assert abs(ends[1] - ends[0]) > 0.01


def test_polynomial_decay_falls_to_zero_and_stays() -> None:
    rate = polynomial_decay(0.2, 4)
    found = [float(rate(t)) for t in (0, 1, 2, 4, 9)]
    np.testing.assert_allclose(found, [0.2, 0.2 * 0.75**0.9, 0.2 * 0.5**0.9, 0, 0], rtol=1e-6)
    assert polynomial_decay(0.2, None) == 0.2


def test_void_is_no_part_of_either_map() -> None:
    """Half of the grid void: both means are of the other half, over all points."""
    one = batch()
    labels = one["labels"].numpy()
    labels[:, 16:] = 255
    trainer, _, _ = made(dataclasses.replace(LucEtAl(), discriminator_learning_rate=0.3))
    trainer.train_dataset = tf.data.Dataset.from_tensors({**one, "labels": tf.constant(labels)}).repeat()
    loss = trainer.train(tf.constant(1))["discriminator_loss"]
    real, fake = SLOPE * SHARE, SLOPE * sigmoid(BIAS) / 2
    assert loss == pytest.approx((math.log1p(math.exp(-real)) + math.log1p(math.exp(fake))) / 2, rel=1e-5)
