"""Is the discriminator worth following? Trains it against the start model's maps alone and prints a table.

    python -m benchmarks.discriminator --gin_file=voc_mobilenetv2_valsplit.gin --data_dir=VOC2012 --checkpoint=DIR \
        --gin_param=Discriminator.alpha=1.0

After every epoch: the training loss; then on the hold-out, in inference mode, the loss, how often the real map of an
image is ranked above its fake one (chance: 0.5), the same where the fake map has the truth's class proportions, the
area under the curve of right against wrong places (where it is asked about places), and at how many of the wrong
points its gradient prefers the truth (chance: 0.5). Then at two temperatures, over a few batches of D_t: how far these
agree on the segmentor's direction, and the cosine of that direction with cross-entropy's. Last the seconds of the epoch
alone.
"""

import dataclasses
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import setting
from benchmarks.proportions import matched_maps
from load_tf import commands
from load_tf.discriminator.buffer import holdout_pairs
from load_tf.game.game import AdversarialGame
from load_tf.training.adversarial import AdversarialTrainer, adversarial_batches
from load_tf.training.direction import agreement
from load_tf.training.segmentor import SegmentorTrainer
from load_tf.training.supervised import SupervisedTrainer

TEMPERATURES = (1.0, 20.0)
BATCHES = 6

HEADER = (
    "epoch", "training loss", "loss", "pairs", "pairs of equal proportions", "places", "localisation",
    *(f"{what}, tau {tau:g}" for what in ("agreement", "cosine with cross-entropy's") for tau in TEMPERATURES),
    "seconds",
)  # fmt: skip


class Direction:
    """What is measured beside the journal's own numbers."""

    def __init__(self, game: AdversarialGame) -> None:
        """Makes the trainers whose gradients are looked at; none of them trains."""
        assert game.judge is not None and game.discriminator is not None
        self._game, self._judge = game, game.judge
        self._settings = game.players.adversarial
        common = game.crop, self._judge.trainer.num_classes, game.judge.trainer.strategy, game.evaluator.convention
        self._adversaries = [
            AdversarialTrainer(
                game.segmentor,
                game.discriminator,
                self._settings,
                dataclasses.replace(game.players.sampling, temperature=tau),
                *common,
            )
            for tau in TEMPERATURES
        ]
        self._supervised = SupervisedTrainer(game.segmentor, self._settings, *common)
        self._matched = matched_maps(game.evaluator, game.holdout, game.aggregation.holdout_grid, game.crop)

    def measured(self) -> list[float | None]:
        """From "pairs of equal proportions" to the last cosine, but for "places"."""
        aggregation, settings = self._game.aggregation, self._judge.settings
        pairs = holdout_pairs(aggregation.holdout_grid, [self._matched], 2 * settings.batch_size, self._game.seed, 0)
        self._judge.trainer.eval_dataset = pairs
        equal = self._judge.trainer.evaluate(tf.constant(-1))["pair_accuracy"]
        agreed = [agreement(trainer, self._batches()) for trainer in self._adversaries]
        cosines = [self._cosine(trainer) for trainer in self._adversaries]
        located = self._judge.localisation(aggregation, self._settings.saturating)
        return [equal, located, *agreed, *cosines]

    def _batches(self) -> tf.data.Dataset:
        game = self._game
        return adversarial_batches(
            game.training, game.aggregation.training_grid, self._settings, game.crop, game.seed, 0, BATCHES,
            with_truth=True,
        )  # fmt: skip

    def _cosine(self, trainer: SegmentorTrainer) -> float:
        """The mean over the batches."""
        found = []
        for batch in self._batches():
            (one, norm), (other, other_norm) = trainer.gradients(batch), self._supervised.gradients(batch)
            product = sum(float(tf.reduce_sum(a * b)) for a, b in zip(one, other, strict=True))
            found.append(product / (norm * other_norm) if norm and other_norm else np.nan)
        return float(np.mean(found))


def _main() -> None:
    print(f"| {' | '.join(HEADER)} |\n|{'--:|' * len(HEADER)}", flush=True)
    began, direction = time.monotonic(), None

    def show(event: dict[str, Any]) -> None:
        nonlocal began
        if event["event"] != "discriminator":
            return
        seconds = time.monotonic() - began
        assert direction is not None
        equal, *rest = direction.measured()
        first = event["training_loss"], event["loss"], event["pair_accuracy"], equal, event.get("place_auc")
        cells = ["–" if value is None else f"{value:.3f}" for value in (*first, *rest)]
        print(f"| {event['epoch']} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
        began = time.monotonic()

    with setting.game(show) as game:
        direction = Direction(game)
        began = time.monotonic()
        game.train_discriminator(["g0"], 0)


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)
