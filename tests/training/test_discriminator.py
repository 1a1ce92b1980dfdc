"""The discriminator's training against numpy, and when it stops."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.discriminator.buffer import batches, draw_pairs, draw_union, holdout_pairs, mask_void
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.grid import GridExamples
from load_tf.discriminator.mobilenet import MobileNetDiscriminator
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.training.discriminator import (
    DiscriminatorProgress,
    DiscriminatorTrainer,
    DiscriminatorTraining,
    pair_measures,
)
from tests import grids

N, G, K = 10, 32, 3


@pytest.fixture(scope="module")
def examples() -> GridExamples:
    return grids.examples(N, G, K, void=0.1)


@pytest.fixture(scope="module")
def sets() -> list[np.ndarray]:
    return [np.random.default_rng(s).choice(K, (N, G, G), p=[0.6, 0.3, 0.1]).astype(np.uint8) for s in (1, 2)]


def small_discriminator(batch_norm: bool = False, dropout: float = 0.0) -> ConditionalDiscriminator:
    """Without batch norm and dropout the logits in training are those at inference, so that numpy can follow."""
    random = np.random.default_rng(3)
    inputs = keras.Input((G, G, 3 * K))
    x = keras.layers.Conv2D(6, 3, strides=2, use_bias=not batch_norm)(inputs)
    if batch_norm:
        x = keras.layers.BatchNormalization()(x)
    body = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x)))
    head = keras.layers.Dense(1)
    head.build(body.output.shape)
    settings = Discriminator(input_size=G, dropout=dropout)
    discriminator = MobileNetDiscriminator(body, head, settings)
    for variable in discriminator.trainable_variables:
        variable.assign(random.normal(scale=0.3, size=variable.shape))
    head.bias.assign([0.8])
    return discriminator


def make_trainer(discriminator: ConditionalDiscriminator, **settings) -> DiscriminatorTrainer:
    chosen = DiscriminatorTraining(**{"batch_size": 8, **settings})
    return DiscriminatorTrainer(discriminator, chosen, K, tf.distribute.get_strategy())


def train(trainer: DiscriminatorTrainer, dataset: tf.data.Dataset) -> dict[str, float]:
    trainer.train_dataset = dataset
    return trainer.train(tf.constant(sum(1 for _ in dataset)))


def numpy_inputs(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    colours = 0.25 + 0.75 * images.astype(np.float64) / 255
    return np.concatenate([colours * (maps == k)[..., None] for k in range(K)], axis=-1).astype(np.float32)


def logits_of(discriminator: ConditionalDiscriminator, images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """float64 [n], through the layers themselves."""
    features = discriminator.body(numpy_inputs(images, maps), training=False).numpy().astype(np.float64)
    return (features @ discriminator.head.kernel.numpy() + discriminator.head.bias.numpy())[:, 0]


def values(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [v.numpy().copy() for v in variables]


# --- measures


def test_pair_measures_by_hand() -> None:
    """Four pairs: won, lost, tied, won; a logit of 0 says neither real nor fake."""
    measures = pair_measures(np.array([2.0, -1.0, 0.5, 0.0]), np.array([1.0, 3.0, 0.5, -2.0]))
    assert measures["real_accuracy"] == 2 / 4
    assert measures["fake_accuracy"] == 1 / 4
    assert measures["pair_accuracy"] == (2 + 0.5) / 4
    assert measures["margin"] == pytest.approx((1 - 4 + 0 + 2) / 4)
    real = np.log(1 + np.exp([-2.0, 1.0, -0.5, 0.0])).mean()
    fake = np.log(1 + np.exp([1.0, 3.0, 0.5, -2.0])).mean()
    assert measures["loss"] == pytest.approx((real + fake) / 2)
    assert all(type(value) is float for value in measures.values())


def test_pair_measures_at_the_ends() -> None:
    """Equal logits are chance, whatever they are; far out nothing overflows."""
    same = np.array([3.0, -2.0, 0.1])
    chance = pair_measures(same, same)
    assert chance["pair_accuracy"] == 0.5
    assert chance["real_accuracy"] + chance["fake_accuracy"] == 1
    far = pair_measures(np.array([1e4, 1e4]), np.array([-1e4, 1e4]))
    assert far["loss"] == pytest.approx(1e4 / 4)
    assert far["pair_accuracy"] == 0.75
    assert pair_measures(np.zeros(5), np.zeros(5))["loss"] == pytest.approx(np.log(2))


# --- training


@pytest.mark.parametrize("draw", [draw_pairs, draw_union])
def test_loss_is_binary_cross_entropy(examples: GridExamples, sets: list[np.ndarray], draw) -> None:
    """The mean over all maps, weighted, of an epoch whose last batch is smaller; real is 1."""
    discriminator = small_discriminator()
    drawn = draw(N, 2, 0, 0)
    trainer = make_trainer(discriminator, learning_rate=1e-30)
    loss = train(trainer, batches(examples, sets, drawn, 8, 0))["loss"]
    total = 0.0
    for image, source, flip, weight in zip(*drawn[:4], strict=True):
        one_map = examples.labels[image] if source < 0 else mask_void(sets[source][image], examples.labels[image])
        step = -1 if flip else 1
        (x,) = logits_of(discriminator, examples.images[None, image, :, ::step], one_map[None, :, ::step])
        d = 1 / (1 + np.exp(-x))
        total -= weight * (np.log(d) if source < 0 else np.log(1 - d))
    assert len(drawn.image) % 8
    assert loss == pytest.approx(total / len(drawn.image), rel=1e-5)
    assert abs(loss - np.log(2)) > 0.01


@pytest.mark.parametrize("initial", [None, 0.0, 0.002])
def test_updates_are_adagrads(examples: GridExamples, sets: list[np.ndarray], initial: float | None) -> None:
    """`a <- a + g^2; w <- w - lr g / sqrt(a + 1e-7)` from a = 0.1, over two batches; the second holds 4 maps."""
    ours, theirs = small_discriminator(), small_discriminator()
    drawn = draw_pairs(N, 2, 0, 0)
    drawn = type(drawn)(*(field[:12] for field in drawn[:4]))
    dataset = batches(examples, sets, drawn, 8, 0)
    chosen = {} if initial is None else {"initial_accumulator": initial}
    trainer = make_trainer(ours, learning_rate=0.02, **chosen)
    train(trainer, dataset)
    accumulators = [np.full(v.shape, 0.1 if initial is None else initial) for v in theirs.trainable_variables]
    sizes = []
    for batch in dataset:
        sizes.append(len(batch["real"]))
        inputs = numpy_inputs(batch["images"].numpy(), batch["maps"].numpy())
        with tf.GradientTape() as tape:
            probability = tf.sigmoid(theirs.head(theirs.body(inputs))[:, 0])
            loss = -tf.reduce_mean(tf.math.log(tf.where(batch["real"] == 1, probability, 1 - probability)))
        gradients = tape.gradient(loss, [v.value for v in theirs.trainable_variables])
        for variable, a, g in zip(theirs.trainable_variables, accumulators, gradients, strict=True):
            a += g.numpy().astype(np.float64) ** 2
            variable.assign_sub(0.02 * g.numpy() / np.sqrt(a + 1e-7))
    assert sizes == [8, 4]
    start = small_discriminator().trainable_variables
    for got, expected, before in zip(ours.trainable_variables, theirs.trainable_variables, start, strict=True):
        moved = np.abs(expected.numpy() - before.numpy()).max()
        assert moved > 1e-4
        np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=2e-3 * moved)


def test_training_moves_the_discriminator_and_nothing_else(examples: GridExamples, sets: list[np.ndarray]) -> None:
    """Weights, moving averages, slots; not the maps, nor a segmentor that stands beside it."""
    discriminator = small_discriminator(batch_norm=True, dropout=0.3)
    trainer = make_trainer(discriminator)
    images = keras.Input((None, None, 3))
    segmentor = keras.Model(images, keras.layers.BatchNormalization()(keras.layers.Conv2D(K, 1)(images)))
    arrays = [examples.images, examples.labels, *sets]
    still = [a.copy() for a in arrays] + values(segmentor.variables)
    before = values(trainer.variables)
    train(trainer, batches(examples, sets, draw_pairs(N, 2, 0, 0), 8, 0))
    for old, new in zip(still, [*arrays, *values(segmentor.variables)], strict=True):
        np.testing.assert_array_equal(old, new)
    moved = {v.path for v, old in zip(trainer.variables, before, strict=True) if (v.numpy() != old).any()}
    same = {v.path for v in trainer.variables} - moved
    assert same == {"discriminator/learning_rate"}
    assert len(trainer.variables) == 7 + 2 + 5  # network, iteration and rate, accumulators


def test_evaluation_measures_and_moves_nothing(examples: GridExamples, sets: list[np.ndarray]) -> None:
    """In inference mode, on pairs; batches of 6 split no pair, of 5 they do, and nothing changes."""
    discriminator = small_discriminator(batch_norm=True, dropout=0.5)
    discriminator.body.layers[2].moving_variance.assign(np.linspace(0.2, 3, 6))
    trainer = make_trainer(discriminator)
    before = values(trainer.variables)
    results = []
    for size in (6, 5, 32):
        trainer.eval_dataset = holdout_pairs(examples, sets, size, 0, 1)
        results.append(trainer.evaluate(tf.constant(-1)))
    for old, new in zip(before, values(trainer.variables), strict=True):
        np.testing.assert_array_equal(old, new)
    drawn = draw_pairs(N, 2, 0, "hold-out", 1)
    index = drawn.image[::2]
    fakes = np.stack(
        [mask_void(sets[s][i], examples.labels[i]) for i, s in zip(index, drawn.source[1::2], strict=True)]
    )
    expected = pair_measures(
        logits_of(discriminator, examples.images[index], examples.labels[index]),
        logits_of(discriminator, examples.images[index], fakes),
    )
    for result in results:
        assert result == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert 0 < expected["real_accuracy"] + expected["fake_accuracy"] < 2


def test_epochs_are_reproducible(examples: GridExamples, sets: list[np.ndarray]) -> None:
    """Two epochs with dropout from the same weights end at the same bits; with another seed they don't."""
    discriminator = small_discriminator(batch_norm=True, dropout=0.5)
    trainer = make_trainer(discriminator)
    start = values(trainer.variables)
    ends = []
    for seed in (0, 0, 1):
        for variable, value in zip(trainer.variables, start, strict=True):
            variable.assign(value)
        for epoch in (0, 1):
            train(trainer, batches(examples, sets, draw_pairs(N, 2, 0, 0, epoch), 8, seed, 0, epoch))
        ends.append(values(trainer.variables))
    assert all((a == b).all() for a, b in zip(ends[0], ends[1], strict=True))
    assert any((a != b).any() for a, b in zip(ends[0], ends[2], strict=True))


def test_adagrads_first_step_by_hand() -> None:
    """Gradient 0.3, rate 0.01: 0.003 / sqrt(0.1 + 0.09) from Keras' accumulator, 0.003 / 0.3 = the rate from 0."""
    for initial, step in ((0.1, 0.006882472), (0.0, 0.00999999444), (0.27, 0.005), (100.0, 0.000299865)):
        optimizer = DiscriminatorTraining(initial_accumulator=initial).make_optimizer()
        weight = keras.Variable([2.0, 0.0], dtype="float64")
        optimizer.build([weight])
        optimizer.apply([tf.constant([-0.3, 0.0], tf.float64)])
        assert weight.numpy() - [2.0, 0.0] == pytest.approx([step, 0.0], rel=1e-5)


def test_adam_can_be_chosen(examples: GridExamples, sets: list[np.ndarray]) -> None:
    """Its first step moves every weight by the learning rate, but for the epsilon where a gradient is tiny."""
    discriminator = small_discriminator()
    before = values(discriminator.trainable_variables)
    trainer = make_trainer(discriminator, optimizer="adam", learning_rate=0.003)
    drawn = draw_pairs(4, 2, 0)
    train(trainer, batches(examples, sets, drawn, 8, 0))
    for old, new in zip(before, values(discriminator.trainable_variables), strict=True):
        assert np.abs(new - old).max() < 0.00301
        assert np.median(np.abs(new - old)) == pytest.approx(0.003, rel=1e-2)


# --- when it stops


def test_reasons_to_stop() -> None:
    settings = DiscriminatorTraining(sufficient_accuracy=0.9, patience=3, max_epochs=10, first_max_epochs=6)
    cases = [
        # cycle, epoch, best epoch, pair accuracy, reason
        (1, 1, 1, 0.6, None),
        (1, 1, 1, 0.9, "sufficient_accuracy"),
        (1, 1, 1, 0.8999, None),
        (1, 5, 3, 0.6, None),
        (1, 5, 2, 0.6, "not_improving"),
        (1, 9, 9, 0.6, None),
        (1, 10, 10, 0.6, "max_epochs"),
        (1, 10, 7, 0.6, "not_improving"),
        (1, 10, 7, 0.95, "sufficient_accuracy"),
        (0, 5, 5, 0.6, None),
        (0, 6, 6, 0.6, "max_epochs"),
        (1, 6, 6, 0.6, None),
    ]
    for cycle, epoch, best, accuracy, reason in cases:
        assert DiscriminatorProgress(cycle, epoch, best).is_over(settings, {"pair_accuracy": accuracy}) == reason
    same_limit = DiscriminatorTraining(max_epochs=10)
    assert DiscriminatorProgress(0, 6, 6).is_over(same_limit, {"pair_accuracy": 0.6}) is None
    assert DiscriminatorProgress(0, 10, 10).is_over(same_limit, {"pair_accuracy": 0.6}) == "max_epochs"


@pytest.mark.parametrize(
    ("monitor", "best"),
    [("loss", [True, True, False, False, False, True]), ("pair_accuracy", [True, True, True, False, True, True])],
)
def test_best_epoch(monitor: str, best: list[bool]) -> None:
    """Of equal epochs the first stays; the loss must fall, or the pair accuracy rise (or stay, and the loss fall)."""
    settings = DiscriminatorTraining(monitor=monitor)
    progress = DiscriminatorProgress(1)
    epochs = zip([0.7, 0.6, 0.6, 0.65, 0.9, 0.5], [0.5, 0.5, 0.8, 0.7, 0.85, 0.85], strict=True)
    found = [progress.end_epoch(settings, {"loss": loss, "pair_accuracy": pairs}) for loss, pairs in epochs]
    assert found == best
    assert progress.epoch == 6
    assert progress.best_epoch == max(n for n, is_best in enumerate(best, 1) if is_best)
    assert progress.kept_for(settings) == monitor


@pytest.mark.parametrize("monitor", ["loss", "pair_accuracy"])
def test_the_epoch_that_is_accurate_enough_is_kept(monitor: str) -> None:
    """Seen in a run: 0.70 at the lowest loss, then 0.91, for which training ended, at a loss that had risen."""
    settings = DiscriminatorTraining(monitor=monitor, sufficient_accuracy=0.9)
    progress = DiscriminatorProgress(1)
    assert progress.end_epoch(settings, {"loss": 0.60, "pair_accuracy": 0.70})
    assert progress.is_over(settings, {"pair_accuracy": 0.70}) is None and progress.kept_for(settings) == monitor
    assert progress.end_epoch(settings, {"loss": 0.75, "pair_accuracy": 0.91})
    assert progress.is_over(settings, {"pair_accuracy": 0.91}) == progress.kept_for(settings) == "sufficient_accuracy"
    assert (progress.best_epoch, progress.best_measures["pair_accuracy"]) == (2, 0.91)


def test_asked_about_places_it_is_they_that_decide() -> None:
    """Its pairs and theirs differ: most places of a generated map are right."""
    settings = DiscriminatorTraining(monitor="pair_accuracy", sufficient_accuracy=0.9, max_epochs=9)
    progress = DiscriminatorProgress(1)
    epochs = [
        {"loss": 0.5, "pair_accuracy": 0.95, "place_auc": 0.7},
        {"loss": 0.6, "pair_accuracy": 0.4, "place_auc": 0.8},
    ]
    assert [progress.end_epoch(settings, epoch) for epoch in epochs] == [True, True]
    assert progress.is_over(settings, epochs[0]) is None and progress.kept_for(settings) == "place_auc"
    last = {"loss": 0.7, "pair_accuracy": 0.4, "place_auc": 0.9}
    assert progress.end_epoch(settings, last) and progress.is_over(settings, last) == "sufficient_accuracy"
    assert DiscriminatorProgress(1, 2, 2, epochs[1]).kept_for(DiscriminatorTraining(monitor="loss")) == "loss"


def test_ties_in_accuracy_go_to_the_lower_loss() -> None:
    """1.0 from the first epoch on, whose logits know no scale yet: not that one is kept."""
    settings = DiscriminatorTraining(monitor="pair_accuracy", sufficient_accuracy=1.1, patience=2, max_epochs=9)
    progress = DiscriminatorProgress(1)
    losses = [0.69, 0.30, 0.10, 0.20, 0.10]
    assert [progress.end_epoch(settings, {"loss": loss, "pair_accuracy": 1.0}) for loss in losses] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert progress.best_epoch == 3
    assert progress.is_over(settings, {"pair_accuracy": 1.0}) == "not_improving"


def test_the_progress_of_an_older_run_goes_on() -> None:
    """A commit that holds `best_badness`, which is computed now."""
    old = {"cycle": 2, "epoch": 4, "best_badness": 0.3, "best_epoch": 3}
    measures = {"loss": 0.5, "pair_accuracy": 0.7}
    progress = DiscriminatorProgress.from_json({**old, "best_measures": measures})
    settings = DiscriminatorTraining(monitor="pair_accuracy")
    assert not progress.end_epoch(settings, {"loss": 0.6, "pair_accuracy": 0.7})
    assert progress.end_epoch(settings, {"loss": 0.4, "pair_accuracy": 0.7})
    assert progress == DiscriminatorProgress(2, 6, 6, {"loss": 0.4, "pair_accuracy": 0.7})
    assert DiscriminatorProgress.from_json(dataclasses.asdict(progress)) == progress


def test_the_papers_settings() -> None:
    paper = DiscriminatorTraining()
    assert (paper.batch_size, paper.learning_rate, paper.optimizer, paper.union) == (16, 0.01, "adagrad", False)
    optimizer = paper.make_optimizer()
    assert isinstance(optimizer, keras.optimizers.Adagrad)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer is 'sgd'"),
        ({"monitor": "accuracy"}, "monitor is 'accuracy'"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"initial_accumulator": -0.1}, r"initial_accumulator is -0\.1; expected a finite number of at least 0"),
        ({"initial_accumulator": float("inf")}, "initial_accumulator is inf"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"max_epochs": 1.5}, "max_epochs is 1.5"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DiscriminatorTraining(**settings)
