"""What the measurements share: a game that stands where a run with these flags would begin to play."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from load_tf import commands
from load_tf.experiment import config
from load_tf.game.game import AdversarialGame
from load_tf.game.watching import draw_watched
from load_tf.report.listeners import Hear

if TYPE_CHECKING:
    from load_tf.data.dataset import Split
    from load_tf.experiment.images import Data
    from load_tf.training.adversarial import AdversarialTrainer
    from load_tf.training.supervised import SupervisedTrainer


@contextlib.contextmanager
def game(listener: Hear = lambda event: None) -> Iterator[AdversarialGame]:
    """As `game_and_data`, without the data."""
    with game_and_data(listener) as (made, _):
        yield made


@contextlib.contextmanager
def game_and_data(listener: Hear = lambda event: None) -> Iterator[tuple[AdversarialGame, "Data"]]:
    """A game on the config of the flags, the start model's label maps in its sets; and the images of the config.

    It is the game of the config's method, as a run makes it, but for the untouched images that it watches. Its run
    directory is thrown away after.

    Raises:
      UserError: if the segmentor would need stage 1 first, or the method has no discriminator.
    """
    text = config.parse_gin()
    from load_tf.experiment import images, plan
    from load_tf.experiment.start import has_weights
    from load_tf.storage.run_directory import RunDirectory

    parts = config.configured(plan.assemble)
    if not has_weights(parts):
        raise commands.UserError(
            "this measurement needs a segmentor that has weights already, such as official_deeplab, or a run to start "
            "from: experiment.start_from."
        )
    data = images.read_data(parts)
    with tempfile.TemporaryDirectory() as folder:
        made = parts.game(
            *(data.training, data.holdout, parts.evaluator(data.holdout), RunDirectory(folder, text), listener),
            unlabelled=data.unlabelled,
        )
        if made.discriminator is None:
            title = parts.experiment.method.title
            raise commands.UserError(f"this measurement is of a discriminator; the method {title!r} has none.")
        made.aggregate("g0", 0)
        yield made, data


def untouched(game: AdversarialGame, data: "Data", most: int = 200) -> "Split":
    """Validation images that are not in the hold-out, drawn by key; `most` of them or fewer.

    Raises:
      UserError: if there are none.
    """
    found = draw_watched(data.validation, data.holdout_indices, most, game.seed)
    if found is None:
        raise commands.UserError("no validation image is untouched; this measurement has nothing to look at.")
    return found


def adversary(game: AdversarialGame, temperature: float | None = None) -> "AdversarialTrainer":
    """Makes the steps of the game's adversarial objective; None: at the config's temperature."""
    from load_tf.training.adversarial import AdversarialTrainer

    assert game.discriminator is not None
    settings, sampling = game.players.adversarial, game.players.sampling
    if temperature is not None:
        sampling = dataclasses.replace(sampling, temperature=temperature)
    return AdversarialTrainer(game.segmentor, game.discriminator, settings, sampling, *_common(game))


def supervised(game: AdversarialGame) -> "SupervisedTrainer":
    """Makes the same steps by cross-entropy."""
    from load_tf.training.supervised import SupervisedTrainer

    return SupervisedTrainer(game.segmentor, game.players.adversarial, *_common(game))


def _common(game: AdversarialGame) -> tuple[Any, ...]:
    """What every trainer of the segmentor is made with, from the crop on."""
    assert game.judge is not None
    trainer = game.judge.trainer
    return game.crop, trainer.num_classes, trainer.strategy, game.evaluator.convention
