"""Where does following the discriminator lead? A few updates from the start model, and as many by cross-entropy.

    python -m benchmarks.walk --gin_file=camvid_mobilenetv2.gin --gin_file=right_here.gin --data_dir=CAMVID \
        --checkpoint=DIR --gin_param="experiment.start_from='runs/start'"

Trains the discriminator as before a first cycle, then makes ten iterations with the config's steps, without going back.
After each: how far mIoU and pixel accuracy of the hold-out and of untouched images are from the start's, in points, and
the length of the path. Then the same by cross-entropy on the same images with the same steps. Then, for both, how often
the hold-out's classes are predicted against how often the start model predicts them. Last, what is left of it when
class constants are fitted to D_t's proportions again, for the start and for both: what was one of proportions is gone.
"""

import numpy as np
import tensorflow as tf

from benchmarks import setting
from benchmarks.table import header, row
from load_tf import commands
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou_of_truth
from load_tf.game.game import AdversarialGame
from load_tf.training.adversarial import adversarial_batches
from load_tf.training.calibration import GAIN, Calibrator
from load_tf.training.segmentor import SegmentorTrainer
from load_tf.training.snapshot import Snapshot

ITERATIONS = 10
CONSTANTS_STEPS = 3
COLUMNS = ("walk", "updates", "hold-out mIoU", "accuracy", "untouched mIoU", "accuracy", "path", "gradient")


def scores(confusion: np.ndarray) -> tuple[float, float]:
    """mIoU over the classes of the truth, and pixel accuracy, in per cent."""
    return 100 * mean_iou_of_truth(confusion), 100 * float(np.trace(confusion) / confusion.sum())


def _walk(name: str, game: AdversarialGame, trainer: SegmentorTrainer, evaluators: tuple[Evaluator, ...]) -> np.ndarray:
    """Prints a row an iteration; the class proportions at the end, over those at the start."""
    settings = game.players.adversarial
    per = settings.updates_per_iteration
    start = [evaluator.evaluate("start").sum(0) for evaluator in evaluators]
    found, path = start, 0.0
    for iteration in range(ITERATIONS):
        trainer.train_dataset = adversarial_batches(
            game.training, game.aggregation.training_grid, settings, game.crop, game.seed, iteration * per, per,
            with_truth=trainer.needs_truth,
        )  # fmt: skip
        trained = trainer.train(tf.constant(per))
        path += trained["path_length"]
        found = [evaluator.evaluate(name).sum(0) for evaluator in evaluators]
        pairs = zip(map(scores, found), map(scores, start), strict=True)
        changes = (f"{a - b:+.2f}" for now, before in pairs for a, b in zip(now, before, strict=True))
        row(name, (iteration + 1) * per, *changes, f"{path:.4f}", f"{trained['gradient_norm']:.2f}")
    return found[0].sum(0) / np.maximum(start[0].sum(0), 1)


def _constants_again(game: AdversarialGame, evaluators: tuple[Evaluator, ...]) -> list[tuple[float, float]]:
    """The scores once the model as it stands has had its class constants fitted."""
    calibrator = Calibrator(game.segmentor, game.evaluator, GAIN, game.crop, game.training)
    for _ in range(CONSTANTS_STEPS):
        calibrator.step()
    return [scores(evaluator.evaluate("constants again").sum(0)) for evaluator in evaluators]


def _main() -> None:
    with setting.game_and_data() as (game, data):
        game.train_discriminator(["g0"], 0)
        evaluators = (game.evaluator, game.evaluator.on(setting.untouched(game, data)))
        start = Snapshot(game.segmentor.variables)
        start.take()
        trainers = {"adversarial": setting.adversary(game), "cross-entropy": setting.supervised(game)}
        header(COLUMNS)
        proportions, again = {}, {"start": _constants_again(game, evaluators)}
        for name, trainer in trainers.items():
            start.put_back()
            proportions[name] = _walk(name, game, trainer, evaluators)
            again[name] = _constants_again(game, evaluators)
        print()
        header(("predicted, of the start's", *(f"class {k}" for k in range(len(next(iter(proportions.values())))))))
        for name, ratios in proportions.items():
            row(name, *(f"{ratio:.2f}" for ratio in ratios))
        print()
        header(("constants again", *COLUMNS[2:6]))
        for name, found in again.items():
            told = zip(found, again["start"], strict=True)
            changes = (f"{a - b:+.2f}" for now, before in told for a, b in zip(now, before, strict=True))
            row(name, *(changes if name != "start" else (f"{value:.2f}" for pair in found for value in pair)))


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)
