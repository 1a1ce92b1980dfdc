"""How much of the difference between real and fake maps reaches the top of an untrained discriminator?

    python -m benchmarks.discriminator_probe --gin_file=voc_mobilenetv2_valsplit.gin --data_dir=VOC2012 --checkpoint=DIR

For some layers of the untrained MobileNet: the share of hold-out pairs that a linear ranking of that layer's mean
features, fitted on D_t, puts the right way round. What is near chance (0.5) at the top gives training nothing to begin
with. Rows differ in the range that the image is scaled into.
"""

import keras
import numpy as np
import tensorflow as tf

from benchmarks import setting
from load_tf import commands
from load_tf.discriminator.buffer import mask_void
from load_tf.discriminator.conditioning import one_hot, split_by_class
from load_tf.discriminator.grid import GridExamples
from load_tf.discriminator.mobilenet import MobileNetDiscriminator
from load_tf.game.game import AdversarialGame

RANGES = ((-1.0, 1.0), (0.25, 1.0), (0.5, 1.0), (0.75, 1.0), (0.9, 1.0))
LAYERS = ("conv1_relu", *(f"conv_pw_{i}_relu" for i in (1, 3, 5, 9, 11, 13)))
RIDGES = (1.0, 10.0, 100.0, 1000.0)


def ranking_accuracy(training: np.ndarray, unseen: np.ndarray) -> float:
    """Share of unseen pairs that a linear function ranks right, with the best of some ridge penalties.

    Args:
      training: [n, C], features of the real map minus those of the fake one.
      unseen: [m, C], of other images.
    """
    scale = training.std(axis=0) + 1e-9
    x, y = training / scale, unseen / scale
    weights = (np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.sum(axis=0)) for ridge in RIDGES)
    return max(float(np.mean(y @ w > 0)) for w in weights)


def _differences(game: AdversarialGame, examples: GridExamples, fakes: np.ndarray, low: float, high: float) -> list:
    """For every layer [N, C]: mean features of the real maps minus those of the fake ones, as in training."""
    assert isinstance(game.discriminator, MobileNetDiscriminator), "the probe looks at the layers of MobileNet"
    body = game.discriminator.body
    means = [keras.ops.mean(body.get_layer(name).output, axis=(1, 2)) for name in LAYERS]
    features = keras.Model(body.input, means)
    classes = body.input.shape[-1] // 3

    @tf.function(reduce_retracing=True)
    def run(images: tf.Tensor, maps: tf.Tensor) -> list[tf.Tensor]:
        return features(split_by_class(images, one_hot(maps, classes), (low, high)), training=True)

    found = []
    for start in range(0, len(examples), 8):
        images, truth = examples.images[start : start + 8], examples.labels[start : start + 8]
        pairs = np.stack([truth, mask_void(fakes[start : start + 8], truth)], axis=1).reshape(-1, *truth.shape[1:])
        outputs = run(tf.constant(np.repeat(images, 2, axis=0)), tf.constant(pairs))
        found.append([output.numpy()[0::2] - output.numpy()[1::2] for output in outputs])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def _main() -> None:
    with setting.game() as game:
        print("| image range | " + " | ".join(name.removesuffix("_relu") for name in LAYERS) + " |")
        print("|---|" + "--:|" * len(LAYERS), flush=True)
        maps = game.aggregation.sets["g0"]
        for low, high in RANGES:
            training = _differences(game, game.aggregation.training_grid, maps.training, low, high)
            unseen = _differences(game, game.aggregation.holdout_grid, maps.holdout, low, high)
            cells = [f"{ranking_accuracy(x, y):.2f}" for x, y in zip(training, unseen, strict=True)]
            print(f"| [{low:g}, {high:g}] | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)
