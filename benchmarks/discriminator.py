"""Is the discriminator worth following? Trains it against the start model's maps alone and prints two tables.

    python -m benchmarks.discriminator --gin_file=voc_mobilenetv2_valsplit.gin --data_dir=VOC2012 --checkpoint=DIR \
        --gin_param=Discriminator.alpha=1.0

The first has a row an epoch: the training loss; then on the hold-out, in inference mode, the loss, how often the real
map of an image is ranked above its fake one (chance: 0.5), the area under the curve of right against wrong places
(where it is asked about places), and at how many of the wrong points its gradient prefers the truth (chance: 0.5); and
the seconds of the epoch.

The second is about the epoch that is kept: on untouched images the pairs, and the pairs where the fake map has the
truth's class proportions; the places and the localisation there; then at two temperatures, over a few batches of D_t,
how far these agree on the segmentor's direction, and the cosine of that direction with cross-entropy's.
"""

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from benchmarks import setting
from benchmarks.proportions import plain_and_matched_maps
from benchmarks.table import header, row
from load_tf import commands
from load_tf.discriminator.buffer import holdout_pairs
from load_tf.discriminator.build import place_asked_about
from load_tf.discriminator.grid import read_grid_examples
from load_tf.game.game import AdversarialGame
from load_tf.training.adversarial import adversarial_batches
from load_tf.training.direction import agreement, localisation
from load_tf.training.segmentor import SegmentorTrainer

if TYPE_CHECKING:
    from load_tf.experiment.images import Data

TEMPERATURES = (1.0, 20.0)
BATCHES = 4

EPOCHS = ("epoch", "training loss", "loss", "pairs", "places", "localisation", "seconds")
KEPT = (
    "kept epoch", "pairs", "of equal proportions", "places", "localisation",
    *(f"{what}, tau {tau:g}" for what in ("agreement", "cosine with cross-entropy's") for tau in TEMPERATURES),
)  # fmt: skip


class Kept:
    """What is measured of the epoch that is kept."""

    def __init__(self, game: AdversarialGame, data: "Data") -> None:
        """Makes the trainers whose gradients are looked at; none of them trains."""
        assert game.judge is not None and game.discriminator is not None
        self._game, self._judge = game, game.judge
        self._settings = game.players.adversarial
        self._adversaries = [setting.adversary(game, temperature) for temperature in TEMPERATURES]
        self._supervised = setting.supervised(game)
        self._untouched = setting.untouched(game, data)
        grid = game.discriminator.settings.input_size
        self._examples = read_grid_examples(self._untouched, game.crop, grid, "untouched images on the grid")

    def measured(self) -> list[float | None]:
        """From "pairs" to the last cosine."""
        game, trainer = self._game, self._judge.trainer
        maps, matched = plain_and_matched_maps(game.evaluator, self._untouched, self._examples, game.crop)
        there, equal = self._on_untouched(maps), self._on_untouched(matched)
        located = localisation(
            trainer.discriminator, self._examples, maps, trainer.num_classes,
            saturating=self._settings.saturating, batch_size=self._judge.settings.batch_size,
        )  # fmt: skip
        agreed = [agreement(trainer, self._batches()) for trainer in self._adversaries]
        cosines = [self._cosine(trainer) for trainer in self._adversaries]
        places = there.get("place_auc")
        return [there["pair_accuracy"], equal["pair_accuracy"], places, located, *agreed, *cosines]

    def _on_untouched(self, maps: np.ndarray) -> dict[str, float]:
        trainer, settings = self._judge.trainer, self._judge.settings
        place = place_asked_about(trainer.discriminator.settings)
        trainer.eval_dataset = holdout_pairs(
            self._examples, [maps], 2 * settings.batch_size, self._game.seed, 0, place=place
        )
        return trainer.evaluate(tf.constant(-1))

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
    header(EPOCHS)
    playing: list[tuple[AdversarialGame, Data]] = []
    began = time.monotonic()

    def show(event: dict[str, Any]) -> None:
        nonlocal began
        if event["event"] == "discriminator_end":
            print(flush=True)
            header(KEPT)
            row(event["best"], *Kept(*playing[0]).measured())
        if event["event"] == "discriminator":
            seconds = round(time.monotonic() - began)
            game, _ = playing[0]
            assert game.judge is not None
            located = game.judge.localisation(game.aggregation, game.players.adversarial.saturating)
            told = (event[name] for name in ("epoch", "training_loss", "loss", "pair_accuracy"))
            row(*told, event.get("place_auc"), located, seconds)
            began = time.monotonic()

    with setting.game_and_data(show) as found:
        playing.append(found)
        began = time.monotonic()
        found[0].train_discriminator(["g0"], 0)


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)
