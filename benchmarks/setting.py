"""What the measurements share: a game that stands where a run with these flags would begin LoAd."""

import contextlib
import tempfile
from collections.abc import Iterator

from load_tf import commands
from load_tf.game.game import AdversarialGame
from load_tf.report.listeners import Hear


@contextlib.contextmanager
def game(listener: Hear = lambda event: None) -> Iterator[AdversarialGame]:
    """A game on the config of the flags, the start model's label maps in its sets, its run directory thrown away after.

    Raises:
      UserError: if the segmentor would need stage 1 first.
    """
    config = commands.parse_gin()
    from load_tf.evaluation.evaluator import Evaluator
    from load_tf.experiment import plan
    from load_tf.experiment import run as experiment
    from load_tf.storage.run_directory import RunDirectory

    parts = commands.configured(plan.assemble)
    if not parts.segmentor.pretrained:
        raise commands.UserError(
            "this measurement needs a segmentor that has weights already, such as official_deeplab."
        )
    data = experiment.read_data(parts)
    crop, classes = parts.experiment.crop, parts.experiment.dataset.num_classes
    with tempfile.TemporaryDirectory() as folder:
        made = AdversarialGame(
            parts.segmentor.model,
            Evaluator(parts.segmentor.model, data.holdout, crop, classes),
            data.training,
            data.holdout,
            parts.players,
            crop=crop,
            num_classes=classes,
            seed=parts.experiment.seed,
            run=RunDirectory(folder, config),
            strategy=parts.strategy,
            listener=listener,
        )
        made.aggregate("g0", 0)
        yield made
