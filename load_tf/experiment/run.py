"""The paper on one page: data, segmentor, stage 1, LoAd, Table 1, figures, SavedModel."""

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from load_tf.devices import processor, workers
from load_tf.discriminator import build
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.experiment import disk_use, doubt, environment, forecast, results
from load_tf.experiment.images import Data, hold_to, read_data
from load_tf.experiment.plan import Plan
from load_tf.experiment.start import make_baseline
from load_tf.game.game import AdversarialGame
from load_tf.game.watching import draw_watched
from load_tf.report.listeners import Callback, Listener, Listeners
from load_tf.report.tensorboard import TensorBoardLog
from load_tf.report.terminal import Silent, Terminal
from load_tf.storage.run_directory import RunDirectory
from load_tf.storage.shared_run import open_run
from load_tf.training.segmentor import trained_variables
from load_tf.training.snapshot import arrays_to_variables

PINNED = frozenset(
    {"data", "baseline", "calibration", "confusion_baseline", "confusion_load", "shapes_baseline", "shapes_load"}
)
"""Files that stay in the run directory to the end, once they are there."""


def run(
    plan: Plan, run_dir: str | Path, config: str, on_event: Callable[[dict[str, Any]], object] | None = None
) -> None:
    """Runs an experiment to its end, or on from the last commit in `run_dir`.

    Args:
      plan: the assembled experiment.
      run_dir: the run's folder: a new one, or that of a run of the same config.
      config: the config as text.
      on_event: is given every event of the journal, as `load_tf.run` says; None: nobody.

    Raises:
      UserError: if the data, the folder or a parameter is not what it has to be.
    """
    users = () if on_event is None else (Callback(on_event),)
    team = workers.of(plan.strategy)
    # Closed whatever happens: in Python the caller may mend what is wrong and call again.
    with team.watched(), contextlib.closing(open_run(run_dir, config, PINNED, team)) as directory:
        _run(plan, directory, config, users)


def _run(plan: Plan, directory: RunDirectory, config: str, users: Sequence[Listener]) -> None:
    team = workers.of(plan.strategy)
    terminal = Terminal(plan.lookahead) if team.is_chief else Silent(plan.lookahead)
    environment.write_environment(directory, plan)
    finished = directory.state.get("phase") == "done"
    if finished and (damaged := team.agree(results.damaged(directory))):
        terminal.say(
            f"{', '.join(damaged)} of {directory.path}: gone or not what was written; the report is made again."
        )
    elif finished:
        terminal.say(f"the run in {directory.path} is finished; its table:\n{results.stored_table(directory)}")
        return
    if directory.state and not finished:
        terminal.say(f"resuming {directory.path} from commit {directory.state['commit']}.")
        for event in directory.journal():
            terminal.remember(event)
    judge = plan.experiment.method.discriminator_settings(plan.players.discriminator)
    if judge is not None:
        build.refuse_unusable(judge)
        plan.players.discriminator_training.shows_unlabelled(judge)
    if plan.experiment.method.trains_variables:
        trained_variables(plan.segmentor.model, plan.players.adversarial)
    data = read_data(plan)
    hold_to(directory, data, plan)
    holdout = plan.looking_evaluator(data.holdout)
    if not directory.state and (pace := forecast.sentence(plan, data, holdout)):
        terminal.say(pace)
    if plan.segmentor.limit is not None:
        terminal.say(f"{plan.segmentor.limit}; larger images are refused.")
    if plan.runtime.math != "float32":
        how = "in bfloat16" if plan.runtime.looks_in_bfloat16 else f"in float32: {processor.LACKS}"
        terminal.say(f"Runtime.math is {plan.runtime.math!r}: models are looked at {how}.")
    unlabelled = len(data.unlabelled or ())
    if unlabelled:
        terminal.say(f"{len(data.training)} images with labels and {unlabelled} without are trained on.")
    counts = (len(data.training) + unlabelled, len(data.holdout), len(data.validation))
    terminal.say(disk_use.sentence(plan, directory.path, *counts))
    log = TensorBoardLog(directory.path / "tensorboard" if team.is_chief else None, directory.journal())
    log.text("config", config)
    train(plan, data, directory, Listeners(log, terminal, *users).hear, holdout)
    results.report(plan, data, directory, log, terminal)
    log.close()


def train(
    plan: Plan,
    data: Data,
    directory: RunDirectory,
    listen: Callable[[dict[str, Any]], None] = lambda event: None,
    holdout: Evaluator | None = None,
) -> None:
    """Stage 1, where it is needed, and the experiment's method; the plan's model then is the result.

    Args:
      plan: the assembled experiment.
      data: its images.
      directory: where it commits to, and goes on from.
      listen: is told every event of the journal.
      holdout: the hold-out's evaluator; None: one is made.
    """
    holdout = holdout or plan.looking_evaluator(data.holdout)
    if directory.state.get("phase") == "done":
        arrays_to_variables(directory.arrays("start"), plan.segmentor.model.variables)
        return
    make_baseline(plan, data, directory, holdout, listen)
    # Before the first commit of the game, so that a run that is resumed later does not say it again.
    if plan.segmentor.pretrained and directory.state["phase"] == "baseline":
        found = doubt.better_convention(plan, data.holdout)
        if found is not None:
            listen(directory.record("warning", cycle=0, text=found))
    game = _play(plan, data, directory, holdout, listen)
    game.start.put_back()


def _play(
    plan: Plan, data: Data, directory: RunDirectory, holdout: Evaluator, listen: Callable[[dict[str, Any]], None]
) -> AdversarialGame:
    """LoAd; at its end the game's start model is the result."""
    experiment = plan.experiment
    watched = draw_watched(data.validation, data.holdout_indices, experiment.watched_images, experiment.seed)
    game = plan.game(data.training, data.holdout, holdout, directory, listen, watched, data.unlabelled)
    plan.experiment.method.play(game, plan.lookahead, game.resume())
    return game


def read_summary(run_dir: str | Path) -> dict[str, Any]:
    """What a finished run found: `report/summary.json`.

    Raises:
      UserError: if there is none.
    """
    path = Path(run_dir) / "report" / "summary.json"
    if not path.is_file():
        raise UserError(f"{path} is not there; has the run ended?")
    return json.loads(path.read_text())
