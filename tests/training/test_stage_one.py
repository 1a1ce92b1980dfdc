"""Stage 1: the loss on hand-cut regions, the update, the augmentation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.dataset import Example, ExampleList
from load_tf.errors import UserError
from load_tf.training.stage_one import (
    CrossEntropyTrainer,
    StageOne,
    cross_entropy,
    cross_entropy_batches,
    pixels_seen,
    steps_per_epoch,
)

K, CROP = 4, (17, 33)


def up_sampled(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with aligned corners, in float64, one axis after the other."""
    for axis, side in ((1, size[0]), (2, size[1])):
        place = np.linspace(0, logits.shape[axis] - 1, side)
        low = np.minimum(place.astype(int), logits.shape[axis] - 2)
        part = (place - low).reshape([-1 if a == axis else 1 for a in range(4)])
        logits = np.take(logits, low, axis) * (1 - part) + np.take(logits, low + 1, axis) * part
    return logits


def pixel_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 [B, H, W]; 0 where void."""
    full = up_sampled(logits.astype(np.float64), labels.shape[1:])
    log_p = full - np.log(np.exp(full).sum(axis=-1, keepdims=True))
    losses = np.zeros(labels.shape)
    for place in np.ndindex(*labels.shape):
        if labels[place] != 255:
            losses[place] = -log_p[(*place, labels[place])]
    return losses


# --- the loss


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=2, size=(2, 5, 9, K)).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Void: a frame around the first image, the right half of the second."""
    labels = np.random.default_rng(1).integers(0, K, (2, *CROP), dtype=np.uint8)
    labels[0, [0, 1, -1]] = 255
    labels[0, :, [0, -1]] = 255
    labels[1, :, 17:] = 255
    return labels


def test_cross_entropy_by_hand(logits: np.ndarray, labels: np.ndarray) -> None:
    total, pixels = cross_entropy(tf.constant(logits), tf.constant(labels)), pixels_seen(tf.constant(labels))
    assert float(pixels) == 14 * 31 + 17 * 17
    assert float(total) == pytest.approx(pixel_losses(logits, labels).sum(), rel=1e-5)
    everywhere = pixel_losses(logits, np.where(labels == 255, 0, labels)).sum()
    assert float(total) < 0.8 * everywhere


def test_cross_entropy_of_regions_adds_up(logits: np.ndarray, labels: np.ndarray) -> None:
    """Cut apart by void, two regions have the sums of their own."""
    left, right = labels.copy(), labels.copy()
    left[:, :, 11:] = 255
    right[:, :, :11] = 255
    whole, *parts = (cross_entropy(tf.constant(logits), tf.constant(part)) for part in (labels, left, right))
    assert sum(float(total) for total in parts) == pytest.approx(float(whole), rel=1e-5)
    seen, *seen_parts = (float(pixels_seen(tf.constant(part))) for part in (labels, left, right))
    assert sum(seen_parts) == seen
    losses = pixel_losses(logits, labels)
    assert float(parts[0]) == pytest.approx(losses[:, :, :11].sum(), rel=1e-5)


def test_void_has_no_gradient(logits: np.ndarray) -> None:
    """Logits at full resolution, so that every pixel has its own: p - onehot where seen, 0 where void."""
    full = np.repeat(np.repeat(logits, 2, 1), 2, 2)
    labels = np.random.default_rng(2).choice([0, 1, 3, 255], full.shape[:3]).astype(np.uint8)
    variable = tf.constant(full)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        total = cross_entropy(variable, tf.constant(labels))
    p = np.exp(full.astype(np.float64))
    expected = p / p.sum(axis=-1, keepdims=True) - np.eye(256)[labels][..., :K]
    expected[labels == 255] = 0
    np.testing.assert_allclose(tape.gradient(total, variable).numpy(), expected, atol=1e-5)


# --- the trainer


def small_segmentor() -> keras.Model:
    random = np.random.default_rng(0)
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(images)
    x = keras.layers.Conv2D(6, 3, strides=4, padding="same", use_bias=False, name="conv")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.8, name="bn")(x))
    model = keras.Model(images, keras.layers.Conv2D(K, 1, name="logits")(x))
    for variable in model.trainable_variables:
        variable.assign(random.normal(scale=0.5, size=variable.shape))
    return model


@pytest.fixture(scope="module")
def split() -> ExampleList:
    """Eleven images whose first channel is their label, so that what becomes of one can be seen in the other."""
    random = np.random.default_rng(5)
    examples = []
    for number in range(11):
        size = (int(random.integers(8, 18)), int(random.integers(12, 34)))
        label = random.choice([0, 1, 2, 3, 255], size, p=[0.3, 0.3, 0.2, 0.1, 0.1]).astype(np.uint8)
        image = np.stack([label, np.full(size, number), random.integers(0, 256, size)], axis=-1).astype(np.uint8)
        examples.append(Example(image, label, str(number)))
    return ExampleList(examples)


def train(trainer: CrossEntropyTrainer, dataset: tf.data.Dataset) -> dict[str, float]:
    trainer.train_dataset = dataset
    return trainer.train(tf.constant(sum(1 for _ in dataset)))


def make_trainer(total_steps: int = 10, **settings) -> CrossEntropyTrainer:
    return CrossEntropyTrainer(small_segmentor(), StageOne(**settings), total_steps, tf.distribute.get_strategy())


@pytest.mark.parametrize("clip_norm", [0.01, 100.0])
def test_two_updates_by_hand(split: ExampleList, clip_norm: float) -> None:
    """DeepLab's schedule and momentum, clipped by the norm of all gradients; batch statistics in the forward pass."""
    ours = make_trainer(8, learning_rate=0.1, batch_size=4, clip_norm=clip_norm)
    theirs = small_segmentor()
    dataset = cross_entropy_batches(split, StageOne(batch_size=4), CROP, 0, 0)
    assert sum(1 for _ in dataset) == 2
    loss = train(ours, dataset)["loss"]
    momentum = [np.zeros(v.shape) for v in theirs.trainable_variables]
    losses, clipped = [], []
    for step, batch in enumerate(dataset):
        labels = batch["labels"].numpy()
        with tf.GradientTape() as tape:
            logits = theirs(batch["images"], training=True)
            full = tf.raw_ops.ResizeBilinear(images=logits, size=CROP, align_corners=True)
            log_p = tf.boolean_mask(tf.nn.log_softmax(full), labels != 255)
            value = -tf.reduce_mean(tf.gather(log_p, labels[labels != 255].astype(int), batch_dims=1))
        gradients = [
            g.numpy().astype(np.float64) for g in tape.gradient(value, [v.value for v in theirs.trainable_variables])
        ]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        clipped.append(norm > clip_norm)
        rate = 0.1 * (1 - step / 8) ** 0.9
        for variable, v, g in zip(theirs.trainable_variables, momentum, gradients, strict=True):
            v *= 0.9
            v -= rate * g * min(1, clip_norm / norm)
            variable.assign(variable + v.astype(np.float32))
        losses.append(float(value))
    assert clipped == [clip_norm < 1] * 2
    assert loss == pytest.approx(np.mean(losses), rel=1e-4)
    start = small_segmentor()
    for got, expected, before in zip(ours.segmentor.weights, theirs.weights, start.weights, strict=True):
        moved = np.abs(expected.numpy() - before.numpy()).max()
        assert moved > 1e-6
        np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=max(2e-3 * moved, 2e-7))


def test_batch_norm_statistics_move(split: ExampleList) -> None:
    """By 1 - momentum towards the batch's, as nowhere else in load_tf."""
    trainer = make_trainer(batch_size=4)
    (batch,) = cross_entropy_batches(split, StageOne(batch_size=4), CROP, 0, 0).take(1)
    seen = keras.Model(trainer.segmentor.inputs, trainer.segmentor.get_layer("conv").output)(batch["images"]).numpy()
    train(trainer, tf.data.Dataset.from_tensors(batch))
    norm = trainer.segmentor.get_layer("bn")
    np.testing.assert_allclose(norm.moving_mean.numpy(), 0.2 * seen.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance.numpy(), 0.8 + 0.2 * seen.var(axis=(0, 1, 2)), rtol=1e-3)


def test_two_updates_of_adamw_with_statistics_that_stand(split: ExampleList) -> None:
    """Adam with decoupled decay, clipped by the norm of all gradients; the network as it is at inference."""
    chosen = {"learning_rate": 0.01, "batch_size": 4, "optimizer": "adamw", "weight_decay": 0.5, "batch_norm": "moving"}
    ours, theirs = make_trainer(8, clip_norm=0.05, **chosen), small_segmentor()
    dataset = cross_entropy_batches(split, StageOne(batch_size=4), CROP, 0, 0)
    train(ours, dataset)
    first, second = ([np.zeros(v.shape) for v in theirs.trainable_variables] for _ in range(2))
    for step, batch in enumerate(dataset):
        labels = batch["labels"].numpy()
        with tf.GradientTape() as tape:
            full = tf.raw_ops.ResizeBilinear(images=theirs(batch["images"]), size=CROP, align_corners=True)
            log_p = tf.boolean_mask(tf.nn.log_softmax(full), labels != 255)
            value = -tf.reduce_mean(tf.gather(log_p, labels[labels != 255].astype(int), batch_dims=1))
        gradients = tape.gradient(value, [v.value for v in theirs.trainable_variables])
        norm = float(tf.linalg.global_norm(gradients))
        assert norm > 0.05
        rate = 0.01 * (1 - step / 8) ** 0.9
        for variable, m, v, g in zip(theirs.trainable_variables, first, second, gradients, strict=True):
            g = g.numpy().astype(np.float64) * 0.05 / norm
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            # Kingma and Ba's efficient order, whose epsilon stands beside the uncorrected root.
            corrected = np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            adam = corrected * m / (np.sqrt(v) + 1e-7)
            variable.assign((variable.numpy() * (1 - 0.5 * rate) - rate * adam).astype(np.float32))
    for got, expected in zip(ours.segmentor.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=2e-4)
    norm_layer, at_first = ours.segmentor.get_layer("bn"), small_segmentor().get_layer("bn")
    np.testing.assert_array_equal(norm_layer.moving_mean.numpy(), at_first.moving_mean.numpy())
    np.testing.assert_array_equal(norm_layer.moving_variance.numpy(), at_first.moving_variance.numpy())


def test_training_learns(split: ExampleList) -> None:
    """A few epochs bring the loss below log 4 = 1.39, what a guess among four labels costs."""
    settings = StageOne(batch_size=4, learning_rate=0.2)
    trainer = CrossEntropyTrainer(small_segmentor(), settings, 40, tf.distribute.get_strategy())
    losses = [train(trainer, cross_entropy_batches(split, settings, CROP, 0, epoch))["loss"] for epoch in range(12)]
    assert losses[-1] < 1.34 < np.log(4) < losses[0]


def test_a_batch_of_nothing_but_void_changes_no_weight(split: ExampleList) -> None:
    """It says nothing; above all its 0 / 0 must not become NaN weights."""
    trainer = make_trainer(batch_size=2)
    (batch,) = cross_entropy_batches(split, StageOne(batch_size=2), CROP, 0, 0).take(1)
    void = tf.data.Dataset.from_tensors({**batch, "labels": tf.fill([2, *CROP], tf.constant(255, tf.uint8))})
    before = [v.numpy().copy() for v in trainer.segmentor.trainable_variables]
    assert train(trainer, void)["loss"] == 0
    for old, new in zip(before, trainer.segmentor.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_everything_a_restart_needs(split: ExampleList) -> None:
    """Two epochs at once, or one, then the second in a new trainer that took over the variables: the same bits."""
    settings = StageOne(batch_size=4)
    dataset = [cross_entropy_batches(split, settings, CROP, 0, epoch) for epoch in (0, 1)]
    through, first, second = (make_trainer(4, batch_size=4) for _ in range(3))
    train(through, dataset[0])
    train(through, dataset[1])
    train(first, dataset[0])
    for variable, source in zip(second.variables, first.variables, strict=True):
        variable.assign(source.numpy())
    train(second, dataset[1])
    for a, b in zip(through.variables, second.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


# --- batches


def elements(
    split: ExampleList, settings: StageOne, seed: int = 0, epoch: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    batches = cross_entropy_batches(split, settings, CROP, seed, epoch)
    return [
        (image, label) for e in batches for image, label in zip(e["images"].numpy(), e["labels"].numpy(), strict=True)
    ]


def placed(example: Example, flip: bool, shift: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel: an example on its padded crop, moved by (down, right)."""
    image, label = np.full((*CROP, 3), 127.5, np.float32), np.full(CROP, 255, np.uint8)
    height, width = example.label.shape
    for y, x in np.ndindex(height, width):
        to_y, to_x = y + shift[0], (width - 1 - x if flip else x) + shift[1]
        if 0 <= to_y < CROP[0] and 0 <= to_x < CROP[1]:
            image[to_y, to_x], label[to_y, to_x] = example.image[y, x], example.label[y, x]
    return image, label


def find(split: ExampleList, image: np.ndarray, label: np.ndarray, shift: int) -> tuple[int, bool, int, int]:
    """Which example, flipped or not, moved by how much; image and label must agree on it."""
    numbers = set(np.unique(image[..., 1])) - {127.5}
    (number,) = numbers
    for flip in (False, True):
        for down in range(-shift, shift + 1):
            for right in range(-shift, shift + 1):
                expected = placed(split[int(number)], flip, (down, right))
                if (expected[0] == image).all():
                    np.testing.assert_array_equal(expected[1], label)
                    return int(number), flip, down, right
    raise AssertionError(f"no flip and shift of example {number} gives this image")


def test_image_and_label_move_together(split: ExampleList) -> None:
    settings = StageOne(batch_size=1, shift=2)
    found = [find(split, *element, shift=2) for element in elements(split, settings)]
    assert sorted(number for number, *_ in found) == list(range(11))
    assert {flip for _, flip, *_ in found} == {False, True}
    assert len({(down, right) for *_, down, right in found}) > 4
    for image, label in elements(split, settings):
        seen = image[..., 0] != 127.5
        np.testing.assert_array_equal(image[..., 0][seen], label[seen])
        assert (label[~seen] == 255).all()


def test_augmentation_can_be_switched_off(split: ExampleList) -> None:
    found = [find(split, *element, shift=0) for element in elements(split, StageOne(batch_size=1, flip=False))]
    assert {(flip, down, right) for _, flip, down, right in found} == {(False, 0, 0)}
    flipped = [find(split, *element, shift=0) for element in elements(split, StageOne(batch_size=1))]
    assert {flip for _, flip, *_ in flipped} == {False, True}


@pytest.mark.parametrize("shift", [20, 60])
def test_shifts_beyond_the_image_leave_padding(split: ExampleList, shift: int) -> None:
    """More than the smallest image is high: some are moved out of the crop altogether."""
    found = elements(split, StageOne(batch_size=1, shift=shift, flip=False))
    assert len(found) == 11
    assert any((label == 255).all() and (image == 127.5).all() for image, label in found)
    for image, label in found:
        seen = image[..., 0] != 127.5
        np.testing.assert_array_equal(image[..., 0][seen], label[seen])


def test_last_images_of_an_epoch_wait_for_another(split: ExampleList) -> None:
    """Whole batches only; who is left out differs by epoch, so that all are seen."""
    settings = StageOne(batch_size=4, flip=False)
    assert [steps_per_epoch(images, settings) for images in (3, 4, 7, 8, 11)] == [1, 1, 1, 2, 2]
    epochs = []
    for epoch in range(6):
        shapes = [e["images"].shape[0] for e in cross_entropy_batches(split, settings, CROP, 0, epoch)]
        assert shapes == [4, 4]
        epochs.append({find(split, *element, shift=0)[0] for element in elements(split, settings, epoch=epoch)})
        assert len(epochs[-1]) == 8
    assert set.union(*epochs) == set(range(11))
    assert len({frozenset(e) for e in epochs}) > 2


def test_fewer_images_than_a_batch(split: ExampleList) -> None:
    few = ExampleList(split.examples[:3])
    (batch,) = cross_entropy_batches(few, StageOne(batch_size=8), CROP, 0, 0)
    assert batch["images"].shape == (3, *CROP, 3)
    assert batch["labels"].shape == (3, *CROP)


def test_batches_are_keyed(split: ExampleList) -> None:
    settings = StageOne(batch_size=4, shift=3)
    one, again = elements(split, settings, 0, 3), elements(split, settings, 0, 3)
    for (a, b), (c, d) in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    for other in (elements(split, settings, 0, 4), elements(split, settings, 1, 3)):
        assert sum((a[0] != b[0]).any() for a, b in zip(one, other, strict=True)) >= 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        StageOne(**settings)
