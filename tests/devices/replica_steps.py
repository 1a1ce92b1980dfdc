"""Every step of every phase under a strategy, as arrays: what `test_replicas.py` compares.

python -m tests.devices.replica_steps OUT.npz NAME=DEVICES[/ACCUMULATE[/NETWORK]] ... [ONLY ...]

DEVICES: how many logical CPU devices; 0 is one device without a strategy, "w" the workers of TF_CONFIG. NAME begins the
arrays' names. NETWORK "mobilenet": the paper's discriminator in its own training, and nothing else; in float64, since
its 27 batch norms over few values make percents of float32's rounding, with one replica as with several. "beside": the
methods that take images without labels, and nothing else. ONLY: the trainers whose names begin so, and no inference;
without any, all.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from load_tf.data.synthetic import synthetic
from load_tf.devices import replicas, workers
from load_tf.devices.strategies import strategy as make_strategy
from load_tf.discriminator.build import build
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.mobilenet import MobileNetDiscriminator
from load_tf.discriminator.settings import Discriminator
from load_tf.evaluation.evaluator import Evaluator
from load_tf.randomness import generator
from load_tf.training.adversarial import AdversarialTrainer, map_maker
from load_tf.training.discriminator import DiscriminatorTrainer, DiscriminatorTraining
from load_tf.training.lookahead_optimizer import LookaheadOptimizerTrainer
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.semi_supervised import MeanTeacherTrainer, SemiAdversarialTrainer
from load_tf.training.stage_one import CrossEntropyTrainer, StageOne
from load_tf.training.step_by_step import StepByStepHybridTrainer
from load_tf.training.supervised import HybridTrainer, SupervisedTrainer

CROP, GRID, K, BATCH = (49, 65), 32, 8, 5


def batch(rows: int) -> dict[str, tf.Tensor]:
    """A segmentor's batch with as much void in each image as its number says, so that no two weigh the same."""
    random = generator(5, "batch")
    data = synthetic(train=rows, validation=1, size=CROP).split("train")
    images = np.stack([data[i].image for i in range(rows)]).astype(np.float32)
    truth = np.stack([data[i].label for i in range(rows)])
    labels = truth[:, : GRID * 2 : 2, : GRID * 2 : 2][:, :24].repeat(2, 1)[:, :GRID]
    for i in range(rows):
        truth[i, : 9 * i] = 255
        labels[i, : 6 * i] = 255
    return {
        "images": tf.constant(images),
        "truth": tf.constant(truth),
        "grid_images": tf.constant(random.integers(0, 256, (rows, GRID, GRID, 3), np.uint8)),
        "labels": tf.constant(labels),
        "start_maps": tf.constant(random.integers(0, K, (rows, GRID, GRID), np.uint8)),
        "key": tf.constant([3, 4]),
    }


def beside(rows: int) -> dict[str, tf.Tensor]:
    """A batch whose second half has no labels; `rows` is even."""
    found = batch(rows)
    labelled = tf.constant([1.0] * (rows // 2) + [0.0] * (rows // 2))
    strange = (labelled == 0)[:, None, None]
    hidden = {
        name: tf.where(strange & (found[name] != 255), np.uint8(254), found[name]) for name in ("truth", "labels")
    }
    return {**found, **hidden, "labelled": labelled}


def judged(rows: int) -> dict[str, tf.Tensor]:
    """A discriminator's batch."""
    random = generator(6, "judged")
    return {
        "images": tf.constant(random.integers(0, 256, (rows, GRID, GRID, 3), np.uint8)),
        "maps": tf.constant(random.integers(0, K + 1, (rows, GRID, GRID), np.uint8)),
        "real": tf.constant(random.integers(0, 2, rows).astype(np.float32)),
        "weights": tf.constant(random.uniform(0.5, 2, rows).astype(np.float32)),
        "key": tf.constant([5, 6]),
    }


def segmentor() -> keras.Model:
    """Stride 4, with batch norm whose statistics are not those of its first batch."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(images)
    x = keras.layers.Conv2D(6, 3, strides=4, padding="same", use_bias=False, name="conv")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(x))
    model = keras.Model(images, keras.layers.Conv2D(K, 3, padding="same", name="logits", dtype="float32")(x))
    return drawn(model, 8)


def drawn(model: keras.Model, number: int) -> keras.Model:
    """The model with keyed weights."""
    random = generator(number, "weights")
    for variable in model.variables:
        positive = variable.path.endswith(("variance", "gamma"))
        value = random.uniform(0.3, 1, variable.shape) if positive else random.normal(0, 0.3, variable.shape)
        variable.assign(value)
    return model


def discriminator(kind: str) -> ConditionalDiscriminator:
    """The fully convolutional one, the paper's, or one of two layers with batch norm and dropout."""
    if kind == "convolutional":
        return build(Discriminator(alpha=0.1, input_size=GRID, architecture=kind, sees="both"), K, 1)
    settings = Discriminator(alpha=0.25, input_size=GRID, dropout=0.3)
    if kind == "mobilenet":
        judge = build(settings, K, 1)
        kernel, judge.head = judge.head.kernel, keras.layers.Dense(1, dtype="float64")
        judge.head.build(judge.body.output.shape)
        judge.head.kernel.assign(kernel)
        return judge
    inputs = keras.Input((GRID, GRID, 3 * K))
    x = inputs
    for number in range(2):
        x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name=f"judge{number}")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(name=f"norm{number}", momentum=0.9)(x))
    body = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    head = keras.layers.Dense(1, dtype="float32")
    head.build(body.output.shape)
    head.kernel.assign(generator(8, "head").normal(size=head.kernel.shape))
    return MobileNetDiscriminator(drawn(body, 7), head, settings)


def trainers(strategy: tf.distribute.Strategy, accumulate: int, network: str) -> Iterator[tuple[str, Any, dict, list]]:
    """Name, trainer, batch and variables; each has networks of its own, all alike."""
    settings = AdversarialTraining(batch_size=BATCH, learning_rate=0.05, clip_norm=0.05, accumulate=accumulate)
    sampling = Sampling(temperature=2.0)
    if network == "mobilenet":
        with strategy.scope():
            judge = discriminator("mobilenet")
        yield (
            "mobilenet",
            DiscriminatorTrainer(judge, DiscriminatorTraining(), K, strategy),
            judged(12),
            judge.variables,
        )
        return
    if network == "beside":
        yield from besides(strategy, settings, sampling)
        return
    for kind in ("small", "convolutional"):
        with strategy.scope():
            model, judge = segmentor(), discriminator(kind)
        one = AdversarialTrainer(model, judge, settings, sampling, CROP, K, strategy)
        yield f"adversarial/{kind}", one, batch(BATCH), model.variables
    with strategy.scope():
        model, judge = segmentor(), discriminator("small")
    one = HybridTrainer(model, judge, settings, sampling, CROP, K, strategy, weight=0.3)
    yield "hybrid", one, batch(BATCH), model.variables
    with strategy.scope():
        model = segmentor()
    yield "supervised", SupervisedTrainer(model, settings, CROP, K, strategy), batch(BATCH), model.variables
    with strategy.scope():
        model, judge = segmentor(), discriminator("small")
    both = DiscriminatorTrainer(judge, DiscriminatorTraining(), K, strategy)
    one = StepByStepHybridTrainer(
        model, judge, settings, sampling, CROP, K, strategy, weight=0.3, discriminator_trainer=both
    )
    yield "step by step", one, batch(BATCH), [*model.variables, *judge.variables]
    if accumulate > 1:
        return
    with strategy.scope():
        model = segmentor()
    one = LookaheadOptimizerTrainer(model, settings, CROP, K, strategy, k=1, alpha=0.5)
    yield "lookahead optimizer", one, batch(BATCH), model.variables
    for rows in (BATCH, 3):
        with strategy.scope():
            model = segmentor()
        one = CrossEntropyTrainer(model, StageOne(batch_size=rows, learning_rate=0.05, clip_norm=0.05), 10, strategy)
        yield (
            f"stage one/{rows}",
            one,
            {"images": batch(rows)["images"], "labels": batch(rows)["truth"]},
            model.variables,
        )
    for kind, optimizer, rows in (("small", "adagrad", BATCH), ("small", "adagrad", 3), ("convolutional", "adam", 3)):
        with strategy.scope():
            judge = discriminator(kind)
        one = DiscriminatorTrainer(judge, DiscriminatorTraining(optimizer=optimizer), K, strategy)
        yield f"discriminator/{kind}/{rows}", one, judged(rows), judge.variables


def besides(
    strategy: tf.distribute.Strategy, settings: AdversarialTraining, sampling: Sampling
) -> Iterator[tuple[str, Any, dict, list]]:
    """Those that take images without labels, as `trainers`; of 6 images the last 3 have none."""
    nothing: Any = ()
    with strategy.scope():
        model = segmentor()
    one = MeanTeacherTrainer(
        *(model, settings, CROP, K, strategy), beside=nothing, weight=0.3, decay=0.5, jitter=0.2, noise=5.0
    )
    yield "mean teacher", one, {**beside(6), "undisturbed": beside(6)["images"]}, model.variables
    with strategy.scope():
        model, judge = segmentor(), discriminator("convolutional")
    both = DiscriminatorTrainer(judge, DiscriminatorTraining(), K, strategy)
    one = SemiAdversarialTrainer(
        *(model, judge, settings, sampling, CROP, K, strategy), weight=0.3, discriminator_trainer=both,
        beside=nothing, weight_beside=0.2, weight_believed=0.4, threshold=0.5, begins=0,
    )  # fmt: skip
    yield "semi-supervised", one, beside(6), [*model.variables, *judge.variables]
    with strategy.scope():
        model, judge = segmentor(), discriminator("convolutional")
    one = AdversarialTrainer(model, judge, settings, sampling, CROP, K, strategy)
    yield "adversarial", one, beside(6), model.variables


def gradients_of(trainer: Any, one: dict[str, tf.Tensor]) -> np.ndarray:
    """The global batch's gradients, one after the other."""

    @tf.function
    def compute() -> list[tf.Tensor]:
        totals = trainer.totals(one) if hasattr(trainer, "totals") else {}
        if "truth" not in one and "labels" in one:
            totals = {"pixels": tf.reduce_sum(tf.cast(one["labels"] != 255, tf.float32))}
        parts = trainer.parts.divide({**one, **totals})
        if hasattr(trainer, "_all_gradients"):
            found = trainer.strategy.run(trainer._all_gradients, args=(parts,))[0]["sum"]
        else:
            found = trainer.strategy.run(trainer._gradients, args=parts)[0]
        return [trainer.strategy.experimental_local_results(g)[0] for g in found]

    return np.concatenate([g.numpy().ravel() for g in compute()])


def steps(
    strategy: tf.distribute.Strategy, accumulate: int, network: str, only: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """Loss, measures, gradients and updated variables of one step of each phase, from the same state."""
    found: dict[str, np.ndarray] = {}
    for name, trainer, one, variables in trainers(strategy, accumulate, network):
        if only and not name.startswith(only):
            continue
        found[f"{name}/gradients"] = gradients_of(trainer, one)
        trainer.train_dataset = tf.data.Dataset.from_tensors(one).repeat(2)
        for measure, value in trainer.train(tf.constant(1)).items():
            found[f"{name}/{measure}"] = np.array(value)
        found[f"{name}/weights"] = np.concatenate([v.numpy().ravel() for v in variables])
    return found


def inference(strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    """Confusion matrices of 11 images in batches of 3, and label maps of 7, of several sizes."""
    data = synthetic(train=1, validation=11, size=(40, 60)).split("validation")
    with strategy.scope():
        model = segmentor()
    matrices = Evaluator(model, data, CROP, K, 3, strategy=strategy).evaluate()
    run = replicas.on_each_replica(map_maker(model, CROP, GRID), strategy)
    padded = np.full((7, *CROP, 3), 127.5, np.float32)
    for i in range(7):
        padded[i, :40, :60] = data[i].image
    team, maps = workers.of(strategy), np.zeros((7, GRID, GRID), np.uint8)
    for turn in replicas.chunks(range(0, 7, 2)[team.index :: team.count], team.local_replicas):
        for start, made in zip(turn, run([tf.constant(padded[s : s + 2]) for s in turn]), strict=True):
            maps[start : start + len(made)] = made
    return {"confusion": matrices, "maps": team.union(maps)}


def main(out: str, *words: str) -> None:
    wanted, only = [word for word in words if "=" in word], tuple(word for word in words if "=" not in word)
    devices = [item.partition("=")[2].partition("/")[0] for item in wanted]
    if "w" in devices:
        everywhere = make_strategy("multi_worker")
    else:
        most = max(map(int, devices))
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * max(most, 1))
    if any(item.endswith("/mobilenet") for item in wanted):
        keras.config.set_floatx("float64")
    found: dict[str, np.ndarray] = {}
    for item in wanted:
        name, _, rest = item.partition("=")
        count, accumulate, network = (*rest.split("/"), "", "")[:3]
        if count == "w":
            strategy = everywhere
        elif count == "0":
            strategy = tf.distribute.get_strategy()
        else:
            strategy = tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(int(count))])
        with workers.of(strategy).watched():
            made = steps(strategy, int(accumulate or 1), network, only)
            if not network and not only:
                made |= inference(strategy)
        found |= {f"{name}:{key}": value for key, value in made.items()}
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
