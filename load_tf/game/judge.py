"""The judge of a game: its discriminator, and how that is trained before every cycle, an epoch at a time."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from load_tf.algorithm.lookahead import State
from load_tf.devices.workers import Workers
from load_tf.discriminator.buffer import batches, draw_pairs, draw_union, holdout_pairs
from load_tf.discriminator.build import place_asked_about
from load_tf.game import warnings
from load_tf.game.aggregation import Aggregation
from load_tf.storage.run_directory import ArraySource, RunDirectory
from load_tf.training.direction import localisation
from load_tf.training.discriminator import DiscriminatorProgress, DiscriminatorTrainer
from load_tf.training.snapshot import Snapshot, arrays_to_variables, variables_to_arrays


class Book(NamedTuple):
    """Where a training is written down."""

    record: Callable[..., None]
    """An event of the journal: its name and its values."""
    time: Callable[..., None]
    """Seconds of a phase, as `RunDirectory.time` takes them."""
    commit: Callable[[], None]
    """Ends an epoch that is not the last."""


class Judge:
    """A discriminator that is trained "to reach sufficient accuracy" on ground truth and the buffer's label maps.

    Attributes:
      trainer: makes its steps.
      settings: of its training.
      best_epoch: all that is trained, as it was after the best epoch.
      progress: where its training stands, or ended; None before the first.
      changed: names in a commit whose arrays are not those of the last one.
    """

    def __init__(self, trainer: DiscriminatorTrainer, seed: int, workers: Workers) -> None:
        """Copies the discriminator as it was initialised.

        Args:
          trainer: of the discriminator.
          seed: the experiment's.
          workers: those of the run.
        """
        self.trainer, self.settings = trainer, trainer.settings
        self._seed, self._workers = seed, workers
        self.best_epoch = Snapshot(trainer.variables)
        self._untrained = Snapshot(trainer.variables)
        self._untrained.take()
        self.progress: DiscriminatorProgress | None = None
        self.changed = {"discriminator"}

    def train(self, aggregation: Aggregation, cycle: int, book: Book) -> None:
        """Trains on all sets that are kept, or goes on where a commit interrupted it, and puts the best epoch back.

        Args:
          aggregation: the sets, and the ground truth.
          cycle: the one that comes.
          book: where it is written down.

        Raises:
          UserError: if a loss is not finite in the first epoch.
        """
        settings = self.settings
        truth, sets = aggregation.training_grid, list(aggregation.sets.values())
        maps = [one_set.training for one_set in sets]
        place = place_asked_about(self.trainer.discriminator.settings)
        fakes = [one_set.holdout for one_set in sets]
        holdout = holdout_pairs(
            aggregation.holdout_grid, fakes, 2 * settings.batch_size, self._seed, cycle, place=place
        )
        progress = self._begin(cycle)
        draw = draw_union if settings.union else draw_pairs
        reason = None
        while reason is None:
            began = time.monotonic()
            drawn = draw(
                *(aggregation.labelled, len(maps), self._seed, cycle, progress.epoch),
                unlabelled=len(truth) - aggregation.labelled if self._shows_unlabelled else 0,
            )
            self.trainer.train_dataset = batches(
                truth, maps, drawn, settings.batch_size, self._seed, cycle, progress.epoch, place=place
            )
            steps = -(-len(drawn.image) // settings.batch_size)
            trained = self.trainer.train(tf.constant(steps))
            # Anew, since an evaluator goes on with the iterator it began.
            self.trainer.eval_dataset = holdout
            measured = self._workers.agree(self.trainer.evaluate(tf.constant(-1)))
            reason = self._end_epoch(progress, measured, trained["loss"], book)
            book.time("discriminator", time.monotonic() - began, maps=len(drawn.image))
        self._end(progress, reason, book)

    @property
    def _shows_unlabelled(self) -> bool:
        """Whether maps of images without labels are among its fakes."""
        return self.settings.shows_unlabelled(self.trainer.discriminator.settings)

    def _begin(self, cycle: int) -> DiscriminatorProgress:
        """A new training, unless one before the same cycle has begun."""
        if self.progress is None or self.progress.cycle != cycle:
            self.progress = DiscriminatorProgress(cycle)
            if not self.settings.keep_weights:
                self._untrained.put_back()
        return self.progress

    def _end_epoch(
        self, progress: DiscriminatorProgress, measured: dict[str, float], training_loss: float, book: Book
    ) -> str | None:
        """Journals an epoch, keeps it if it is the best, commits; returns why training is over, or None."""
        if not np.isfinite([training_loss, *measured.values()]).all():
            return self._end_non_finite_epoch(progress, measured, training_loss)
        if progress.end_epoch(self.settings, measured):
            self.best_epoch.take()
            self.changed |= {"best_epoch"}
        book.record(
            "discriminator", cycle=progress.cycle, epoch=progress.epoch, training_loss=training_loss, **measured
        )
        reason = progress.is_over(self.settings, measured)
        self.changed |= {"discriminator"}
        if reason is None:
            book.commit()
        return reason

    def _end_non_finite_epoch(
        self, progress: DiscriminatorProgress, measured: dict[str, float], training_loss: float
    ) -> str:
        """The best epoch so far has to do; without one the run stops."""
        if not progress.best_epoch:
            warnings.refuse_non_finite(
                "the discriminator's training",
                f"in the first epoch before cycle {progress.cycle}",
                "DiscriminatorTraining.learning_rate",
                training_loss=training_loss,
                **{f"hold-out {name}": value for name, value in measured.items()},
            )
        progress.epoch += 1
        self.changed |= {"discriminator"}
        return "non_finite"

    def _end(self, progress: DiscriminatorProgress, reason: str, book: Book) -> None:
        """Puts the best epoch back, and says what is wrong with it."""
        self.best_epoch.put_back()
        book.record(
            "discriminator_end",
            cycle=progress.cycle,
            epochs=progress.epoch,
            best=progress.best_epoch,
            kept_for=progress.kept_for(self.settings),
            reason=reason,
        )
        if text := warnings.discriminator_warning(progress.best_measures):
            book.record("warning", cycle=progress.cycle, text=text)
        self.changed |= {"discriminator"}

    def localisation(self, aggregation: Aggregation, saturating: bool) -> float | None:
        """`direction.localisation` on the hold-out, of the newest set; None without one."""
        newest = next(reversed(aggregation.sets.values()), None)
        if newest is None:
            return None
        return localisation(
            self.trainer.discriminator,
            aggregation.holdout_grid,
            newest.holdout,
            self.trainer.num_classes,
            saturating=saturating,
            batch_size=self.settings.batch_size,
        )

    def sources(self, state: State) -> dict[str, ArraySource]:
        """What a commit holds of it; the best epoch only while it is being trained."""
        found: dict[str, ArraySource] = {"discriminator": lambda: variables_to_arrays(self.trainer.variables)}
        if self.progress is not None and state.phase == "discriminator":
            found["best_epoch"] = self.best_epoch.to_arrays
        return found

    def restore(self, run: RunDirectory) -> None:
        """Goes back to what the last commit holds."""
        arrays_to_variables(run.arrays("discriminator"), self.trainer.variables)
        if "best_epoch" in run.state["files"]:
            self.best_epoch.from_arrays(run.arrays("best_epoch"))
        progress = run.state["discriminator"]
        self.progress = DiscriminatorProgress.from_json(progress) if progress else None
