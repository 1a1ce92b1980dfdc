"""The adversarial step against gradients and updates written out by other means."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.dataset import Example, ExampleList
from load_tf.discriminator.buffer import image_order
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import GridExamples, read_grid_examples
from load_tf.discriminator.mobilenet import MobileNetDiscriminator
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.randomness import key
from load_tf.training.adversarial import (
    AdversarialTrainer,
    AdversarialTraining,
    adversarial_batches,
    adversarial_loss,
    map_maker,
)

K, CROP, GRID, BATCH = 3, (33, 49), 32, 2
SAMPLING = Sampling(temperature=2.0)


class CountingDiscriminator(MobileNetDiscriminator):
    """Counts how often Python calls it: once per trace."""

    calls = 0

    def __call__(self, *args, **kwargs) -> tf.Tensor:
        type(self).calls += 1
        return super().__call__(*args, **kwargs)


def small_segmentor() -> keras.Model:
    """Stride 4 with batch norm (moved statistics) and dropout, neither of which may act as in training."""
    random = np.random.default_rng(0)
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(images)
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.Conv2D(6, 3, strides=4, use_bias=False, name="conv")(x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Dropout(0.5, seed=0)(keras.layers.ReLU()(x))
    model = keras.Model(images, keras.layers.Conv2D(K, 1, name="logits")(x))
    model.set_weights([random.normal(scale=0.5, size=w.shape) for w in model.get_weights()])
    norm = model.get_layer("bn")
    norm.moving_variance.assign(random.uniform(0.5, 2, 6))
    norm.gamma.assign(random.uniform(0.5, 2, 6))
    return model


def small_discriminator() -> CountingDiscriminator:
    random = np.random.default_rng(1)
    inputs = keras.Input((GRID, GRID, 3 * K))
    x = keras.layers.Conv2D(8, 3, strides=2, name="d_conv")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="d_bn")(x))
    body = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    head = keras.layers.Dense(1)
    head.build(body.output.shape)
    body.set_weights(
        [random.uniform(0.2, 1, w.shape) * random.choice([-1, 1], w.shape[-1]) for w in body.get_weights()]
    )
    body.get_layer("d_bn").moving_variance.assign(random.uniform(0.5, 2, 8))
    # The bias brings the logits of these tests' maps near 0, where both losses have a gradient.
    head.set_weights([random.normal(scale=2, size=(8, 1)), np.array([7.0])])
    return CountingDiscriminator(body, head, Discriminator(input_size=GRID, dropout=0.5))


def trainer(sampling: Sampling = SAMPLING, **settings) -> AdversarialTrainer:
    chosen = AdversarialTraining(**{"batch_size": BATCH, "learning_rate": 0.05, "momentum": 0.9, **settings})
    strategy = tf.distribute.get_strategy()
    return AdversarialTrainer(small_segmentor(), small_discriminator(), chosen, sampling, CROP, K, strategy)


@pytest.fixture(scope="module")
def split() -> ExampleList:
    """Seven images smaller than the crop, with void."""
    random = np.random.default_rng(2)
    examples = []
    for number in range(7):
        size = random.integers(20, 33), random.integers(30, 49)
        label = random.integers(0, K, size, dtype=np.uint8)
        label[random.random(size) < 0.1] = 255
        examples.append(Example(random.integers(0, 256, (*size, 3), dtype=np.uint8), label, str(number)))
    return ExampleList(examples)


@pytest.fixture(scope="module")
def grid_examples(split: ExampleList) -> GridExamples:
    return read_grid_examples(split, CROP, GRID, "test")


@pytest.fixture(scope="module")
def elements(split: ExampleList, grid_examples: GridExamples) -> list[dict[str, tf.Tensor]]:
    return list(adversarial_batches(split, grid_examples, AdversarialTraining(batch_size=BATCH), CROP, 0, 0, 4))


def dataset(elements: list[dict[str, tf.Tensor]]) -> tf.data.Dataset:
    """Batches as a data set of the same element spec as the real one's."""
    return tf.data.Dataset.from_tensor_slices({name: tf.stack([e[name] for e in elements]) for name in elements[0]})


def train(one: AdversarialTrainer, elements: list[dict[str, tf.Tensor]]) -> dict[str, float | bool]:
    one.train_dataset = dataset(elements)
    return one.train(tf.constant(len(elements)))


def values(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [v.numpy().copy() for v in variables]


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(np.atleast_1d(a).view(np.uint8), np.atleast_1d(b).view(np.uint8))


def by_hand(
    segmentor: keras.Model,
    discriminator: ConditionalDiscriminator,
    batch: dict[str, tf.Tensor],
    variables: list[keras.Variable],
    sampling: Sampling = SAMPLING,
    saturating: bool = True,
) -> tuple[list[np.ndarray], float, float]:
    """Gradients, loss and the share of samples that are not the arg-max, without load_tf's numerics."""
    rows, columns = ([int((i + 0.5) * side / GRID) for i in range(GRID)] for side in CROP)
    with tf.GradientTape() as tape:
        full = tf.raw_ops.ResizeBilinear(
            images=segmentor(batch["images"], training=False), size=CROP, align_corners=True, half_pixel_centers=False
        )
        logits = tf.gather(tf.gather(full, rows, axis=1), columns, axis=2)
        noisy = logits
        if sampling.gumbel_noise:
            uniform = tf.random.stateless_uniform(logits.shape, batch["key"], minval=np.finfo(np.float32).tiny)
            noisy = logits - tf.math.log(-tf.math.log(uniform))
        soft = tf.nn.softmax(noisy / sampling.temperature)
        hard = tf.cast(noisy == tf.reduce_max(noisy, axis=-1, keepdims=True), tf.float32)
        maps = soft + tf.stop_gradient(hard - soft)
        visible = tf.cast(batch["labels"] < 255, tf.float32)
        colours = 0.25 + 0.75 * tf.cast(batch["grid_images"], tf.float32) / 255
        inputs = tf.concat([colours * (maps[..., k] * visible)[..., None] for k in range(K)], axis=-1)
        features = discriminator.body(inputs, training=False)
        probability = tf.sigmoid(tf.matmul(features, discriminator.head.kernel) + discriminator.head.bias)
        loss = tf.reduce_mean(tf.math.log(1 - probability) if saturating else -tf.math.log(probability))
    gradients = tape.gradient(loss, [v.value for v in variables])
    other = (tf.argmax(noisy, -1) != tf.argmax(logits, -1)).numpy() & (visible.numpy() == 1)
    return [g.numpy() for g in gradients], float(loss), float(other.sum() / visible.numpy().sum())


# --- the loss


def test_loss_is_equation_2s_third_term() -> None:
    x = np.array([-3.0, -0.5, 0.0, 0.7, 4.0])
    d = 1 / (1 + np.exp(-x))
    logits = tf.constant(x, tf.float32)
    np.testing.assert_allclose(adversarial_loss(logits, True).numpy(), np.log(1 - d), rtol=1e-6)
    np.testing.assert_allclose(adversarial_loss(logits, False).numpy(), -np.log(d), rtol=1e-6)
    assert adversarial_loss(tf.constant([0.0]), True).numpy()[0] == pytest.approx(-np.log(2))


@pytest.mark.parametrize("saturating", [True, False])
def test_loss_and_gradient_are_finite_far_out(saturating: bool) -> None:
    """log(1 - sigmoid(200)) is -200; by way of the probability it would be -inf."""
    x = tf.constant([-1e4, -200.0, 200.0, 1e4])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = adversarial_loss(x, saturating)
    expected = [0, 0, -200, -1e4] if saturating else [1e4, 200, 0, 0]
    np.testing.assert_allclose(loss.numpy(), expected, atol=1e-30)
    np.testing.assert_allclose(
        tape.gradient(loss, x).numpy(), [0, 0, -1, -1] if saturating else [-1, -1, 0, 0], atol=1e-30
    )
    d = tf.sigmoid(x).numpy()
    assert (1 - d[2] if saturating else d[0]) == 0


# --- updates


@pytest.mark.parametrize("saturating", [True, False])
def test_two_updates_by_hand(elements: list[dict[str, tf.Tensor]], saturating: bool) -> None:
    """`v <- 0.9 v - 0.05 g; w <- w + v`, from zero momentum, with gradients from another tape."""
    ours, theirs = trainer(saturating=saturating), small_segmentor()
    measures = train(ours, elements[:2])
    momentum = [np.zeros(v.shape) for v in theirs.trainable_variables]
    losses, norms, shares = [], [], []
    for batch in elements[:2]:
        gradients, loss, share = by_hand(
            theirs, ours.discriminator, batch, theirs.trainable_variables, saturating=saturating
        )
        losses.append(loss)
        shares.append(share)
        norms.append(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients)))
        momentum = [0.9 * v - 0.05 * g for v, g in zip(momentum, gradients, strict=True)]
        for variable, v in zip(theirs.trainable_variables, momentum, strict=True):
            variable.assign(variable + v.astype(np.float32))
    start = small_segmentor()
    for expected, got, before in zip(theirs.weights, ours.segmentor.weights, start.weights, strict=True):
        moved = np.abs(expected.numpy() - before.numpy()).max()
        np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=max(1e-3 * moved, 1e-7))
        assert (moved > 1e-4) == expected.trainable
    for slot, v in zip(ours.momentum_variables[2:], momentum, strict=True):
        np.testing.assert_allclose(slot.numpy(), v, atol=1e-3 * np.abs(v).max())
    assert measures["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert measures["gradient_norm"] == pytest.approx(np.mean(norms), rel=1e-3)
    assert measures["sampled_share"] == pytest.approx(np.mean(shares), rel=1e-5)
    assert 0.05 < measures["sampled_share"] < 0.9
    assert measures["finite"] is True
    assert measures["loss"] < 0 if saturating else measures["loss"] > 0


def test_updates_go_downhill(elements: list[dict[str, tf.Tensor]]) -> None:
    """Without noise and momentum, the loss of a batch falls when the step is made over and over."""
    one = trainer(Sampling(1.0, straight_through=False, gumbel_noise=False), momentum=0.0)
    losses = [train(one, elements[:1])["loss"] for _ in range(8)]
    assert losses[-1] < losses[0] - 1e-3
    assert losses == sorted(losses, reverse=True)


def test_only_the_segmentors_trainable_variables_move(elements: list[dict[str, tf.Tensor]]) -> None:
    """Neither the discriminator nor any moving statistic, not by a bit; and no seed of the dropout."""
    one = trainer()
    still = [*one.segmentor.non_trainable_variables, *one.discriminator.variables]
    before, moving = values(still), values(one.segmentor.trainable_variables)
    assert len(one.segmentor.non_trainable_variables) == 3  # moving mean, moving variance, seed
    train(one, elements[:3])
    assert_same(before, values(still))
    for old, new in zip(moving, values(one.segmentor.trainable_variables), strict=True):
        assert (old != new).any()


@pytest.mark.parametrize(
    ("pattern", "expected"), [("bn/", 2), (r"(gamma|beta)$", 2), ("logits/kernel", 1), ("^logits", 2)]
)
def test_trainable_selects_by_path(elements: list[dict[str, tf.Tensor]], pattern: str, expected: int) -> None:
    one = trainer(trainable=pattern)
    before = values(one.segmentor.variables)
    train(one, elements[:1])
    moved = [v.path for v, old in zip(one.segmentor.variables, before, strict=True) if (v.numpy() != old).any()]
    assert moved == [v.path for v in one.trained]
    assert len(moved) == expected
    assert len(one.momentum_variables) == 2 + expected


def test_a_pattern_that_finds_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainable 'decoder' finds none.*'conv/kernel'"):
        trainer(trainable="decoder")


def test_selected_gradients_are_the_same(elements: list[dict[str, tf.Tensor]]) -> None:
    """The norm is that of what is trained alone."""
    one = trainer(trainable="logits")
    twin = small_segmentor()
    measured = train(one, elements[:1])["gradient_norm"]
    gradients, _, _ = by_hand(twin, one.discriminator, elements[0], twin.get_layer("logits").trainable_variables)
    assert measured == pytest.approx(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients)), rel=1e-3)


def test_void_has_no_say(elements: list[dict[str, tf.Tensor]]) -> None:
    """What is under void reaches neither loss nor gradient; what is beside it does."""
    void = elements[0]["labels"].numpy() == 255
    assert 0.1 < void.mean() < 0.9
    one, results = trainer(learning_rate=1e-30), []  # too small to move a weight
    for where in (None, void, ~void):
        images = elements[0]["grid_images"].numpy().copy()
        if where is not None:
            images[where] = 255 - images[where]
        results.append(train(one, [{**elements[0], "grid_images": tf.constant(images)}]))
    assert results[0] == results[1]
    assert results[0]["loss"] != results[2]["loss"]


def test_no_noise_no_other_samples(elements: list[dict[str, tf.Tensor]]) -> None:
    assert train(trainer(Sampling(gumbel_noise=False)), elements[:2])["sampled_share"] == 0


# --- what isn't finite


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_batch_is_not_applied_nor_are_those_after_it(elements: list[dict[str, tf.Tensor]], bad: float) -> None:
    images = elements[1]["images"].numpy().copy()
    images[0, 3, 4, 0] = bad
    poisoned = {**elements[1], "images": tf.constant(images)}
    one, other = trainer(), trainer()
    assert train(one, [elements[0], poisoned, elements[2]])["finite"] is False
    assert train(other, [elements[0]])["finite"] is True
    assert_same(values(one.segmentor.variables), values(other.segmentor.variables))
    assert_same(values(one.momentum_variables), values(other.momentum_variables))
    # The next call starts afresh.
    assert train(one, [elements[2]])["finite"] is True
    train(other, [elements[2]])
    assert_same(values(one.segmentor.variables), values(other.segmentor.variables))


def test_bad_weights_are_noticed(elements: list[dict[str, tf.Tensor]]) -> None:
    """The loss alone could not tell: the arg-max of NaN logits is class 0, a map like any other."""
    one = trainer()
    bias = one.segmentor.get_layer("logits").bias
    bias.assign([np.nan] * K)
    before = values(one.segmentor.variables)
    measures = train(one, elements[:2])
    assert measures["finite"] is False
    assert np.isfinite(measures["loss"])
    assert np.isnan(measures["gradient_norm"])
    assert_same(before, values(one.segmentor.variables))
    assert not any(v.numpy().any() for v in one.momentum_variables if v.path.endswith("momentum"))


def test_a_discriminator_that_is_not_finite_stops_the_update(elements: list[dict[str, tf.Tensor]]) -> None:
    one = trainer()
    one.discriminator.head.bias.assign([np.inf])
    before = values(one.segmentor.variables)
    assert train(one, elements[:1])["finite"] is False
    assert_same(before, values(one.segmentor.variables))


# --- momentum, traces


def test_reset_momentum(elements: list[dict[str, tf.Tensor]]) -> None:
    """All slots become zero; the learning rate stays, and so does the count of updates. Then all goes as from new."""
    one = trainer()
    start = values(one.segmentor.variables)
    train(one, elements[:2])
    assert all(v.numpy().any() for v in one.momentum_variables)
    one.reset_momentum()
    kept = [v.path for v in one.momentum_variables if v.numpy().any()]
    assert kept == [one.optimizer.iterations.path, one.optimizer.learning_rate.path]
    assert int(one.optimizer.iterations) == 2
    assert float(one.optimizer.learning_rate) == pytest.approx(0.05)
    for variable, value in zip(one.segmentor.variables, start, strict=True):
        variable.assign(value)
    train(one, elements[:2])
    fresh = trainer()
    train(fresh, elements[:2])
    assert_same(values(one.segmentor.variables), values(fresh.segmentor.variables))


def test_traced_once(elements: list[dict[str, tf.Tensor]], split: ExampleList, grid_examples: GridExamples) -> None:
    """New data sets, other numbers of updates: the same graph."""
    one = trainer()
    CountingDiscriminator.calls = 0
    train(one, elements[:1])
    traced = CountingDiscriminator.calls
    assert traced >= 1
    train(one, elements[:3])
    train(one, elements[1:2])
    assert CountingDiscriminator.calls == traced
    # The real pipeline, set anew as at the start of each phase, and gone on with.
    for first in (0, 5):
        one.train_dataset = adversarial_batches(
            split, grid_examples, AdversarialTraining(batch_size=BATCH), CROP, 0, first, 4
        )
        one.train(tf.constant(1))
        one.train(tf.constant(2))
    assert CountingDiscriminator.calls <= 2 * traced


# --- batches and maps


def test_batches_follow_the_image_order(split: ExampleList, grid_examples: GridExamples) -> None:
    settings = AdversarialTraining(batch_size=3)
    found = list(adversarial_batches(split, grid_examples, settings, CROP, 4, 0, 5))
    order = list(image_order(7, 4, 0, 15))
    for update, element in enumerate(found):
        assert element["images"].dtype == tf.float32
        np.testing.assert_array_equal(element["key"], key(4, "gumbel", update))
        for row, number in enumerate(order[3 * update : 3 * update + 3]):
            image = split[number].image
            padded = np.full((*CROP, 3), 127.5, np.float32)
            padded[: image.shape[0], : image.shape[1]] = image
            np.testing.assert_array_equal(element["images"][row], padded)
            np.testing.assert_array_equal(element["grid_images"][row], grid_examples.images[number])
            np.testing.assert_array_equal(element["labels"][row], grid_examples.labels[number])


def test_batches_can_be_entered_at_any_update(split: ExampleList, grid_examples: GridExamples) -> None:
    settings = AdversarialTraining(batch_size=3)
    whole = list(adversarial_batches(split, grid_examples, settings, CROP, 4, 0, 6))
    rest = list(adversarial_batches(split, grid_examples, settings, CROP, 4, 4, 2))
    assert len(rest) == 2
    for one, other in zip(whole[4:], rest, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert (whole[0]["key"].numpy() != rest[0]["key"].numpy()).any()


def test_stored_maps_are_the_arg_max_on_the_grid(elements: list[dict[str, tf.Tensor]]) -> None:
    """Of the logits in inference mode; also of a batch of another size."""
    segmentor = small_segmentor()
    make = map_maker(segmentor, CROP, GRID)
    for images in (elements[0]["images"], elements[0]["images"][:1]):
        maps = make(images).numpy()
        assert maps.dtype == np.uint8
        full = tf.raw_ops.ResizeBilinear(
            images=segmentor(images, training=False), size=CROP, align_corners=True, half_pixel_centers=False
        ).numpy()
        rows, columns = (np.array([int((i + 0.5) * side / GRID) for i in range(GRID)]) for side in CROP)
        assert np.mean(maps == full[:, rows][:, :, columns].argmax(axis=-1)) > 0.9999
        assert len(np.unique(maps)) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.0}, "batch_size is 2.0"),
        ({"updates_per_iteration": 0}, "updates_per_iteration is 0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": "0.1"}, "learning_rate is '0.1'"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"momentum": 1.0}, "momentum is 1.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        AdversarialTraining(**settings)


def test_the_papers_settings() -> None:
    paper = AdversarialTraining()
    assert (paper.batch_size, paper.learning_rate, paper.momentum, paper.saturating) == (5, 2.5e-7, 0.95, True)
    assert Sampling() == Sampling(20.0, inverse_temperature=False, straight_through=True, gumbel_noise=True)
