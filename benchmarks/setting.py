"""What the measurements share: a game that stands where a run with these flags would begin LoAd."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from load_tf import commands
from load_tf.game.game import AdversarialGame, Listener

if TYPE_CHECKING:
    from load_tf.experiment.plan import Plan
    from load_tf.experiment.run import Data
    from load_tf.storage.run_directory import RunDirectory


@contextlib.contextmanager
def game(listener: Listener = lambda event: None) -> Iterator[AdversarialGame]:
    """A game on the config of the flags, the start model's label maps in its sets, its run directory thrown away after.

    Raises:
      UserError: if the segmentor would need stage 1 first, or the method has no discriminator.
    """
    config = commands.parse_gin()
    from load_tf.experiment import plan
    from load_tf.experiment import run as experiment
    from load_tf.storage.run_directory import RunDirectory

    parts = commands.configured(plan.assemble)
    if not parts.segmentor.pretrained:
        raise commands.UserError(
            "this measurement needs a segmentor that has weights already, such as official_deeplab."
        )
    data = experiment.read_data(parts)
    with tempfile.TemporaryDirectory() as folder:
        made = _make(parts, data, RunDirectory(folder, config), listener)
        if made.discriminator is None:
            title = parts.experiment.method.title
            raise commands.UserError(f"this measurement is of a discriminator; the method {title!r} has none.")
        made.aggregate("g0", 0)
        yield made


def _make(
    parts: "Plan", data: "Data", run: "RunDirectory", listener: Callable[[dict[str, Any]], None]
) -> AdversarialGame:
    """The game of the config's method, as a run makes it, but for the untouched images that it watches."""
    experiment = parts.experiment
    return AdversarialGame(
        parts.segmentor.model,
        parts.evaluator(data.holdout),
        data.training,
        data.holdout,
        parts.players,
        experiment.method,
        crop=experiment.crop,
        num_classes=experiment.dataset.num_classes,
        seed=experiment.seed,
        run=run,
        strategy=parts.strategy,
        max_iterations=parts.lookahead.max_iterations,
        listener=listener,
        stage_one=parts.stage_one,
    )
