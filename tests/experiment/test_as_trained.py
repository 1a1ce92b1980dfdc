"""A Keras network that was trained at 360 x 480 scores through every door what a ten-line script gives it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import load_tf
from tests.networks import unet

pytestmark = pytest.mark.slow

K = 11
TRAINED = (360, 480)
SIZES = [(368, 480), (369, 481), (350, 470)]
"""16 k, 16 k + 1, and neither."""
Photos = dict[str, tuple[np.ndarray, np.ndarray]]


def photos(folder: Path, split: str, count: int, size: tuple[int, int]) -> Photos:
    """Some photos and label maps of CamVid by id, at this size."""
    names = (folder / f"{split}.txt").read_text().split()
    found = {}
    for name in names[:: len(names) // count][:count]:
        image = Image.open(folder / f"images/{name}.jpg").resize(size[::-1], Image.Resampling.BILINEAR)
        mask = Image.open(folder / f"masks/{name}.png").resize(size[::-1], Image.Resampling.NEAREST)
        found[name] = np.asarray(image), np.asarray(mask)
    return found


def trained(stride: int, data: Photos) -> keras.Model:
    """Strided SAME convolutions, logits up-sampled by `tf.image.resize` in training, as Keras users train."""
    x = images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    initializer = keras.initializers.HeNormal
    for number in range(max(stride.bit_length() - 1, 2)):
        step = 2 if 2**number < stride else 1
        x = keras.layers.Conv2D(
            16, 3, step, padding="same", activation="relu", kernel_initializer=initializer(seed=number)
        )(x)
    model = keras.Model(images, keras.layers.Conv2D(K, 1, kernel_initializer=initializer(seed=9))(x), name="own")
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step_on(image: tf.Tensor, label: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = tf.image.resize(model(image[None]), TRAINED)[0]
            seen = label < K
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(label, tf.int32)[seen], logits[seen])
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, [v.value for v in model.trainable_variables]))

    for _ in range(4):
        for image, label in data.values():
            step_on(tf.constant(image, tf.float32), tf.constant(label))
    return model


def by_script(label_map: Callable[[np.ndarray], np.ndarray], data: Photos) -> float:
    """mIoU in per cent over the classes that occur."""
    confusion = np.zeros((K, K), np.int64)
    for image, label in data.values():
        seen = label < K
        np.add.at(confusion, (label[seen], label_map(image)[seen]), 1)
    hit, union = np.diag(confusion), confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    return 100 * float(np.mean(hit[union > 0] / union[union > 0]))


def labels_of(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """As a user's script has them."""
    return lambda image: np.argmax(tf.image.resize(model(image[None].astype(np.float32)), image.shape[:2])[0], -1)


def written(folder: Path, training: Photos, validation: Photos) -> Path:
    """A data set in a folder."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for split, data in (("train", training), ("val", validation)):
        (folder / f"{split}.txt").write_text("\n".join(data))
        for name, (image, mask) in data.items():
            Image.fromarray(image).save(folder / f"images/{name}.png")
            Image.fromarray(mask).save(folder / f"masks/{name}.png")
    (folder / "classes.txt").write_text("\n".join(f"class {k}" for k in range(K)))
    return folder


def command(module: str, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"load_tf.{module}", *map(str, arguments)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def predicted(saved: Path, data: Path, names: Photos, folder: Path) -> Photos:
    """What `predict` writes of the photos, in place of their label maps."""
    command("predict", f"--saved_model={saved}", f"--output={folder}", *(data / f"images/{n}.png" for n in names))
    return {n: (np.asarray(Image.open(folder / f"{n}.png")), label) for n, (_, label) in names.items()}


@pytest.mark.parametrize("stride", [1, 4, 16, 32])
def test_every_door_scores_it_as_a_script_does(stride: int, shared: Path, tmp_path: Path) -> None:
    source = shared / "data/camvid360"
    start = trained(stride, photos(source, "train", 60, TRAINED))
    start.save(tmp_path / "start.keras")
    for size in SIZES:
        folder = tmp_path / "x".join(map(str, size))
        training, validation = photos(source, "train", 4, size), photos(source, "val", 4, size)
        expected = by_script(labels_of(start), validation)
        assert expected > 10, "there are points to lose"
        data = written(folder / "data", training, validation)
        bindings = [
            "experiment.segmentor = @keras_model", f"keras_model.path = '{tmp_path / 'start.keras'}'",
            f"experiment.crop = {size}", "experiment.holdout_images = 2", "Discriminator.input_size = 32",
            "AdversarialTraining.batch_size = 2", "Lookahead.max_iterations = 2",
            "DiscriminatorTraining.first_max_epochs = 1", "DiscriminatorTraining.max_epochs = 1",
        ]  # fmt: skip
        options = ["--gin_file=folder.gin", f"--data_dir={data}", *(f"--gin_param={binding}" for binding in bindings)]
        command("evaluate", *options, f"--run_dir={folder / 'evaluated'}")
        command("main", *options, f"--run_dir={folder / 'main'}")
        own = start.__class__.from_config(start.get_config())
        own.set_weights(start.get_weights())
        result = load_tf.run(
            own, list(training.values()), list(validation.values()), run_dir=folder / "run",
            discriminator=load_tf.Discriminator(input_size=32, alpha=0.25),
            discriminator_training=load_tf.DiscriminatorTraining(max_epochs=1, batch_size=4),
            adversarial=load_tf.AdversarialTraining(learning_rate=1e-3, batch_size=2),
            lookahead=load_tf.Lookahead(max_cycles=1, max_iterations=2, upper=0.0),
        )  # fmt: skip
        for door in ("evaluated", "main", "run"):
            summary = json.loads((folder / door / "report/summary.json").read_text())
            assert summary["full"]["baseline"] == pytest.approx(expected, abs=0.01), (door, size)
        after = by_script(labels_of(result.model), validation)
        assert result.summary["full"]["load"] == pytest.approx(after, abs=0.01)
        maps = predicted(folder / "run/saved_model", data, validation, folder / "labels")
        assert by_script(lambda found: found, maps) == pytest.approx(after, abs=0.01)


@pytest.mark.parametrize("up", ["bilinear", "transposed"])
def test_a_unet_of_small_photos_labels_large_ones_and_loads_without_us(up: str, shared: Path, tmp_path: Path) -> None:
    source = shared / "data/camvid360"
    training, validation = (photos(source, split, 6, (180, 240)) for split in ("train", "val"))
    result = load_tf.run(
        unet(K, up=up), list(training.values()), list(validation.values()), run_dir=tmp_path / "run", pretrained=False,
        discriminator=load_tf.Discriminator(input_size=32, alpha=0.25),
        discriminator_training=load_tf.DiscriminatorTraining(max_epochs=1, batch_size=4),
        adversarial=load_tf.AdversarialTraining(learning_rate=1e-3, batch_size=2),
        lookahead=load_tf.Lookahead(max_cycles=1, max_iterations=2, upper=0.0),
        stage_one=load_tf.StageOne(epochs=2, batch_size=2, learning_rate=0.01),
    )  # fmt: skip
    result.model.save(tmp_path / "better.keras")
    code = (
        "import sys; sys.modules['load_tf'] = None\n"
        "import keras, numpy as np\n"
        "model = keras.saving.load_model('better.keras')\n"
        "for name in sys.argv[1:]:\n"
        "    np.save(name + '.npy', model(np.load(name)[None].astype(np.float32)))\n"
    )
    for size in ((360, 480), (900, 1200)):
        large = photos(source, "val", 2, size)
        folder = written(tmp_path / str(size[0]), {}, large)
        maps = predicted(tmp_path / "run/saved_model", folder, large, folder / "labels")
        for name, (image, _) in large.items():
            np.save(folder / name, image)
        names = [str(folder / f"{name}.npy") for name in large]
        alone = subprocess.run(
            [sys.executable, "-c", code, *names], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert alone.returncode == 0, alone.stderr
        for name, (found, _) in maps.items():
            logits = np.load(folder / f"{name}.npy.npy")
            assert found.shape == size and (found == logits[0].argmax(-1)).mean() > 0.999
