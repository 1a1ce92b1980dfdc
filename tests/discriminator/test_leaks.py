"""The discriminator must not be able to tell real from fake by anything but the labels.

The null test: an oracle that knows the ground truth takes the segmentor's place. Its maps go through the whole fake
path (padded images, logits, the grid, a file of the buffer, masking, flips) and are labelled fake. A discriminator
trained on them must stay at chance on unseen pairs. With one leak switched on, here and nowhere else, it must not.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.dataset import Example, ExampleList
from load_tf.data.synthetic import CLASS_NAMES, SyntheticScenes
from load_tf.discriminator import buffer as label_maps
from load_tf.discriminator import conditioning
from load_tf.discriminator.buffer import LabelMapSet, batches, draw_pairs, holdout_pairs, mask_void
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import Sampling, one_hot, split_by_class
from load_tf.discriminator.grid import GridExamples, grid_points, read_grid_examples
from load_tf.discriminator.mobilenet import MobileNetDiscriminator
from load_tf.discriminator.settings import Discriminator
from load_tf.storage.arrays import read_arrays, write_arrays
from load_tf.training.adversarial import AdversarialTrainer, AdversarialTraining, adversarial_batches, map_maker
from load_tf.training.discriminator import DiscriminatorTrainer, DiscriminatorTraining
from load_tf.training.snapshot import Snapshot

K = len(CLASS_NAMES)
SIZE, CROP, GRID = (60, 80), (65, 97), 32
TRAINING, UNSEEN, STEPS, BATCH = 200, 48, 200, 16


# --- an oracle in the segmentor's place


def without_void(label: np.ndarray) -> np.ndarray:
    """Void filled with the nearest class, as a network would have it."""
    seen_y, seen_x = np.nonzero(label != 255)
    filled = label.copy()
    for y, x in zip(*np.nonzero(label == 255), strict=True):
        nearest = np.argmin((seen_y - y) ** 2 + (seen_x - x) ** 2)
        filled[y, x] = label[seen_y[nearest], seen_x[nearest]]
    return filled


def scene(scenes: SyntheticScenes, index: int) -> Example:
    """A scene that carries its labels in the low bits of its blue, where no eye sees them."""
    image, label, name = scenes[index]
    image[..., 2] = image[..., 2] & 0xF0 | without_void(label)
    return Example(image, label, name)


class ReadLabels(keras.layers.Layer):
    """Logits of ±20 for the label in the low bits; padding (127.5) becomes class 0."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        label = tf.cast(tf.math.floormod(images[..., 2], 16.0), tf.int32)
        return 40 * tf.one_hot(tf.where(label < K, label, 0), K) - 20


def make_oracle(trainable: bool = False) -> keras.Model:
    """At full resolution, so that the grid reads it exactly; or with a scale that an optimizer can hold."""
    images = keras.Input((None, None, 3))
    logits = ReadLabels()(images)
    if trainable:
        logits = keras.layers.DepthwiseConv2D(1, depthwise_initializer="ones", use_bias=False)(logits)
    return keras.Model(images, logits)


def make_detector() -> ConditionalDiscriminator:
    """Three convolutions in MobileNet's place: they learn in 200 small steps what MobileNet needs thousands for."""
    keras.utils.set_random_seed(1)
    inputs = x = keras.Input((GRID, GRID, 3 * K))
    for filters, strides in ((24, 1), (32, 2), (32, 2)):
        x = keras.layers.Conv2D(
            filters, 3, strides, padding="same", activation="relu", kernel_initializer="he_normal"
        )(x)  # fmt: skip
    body = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    head = keras.layers.Dense(1)
    head.build(body.output.shape)
    return MobileNetDiscriminator(body, head, Discriminator(input_size=GRID))


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Training and unseen scenes, as they are and on the grid."""

    training: ExampleList
    unseen: ExampleList
    training_grid: GridExamples
    unseen_grid: GridExamples

    def fakes(self, folder: Path) -> LabelMapSet:
        """The oracle's maps, by way of a file in the buffer."""
        make, found = map_maker(make_oracle(), CROP, GRID), []
        for split in (self.training, self.unseen):
            images = np.full((len(split), *CROP, 3), 127.5, np.float32)
            for row in range(len(split)):
                images[row, : SIZE[0], : SIZE[1]] = split[row].image
            found.append(make(tf.constant(images)).numpy())
        entry = write_arrays(folder / "g0", LabelMapSet(*found, cycle=0).to_arrays(), folder)
        return LabelMapSet.from_arrays(read_arrays(entry, folder))


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    splits = [
        ExampleList([scene(SyntheticScenes(name, count, SIZE, 0), i) for i in range(count)])
        for name, count in (("train", TRAINING), ("validation", UNSEEN))
    ]
    return Scenes(*splits, *(read_grid_examples(split, CROP, GRID, "scenes") for split in splits))


@pytest.fixture(scope="module")
def fakes(scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> LabelMapSet:
    return scenes.fakes(tmp_path_factory.mktemp("buffer"))


# --- the test that every leak must fail


def make_trainer() -> DiscriminatorTrainer:
    settings = DiscriminatorTraining(optimizer="adam", learning_rate=0.003)
    return DiscriminatorTrainer(make_detector(), settings, K, tf.distribute.get_strategy())


@dataclasses.dataclass
class NullTest:
    """A discriminator that is trained from the same weights again and again."""

    scenes: Scenes
    trainer: DiscriminatorTrainer

    def __post_init__(self) -> None:
        self.start = Snapshot(self.trainer.variables)
        self.start.take()

    def __call__(
        self,
        fakes: LabelMapSet,
        leak: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]] = lambda batch: batch,
        always_flip: bool = False,
    ) -> dict[str, float]:
        """Trains for 200 steps; what the discriminator then makes of unseen pairs, flipped as in training."""
        self.start.put_back()
        done = epoch = 0
        while done < STEPS:
            data = self._pairs(self.scenes.training_grid, fakes.training, epoch, always_flip)
            steps = min(-(-2 * TRAINING // BATCH), STEPS - done)
            self.trainer.train_dataset = data.map(leak)
            self.trainer.train(tf.constant(steps))
            done, epoch = done + steps, epoch + 1
        self.trainer.eval_dataset = self._pairs(self.scenes.unseen_grid, fakes.holdout, 0, always_flip).map(leak)
        return self.trainer.evaluate(tf.constant(-1))

    def _pairs(self, examples: GridExamples, fakes: np.ndarray, epoch: int, always_flip: bool) -> tf.data.Dataset:
        draw = draw_pairs(len(examples), 1, 0, epoch)
        if always_flip:
            draw = draw._replace(flip=np.ones_like(draw.flip))
        return batches(examples, [fakes], draw, BATCH, 0, epoch)


def accuracy(measures: dict[str, float]) -> float:
    return (measures["real_accuracy"] + measures["fake_accuracy"]) / 2


@pytest.fixture(scope="module")
def null_test(scenes: Scenes) -> NullTest:
    return NullTest(scenes, make_trainer())


# --- no leak


def test_ground_truth_as_fake_leaves_chance(null_test: NullTest, fakes: LabelMapSet) -> None:
    measures = null_test(fakes)
    assert 0.4 <= accuracy(measures) <= 0.6
    assert measures["pair_accuracy"] == 0.5
    assert measures["margin"] == 0
    # Whoever guesses cannot do better than log 2.
    assert measures["loss"] >= np.log(2) - 1e-6
    null_test.trainer.eval_dataset = holdout_pairs(null_test.scenes.unseen_grid, [fakes.holdout], BATCH, 0, 0)
    unflipped = null_test.trainer.evaluate(tf.constant(-1))
    assert 0.4 <= accuracy(unflipped) <= 0.6
    assert unflipped["margin"] == 0


def test_ground_truth_as_fake_is_the_same_in_every_bit(scenes: Scenes, fakes: LabelMapSet) -> None:
    """The stored maps have no void and differ under it; what the discriminator is given doesn't differ at all."""
    assert (fakes.training < K).all()
    void = scenes.training_grid.labels == 255
    assert 0.2 < void.mean() < 0.5
    np.testing.assert_array_equal(mask_void(fakes.training, scenes.training_grid.labels), scenes.training_grid.labels)
    draw = draw_pairs(TRAINING, 1, 0, 0)
    assert 0.3 < draw.flip.mean() < 0.7
    for batch in batches(scenes.training_grid, [fakes.training], draw, BATCH, 0):
        np.testing.assert_array_equal(batch["real"], [1, 0] * (BATCH // 2))
        for name in ("images", "maps"):
            np.testing.assert_array_equal(batch[name][0::2], batch[name][1::2])


# --- one leak at a time


def padding() -> np.ndarray:
    """bool [GRID, GRID]."""
    rows, columns = (np.array([int((i + 0.5) * side / GRID) for i in range(GRID)]) for side in CROP)
    return (rows >= SIZE[0])[:, None] | (columns >= SIZE[1])[None, :]


def test_void_leaks(null_test: NullTest, fakes: LabelMapSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake has the nearest class where the truth is void; the padding is masked in both."""
    monkeypatch.setattr(label_maps, "mask_void", lambda maps, truth: np.where(padding(), np.uint8(255), maps))
    assert accuracy(null_test(fakes)) > 0.9


def test_void_as_class_0_leaks(null_test: NullTest, fakes: LabelMapSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def class_0(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
        fake_void = (truth == 255) & (maps != 255)
        return np.where(padding(), np.uint8(255), np.where(fake_void, np.uint8(0), maps))

    monkeypatch.setattr(label_maps, "mask_void", class_0)
    assert accuracy(null_test(fakes)) > 0.9


def test_padding_leaks(null_test: NullTest, fakes: LabelMapSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Void inside the image is masked in both; the fake has class 0 in the padding."""
    inside = lambda maps, truth: np.where((truth == 255) & ~padding(), np.uint8(255), maps)  # noqa: E731
    monkeypatch.setattr(label_maps, "mask_void", inside)
    assert accuracy(null_test(fakes)) > 0.9


def stretched(crop: int, grid: int) -> np.ndarray:
    """As if the map had been resized without its padding."""
    return grid_points(SIZE[CROP.index(crop)], grid)


def half_a_cell_off(crop: int, grid: int) -> np.ndarray:
    """Half a cell further to the bottom right, though never outside the image."""
    size, right = SIZE[CROP.index(crop)], grid_points(crop, grid)
    return np.where(right < size, np.minimum(right + round(crop / grid / 2), size - 1), right)


@pytest.mark.parametrize(
    ("other_points", "changed", "measure"),
    [
        (stretched, (0.1, 0.2), accuracy),
        # So small a change of the outlines says little about one map, but all about which of a pair is the real one.
        (half_a_cell_off, (0.02, 0.05), lambda measures: measures["pair_accuracy"]),
    ],
)
def test_another_grid_leaks(
    null_test: NullTest,
    scenes: Scenes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other_points: Callable[[int, int], np.ndarray],
    changed: tuple[float, float],
    measure: Callable[[dict[str, float]], float],
) -> None:
    monkeypatch.setattr(conditioning, "grid_points", other_points)
    fakes = scenes.fakes(tmp_path)
    differ = mask_void(fakes.holdout, scenes.unseen_grid.labels) != scenes.unseen_grid.labels
    assert changed[0] < differ.mean() < changed[1]
    assert measure(null_test(fakes)) > 0.9


def test_flipping_one_and_not_the_other_leaks(null_test: NullTest, fakes: LabelMapSet) -> None:
    """Every image and real map is flipped, the fake map isn't."""

    def unflip_fakes(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        real = batch["real"][:, None, None] == 1
        return {**batch, "maps": tf.where(real, batch["maps"], tf.reverse(batch["maps"], [2]))}

    assert accuracy(null_test(fakes, unflip_fakes, always_flip=True)) > 0.9


def test_softness_leaks(scenes: Scenes, fakes: LabelMapSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake has 0.9 for its class and shares 0.1 among the others."""
    trainer = make_trainer()

    def soft_inputs(batch: dict[str, tf.Tensor], *_: object) -> tf.Tensor:
        hard = one_hot(batch["maps"], K)
        visible = tf.reduce_sum(hard, axis=-1, keepdims=True)
        soft = 0.9 * hard + 0.1 / (K - 1) * (visible - hard)
        return split_by_class(batch["images"], tf.where(batch["real"][:, None, None, None] == 1, hard, soft))

    monkeypatch.setattr(trainer, "_inputs", soft_inputs)
    assert accuracy(NullTest(scenes, trainer)(fakes)) > 0.9


# --- the live path


class Listener(MobileNetDiscriminator):
    """Keeps what it is given."""

    def __init__(self, inner: MobileNetDiscriminator, batch_size: int) -> None:
        super().__init__(inner.body, inner.head, inner.settings)
        self.heard = tf.Variable(tf.zeros([batch_size, GRID, GRID, 3 * K]), trainable=False)

    def __call__(self, inputs: tf.Tensor, training: bool, dropout_key: tf.Tensor | None = None) -> tf.Tensor:
        self.heard.assign(inputs)
        return super().__call__(inputs, training, dropout_key)


def live_inputs(scenes: Scenes, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """What the discriminator gets in an adversarial update of the oracle, and for the real maps of the same images."""
    count = 5
    settings = AdversarialTraining(batch_size=count, learning_rate=1e-30)
    listener = Listener(make_detector(), count)
    strategy = tf.distribute.get_strategy()
    trainer = AdversarialTrainer(make_oracle(True), listener, settings, sampling, CROP, K, strategy)
    data = adversarial_batches(scenes.training, scenes.training_grid, settings, CROP, 0, 3, 1)
    trainer.train_dataset = data
    assert trainer.train(tf.constant(1))["finite"]
    (batch,) = data
    real = DiscriminatorTrainer(listener, DiscriminatorTraining(), K, strategy)._inputs(
        {"images": batch["grid_images"], "maps": batch["labels"]}
    )
    return listener.heard.numpy(), real.numpy()


def test_live_maps_of_the_truth_are_real_ones_in_every_bit(scenes: Scenes) -> None:
    live, real = live_inputs(scenes, Sampling(gumbel_noise=False))
    assert live.any(axis=-1).mean() == pytest.approx(real.any(axis=-1).mean())
    np.testing.assert_array_equal(live.view(np.uint32), real.view(np.uint32))


@pytest.mark.parametrize(
    "sampling",
    [Sampling(temperature=20.0, straight_through=False, gumbel_noise=False), Sampling(1.0, straight_through=False)],
)
def test_live_soft_maps_are_not(scenes: Scenes, sampling: Sampling) -> None:
    """The control: the paper's literal soft map leaves void empty, but is not one-hot."""
    live, real = live_inputs(scenes, sampling)
    np.testing.assert_array_equal(live.any(axis=-1), real.any(axis=-1))
    assert (live != real).mean() > 0.01
