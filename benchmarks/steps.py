"""What the steps of a game take: `python -m benchmarks.steps --network=xception_65 --checkpointing`.

The adversarial step against the bare sum of its parts (the segmentor's forward and backward pass, the discriminator's
forward and backward to its input), the discriminator's step against its pipeline alone, aggregation against the plain
forward pass, and stage 1. Images are keyed noise: no step's time depends on what they show. Each runs in a process of
its own; all are timed in turn.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import timing
from benchmarks.networks import CLASSES, network
from load_tf.data.dataset import Example, ExampleList
from load_tf.discriminator.buffer import Draw, batches, draw_pairs
from load_tf.discriminator.build import build
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import read_grid_examples
from load_tf.discriminator.settings import Discriminator
from load_tf.segmentors.folding import forward
from load_tf.training.adversarial import AdversarialTrainer, adversarial_batches, map_maker
from load_tf.training.discriminator import DiscriminatorTrainer, DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import CrossEntropyTrainer, StageOne, cross_entropy_batches

FLAGS = flags.FLAGS
flags.DEFINE_enum("network", "MobilenetV2", ["xception_65", "MobilenetV2"], "The backbone.")
flags.DEFINE_integer("size", 513, "Height and width of the images in pixels, 16 k + 1.")
flags.DEFINE_integer("batch", 5, "Images in an update of the segmentor; the paper's is 5.")
flags.DEFINE_integer("maps", 32, "Maps in a batch of the discriminator.")
flags.DEFINE_integer("grid", 224, "The discriminator's input size.")
flags.DEFINE_integer("repeats", 5, "Rounds.")
flags.DEFINE_integer("threads", 0, "Threads; 0: one for each core.")
flags.DEFINE_bool("checkpointing", False, "Time the adversarial step with gradient checkpointing, too.")
flags.DEFINE_bool("only_adversarial", False, "Leave the other steps out.")

ADVERSARIAL = "adversarial step"
CHECKPOINTING = "adversarial step, checkpointing"
BARE = "segmentor and discriminator, bare sum"
PIPELINE = "its pipeline alone"
DISCRIMINATOR = "discriminator's step"
MAPS_PIPELINE = "discriminator's pipeline alone"
AGGREGATION, FORWARD = "aggregation", "plain forward pass"
PIPELINES = (PIPELINE, MAPS_PIPELINE)
REFERENCES = {
    ADVERSARIAL: BARE,
    CHECKPOINTING: BARE,
    PIPELINE: ADVERSARIAL,
    MAPS_PIPELINE: DISCRIMINATOR,
    AGGREGATION: FORWARD,
}
ELEMENTS = 20
IMAGES = 40
UPDATES = 10_000

Candidate = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Parts:
    """What all steps share."""

    segmentor: keras.Model
    discriminator: ConditionalDiscriminator
    split: ExampleList
    crop: tuple[int, int]
    strategy: tf.distribute.Strategy


def main(_: list[str]) -> None:
    """Prints one table."""
    left_out = set() if FLAGS.checkpointing else {CHECKPOINTING}
    names = [name for name in _MAKERS if name not in left_out]
    if FLAGS.only_adversarial:
        names = [name for name in names if name in (ADVERSARIAL, BARE, PIPELINE, CHECKPOINTING)]
    candidates = {name: timing.Apart(functools.partial(_candidate, name, sys.argv)) for name in names}
    measured = timing.in_turn(candidates, FLAGS.repeats)
    timing.start(FLAGS.threads)
    print(
        f"\n{FLAGS.network}, {FLAGS.size} x {FLAGS.size}, {FLAGS.batch} images an update, MobileNet on {FLAGS.grid} x "
        f"{FLAGS.grid}, {FLAGS.maps} maps a batch, {FLAGS.repeats} rounds; {timing.machine()}.\n"
    )
    rows = []
    for name, own in measured.items():
        images = FLAGS.maps if name in (DISCRIMINATOR, MAPS_PIPELINE) else FLAGS.batch
        seconds, reference = own.median / (ELEMENTS if name in PIPELINES else 1), REFERENCES.get(name)
        ratio = f"{seconds / measured[reference].median:.3f} x {reference}" if reference in measured else ""
        row = [
            f"{1e3 * seconds:.0f}",
            f"{100 * own.spread:.0f} %",
            f"{images / seconds:.2f}",
            f"{100 * own.busy:.0f} %",
        ]
        rows.append([name, *row, f"{own.memory:.0f}", ratio])
    print(timing.table(["", "ms", "spread", "images/s", "cores busy", "MiB", "time"], rows))


def _candidate(name: str, arguments: list[str]) -> Candidate:
    """In its own process: nothing is set up yet."""
    FLAGS(arguments)
    timing.start(FLAGS.threads)
    return _MAKERS[name](_parts())


def _parts() -> Parts:
    random = np.random.default_rng(0)
    size = (FLAGS.size, FLAGS.size)
    examples = [
        Example(random.integers(0, 256, (*size, 3), np.uint8), random.integers(0, CLASSES, size, np.uint8), str(i))
        for i in range(IMAGES)
    ]
    discriminator = build(Discriminator(input_size=FLAGS.grid), CLASSES, seed=0)
    model = network(FLAGS.network, output_stride=16)
    return Parts(model, discriminator, ExampleList(examples), size, tf.distribute.get_strategy())


def _adversarial(parts: Parts, checkpointing: bool) -> Candidate:
    settings = AdversarialTraining(batch_size=FLAGS.batch, checkpointing=checkpointing)
    trainer = AdversarialTrainer(
        parts.segmentor, parts.discriminator, settings, Sampling(), parts.crop, CLASSES, parts.strategy
    )
    trainer.train_dataset = _adversarial_data(parts, settings)
    return lambda: trainer.train(tf.constant(1))


def _adversarial_data(parts: Parts, settings: AdversarialTraining) -> tf.data.Dataset:
    examples = read_grid_examples(parts.split, parts.crop, FLAGS.grid, "")
    return adversarial_batches(parts.split, examples, settings, parts.crop, 0, 0, UPDATES)


def _adversarial_pipeline(parts: Parts) -> Candidate:
    return _each(_adversarial_data(parts, AdversarialTraining(batch_size=FLAGS.batch)))


def _bare_sum(parts: Parts) -> Candidate:
    """Nothing but the two networks' passes, each differentiated by a plain sum of its outputs."""
    random = np.random.default_rng(1)
    images = tf.constant(random.uniform(0, 255, (FLAGS.batch, *parts.crop, 3)), tf.float32)
    channels = parts.discriminator.settings.channels(CLASSES)
    inputs = tf.constant(random.uniform(0, 1, (FLAGS.batch, FLAGS.grid, FLAGS.grid, channels)), tf.float32)
    variables = [v.value for v in parts.segmentor.trainable_variables]

    @tf.function
    def both() -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            logits = parts.segmentor(images, training=False)
        gradients = tape.gradient(logits, variables)
        # One after the other, as in the step, where the second needs the first.
        with tf.control_dependencies(gradients[:1]), tf.GradientTape() as second:
            given = tf.identity(inputs)
            second.watch(given)
            real = parts.discriminator(given, training=False)
        return [tf.linalg.global_norm(gradients), tf.reduce_sum(second.gradient(real, given))]

    return lambda: [value.numpy() for value in both()]


def _discriminator_data(parts: Parts) -> tf.data.Dataset:
    examples = read_grid_examples(parts.split, parts.crop, FLAGS.grid, "")
    maps = np.random.default_rng(2).integers(0, CLASSES, examples.labels.shape, np.uint8)
    drawn = [draw_pairs(len(examples), 1, 0, "benchmark", epoch) for epoch in range(400)]
    # All images have labels, so that no image is beside another one.
    draw = Draw(*(np.concatenate(values) for values in zip(*drawn, strict=True) if values[0] is not None))
    return batches(examples, [maps], draw, FLAGS.maps, 0, "benchmark")


def _discriminator(parts: Parts) -> Candidate:
    trainer = DiscriminatorTrainer(parts.discriminator, DiscriminatorTraining(), CLASSES, parts.strategy)
    trainer.train_dataset = _discriminator_data(parts)
    return lambda: trainer.train(tf.constant(1))


def _discriminator_pipeline(parts: Parts) -> Candidate:
    return _each(_discriminator_data(parts))


def _aggregation(parts: Parts) -> Candidate:
    live = forward(parts.segmentor)
    maps, images = map_maker(live, parts.crop, FLAGS.grid), _images(parts)

    def aggregate() -> None:
        live.refresh()
        maps(images).numpy()

    return aggregate


def _forward(parts: Parts) -> Candidate:
    plain, images = tf.function(lambda x: parts.segmentor(x, training=False)), _images(parts)
    return lambda: plain(images).numpy()


def _stage_one(parts: Parts) -> Candidate:
    settings = StageOne(batch_size=FLAGS.batch, epochs=1)
    # On its own copy: the other steps' network keeps its statistics.
    trainer = CrossEntropyTrainer(network(FLAGS.network, output_stride=16), settings, UPDATES, parts.strategy)
    trainer.train_dataset = cross_entropy_batches(parts.split, settings, parts.crop, 0, 0).repeat()
    return lambda: trainer.train(tf.constant(1))


def _images(parts: Parts) -> tf.Tensor:
    return tf.constant(np.random.default_rng(1).uniform(0, 255, (FLAGS.batch, *parts.crop, 3)), tf.float32)


def _each(data: tf.data.Dataset) -> Candidate:
    """Takes several elements at a time: those that were prepared ahead would hide what making them takes."""
    iterator = iter(data)

    def take() -> None:
        for _ in range(ELEMENTS):
            next(iterator)

    return take


_MAKERS: dict[str, Callable[[Parts], Candidate]] = {
    ADVERSARIAL: functools.partial(_adversarial, checkpointing=False),
    BARE: _bare_sum,
    PIPELINE: _adversarial_pipeline,
    CHECKPOINTING: functools.partial(_adversarial, checkpointing=True),
    DISCRIMINATOR: _discriminator,
    MAPS_PIPELINE: _discriminator_pipeline,
    AGGREGATION: _aggregation,
    FORWARD: _forward,
    "stage 1": _stage_one,
}


if __name__ == "__main__":
    app.run(main)
