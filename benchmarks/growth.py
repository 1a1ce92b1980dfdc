"""How a LoAd cycle's phases grow: `python -m benchmarks.growth`.

A small network on keyed noise plays a shortened cycle; one of training images, hold-out images, classes, buffer sets
and crop is doubled twice. The last column is the slope in a log-log plot: 0 is constant, 1 is linear. The second table
is the process's memory over many cycles.
"""

import functools
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import timing
from load_tf.data.dataset import Example, ExampleList
from load_tf.discriminator.settings import Discriminator
from load_tf.evaluation.evaluator import Evaluator
from load_tf.game.game import AdversarialGame, Players
from load_tf.segmentors.small import small_network
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining

FLAGS = flags.FLAGS
flags.DEFINE_integer("repeats", 3, "Iterations of a cycle that are timed.")
flags.DEFINE_integer("cycles", 12, "Cycles over which memory is watched.")

START = {"training images": 48, "hold-out images": 48, "classes": 5, "buffer sets": 1, "crop": 97}
FACTORS = (1, 2, 4)
PHASES = ("hold-out evaluation", "adversarial update", "discriminator's epoch", "aggregation")
GRID = 48


def main(_: list[str]) -> None:
    """Prints both tables."""
    timing.start()
    print(f"\n{timing.machine()}\n")
    rows = []
    for name in START:
        values = [START[name] * factor for factor in FACTORS]
        if name == "crop":
            values = [65, 129, 257]
        measured = [_cycle({**START, name: value}, tf.distribute.get_strategy()) for value in values]
        for phase in PHASES:
            seconds = [found[phase] for found in measured]
            slope = np.polyfit(np.log(values), np.log(seconds), 1)[0]
            times = [f"{1e3 * value:.0f}" for value in seconds]
            rows.append([f"{name} {', '.join(map(str, values))}", phase, *times, f"{slope:.2f}"])
    print(timing.table(["what grows", "phase", "ms", "ms", "ms", "slope"], rows), "\n")
    held = _memory(tf.distribute.get_strategy())
    numbers = [0, len(held) // 2, len(held) - 1]
    row = ["MiB", *(f"{held[n]:.0f}" for n in numbers)]
    print(timing.table(["after cycle", *(str(n + 1) for n in numbers)], [row]))


def _game(size: dict[str, int], strategy: tf.distribute.Strategy, folder: str) -> AdversarialGame:
    random = np.random.default_rng(0)
    crop, classes = (size["crop"], size["crop"]), size["classes"]

    def example(number: int) -> Example:
        image = random.integers(0, 256, (*crop, 3), np.uint8)
        return Example(image, random.integers(0, classes, crop, np.uint8), str(number))

    def split(count: int) -> ExampleList:
        return ExampleList([example(number) for number in range(count)])

    model, holdout = small_network(classes, 8, 8, 0), split(size["hold-out images"])
    players = Players(
        Discriminator(architecture="convolutional", sees="masks", input_size=GRID, alpha=0.25),
        DiscriminatorTraining(first_max_epochs=1, max_epochs=1, sufficient_accuracy=1.1),
        AdversarialTraining(batch_size=4, learning_rate=1e-4, updates_per_iteration=4),
    )
    return AdversarialGame(
        model,
        Evaluator(model, holdout, crop, classes, 8, strategy=strategy),
        split(size["training images"]),
        holdout,
        players,
        crop=crop,
        num_classes=classes,
        seed=0,
        run=RunDirectory(folder, "config"),
        strategy=strategy,
    )


def _cycle(size: dict[str, int], strategy: tf.distribute.Strategy) -> dict[str, float]:
    """Seconds of each phase: the least of a few, after everything was traced once."""
    with tempfile.TemporaryDirectory() as folder:
        game = _game(size, strategy, f"{folder}/run")
        names = [f"ge{n}_0" for n in range(size["buffer sets"])]

        def learn(cycle: int) -> None:
            game.train_discriminator(list(names), cycle)

        least = {phase: np.inf for phase in PHASES}
        for repeat in range(1 + FLAGS.repeats):
            for name in names[1:]:
                game.aggregate(name, 0)
            phases: dict[str, Callable[[], object]] = {
                "aggregation": functools.partial(game.aggregate, names[0], 0),
                "discriminator's epoch": functools.partial(learn, repeat),
                "adversarial update": functools.partial(game.update, repeat, 0),
                "hold-out evaluation": game.evaluate,
            }
            for phase, call in phases.items():
                began = time.perf_counter()
                call()
                if repeat:
                    least[phase] = min(least[phase], time.perf_counter() - began)
        game.run.close()
    return least


def _memory(strategy: tf.distribute.Strategy) -> list[float]:
    """MiB the process holds after each cycle."""
    held = []
    with tempfile.TemporaryDirectory() as folder:
        game = _game(START, strategy, f"{folder}/run")
        for cycle in range(FLAGS.cycles):
            game.aggregate("ge0_0", cycle)
            game.train_discriminator(["ge0_0"], cycle)
            game.update(cycle, 0)
            game.evaluate()
            game.go_back()
            held.append(timing.forget_peak())
        game.run.close()
    return held


if __name__ == "__main__":
    app.run(main)
