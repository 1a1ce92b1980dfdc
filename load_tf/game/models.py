"""The models of a game: the present one, which is trained, the start model, the best of its cycle, the average."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from load_tf.algorithm.lookahead import State
from load_tf.methods.method import Trainer
from load_tf.storage.run_directory import ArraySource, RunDirectory
from load_tf.training.snapshot import Snapshot, arrays_to_variables, variables_to_arrays


class Models:
    """One network, whose weights are the present model's, and copies of its weights beside it.

    Attributes:
      start: the start model.
      best: the best of the cycle.
      present: the present model, while others stand in its place.
      average: what is evaluated and kept in its place, with a method that averages weights; else None.
      confusion: int64 [N, K, K], of the model evaluated last, an image of the hold-out each; None before the first,
        and where not all images were looked at.
      start_confusion: the start model's.
      best_confusion: the best model's.
      changed: names in a commit whose arrays are not those of the last one.
    """

    def __init__(
        self,
        segmentor: keras.Model,
        trainer: Trainer,
        averaging: Callable[[int], float] | None,
        strategy: tf.distribute.Strategy,
    ) -> None:
        """The present model becomes the start model.

        Args:
          segmentor: the network.
          trainer: what trains it.
          averaging: how far the average moves after an iteration, as `Method.averaging` gives it; None: no average.
          strategy: where the copies live.
        """
        self._segmentor, self._trainer, self._averaging = segmentor, trainer, averaging
        with strategy.scope():
            self.start = Snapshot(segmentor.variables)
            self.best = Snapshot(segmentor.variables)
            self.present = Snapshot(segmentor.variables)
            self.average = Snapshot(segmentor.variables) if averaging else None
        self.start.take()
        if self.average:
            self.average.take()
        self.confusion: np.ndarray | None = None
        self.start_confusion: np.ndarray | None = None
        self.best_confusion: np.ndarray | None = None
        self.changed = {"segmentor", "start", "average"}

    @contextlib.contextmanager
    def in_place(self, other: Snapshot | None) -> Iterator[None]:
        """Another model's weights stand in the present one's place for a while; None: the present model stays."""
        if other is None:
            yield
            return
        self.present.take()
        other.put_back()
        try:
            yield
        finally:
            self.present.put_back()

    def scored(self, confusion: np.ndarray | None) -> None:
        """Takes note of the hold-out's matrices of the model evaluated just now; the first one is the start model.

        Args:
          confusion: None where a race stopped before all were known; that model is not the best.
        """
        self.confusion = confusion
        if self.start_confusion is None:
            self.start_confusion = confusion
            self.changed |= {"start_confusion"}

    def updated(self, iterations: int) -> bool:
        """Takes note that the present model was trained since `present.take()`; the average moves.

        Args:
          iterations: of the run so far.

        Returns:
          Whether the weights are finite; if not, those of before are put back.
        """
        self.changed |= {"segmentor", "average"}
        finite = bool(self.present.variables_are_finite())
        if not finite:
            self.present.put_back()
        if self.average and self._averaging:
            self.average.move_towards_variables(tf.constant(float(self._averaging(iterations))))
        return finite

    def go_back(self) -> None:
        """The start model becomes the present one, and the average."""
        self.start.put_back()
        self.changed |= {"segmentor"}
        if self.average:
            self.average.become(self.start)
            self.changed |= {"average"}

    def keep_best(self) -> None:
        """The model evaluated last is the best of its cycle."""
        if self.average:
            self.best.become(self.average)
        else:
            self.best.take()
        self.best_confusion = self.confusion
        self.changed |= {"best", "best_confusion"}

    def promote_best(self) -> None:
        """The best model of the cycle becomes the start model."""
        self.start.become(self.best)
        self.start_confusion = self.best_confusion
        self.changed |= {"start", "start_confusion"}

    def present_arrays(self) -> dict[str, np.ndarray]:
        """The present model and its trainer's momentum, by name."""
        return variables_to_arrays(self._present_variables)

    def sources(self, state: State) -> dict[str, ArraySource]:
        """What a commit holds of them; the best model only in a cycle that has found a peak."""
        found: dict[str, ArraySource] = {"segmentor": self.present_arrays, "start": self.start.to_arrays}
        if self.average:
            found["average"] = self.average.to_arrays
        if self.start_confusion is not None:
            found["start_confusion"] = _confusion_of(self.start_confusion)
        if state.fruitful:
            found["best"] = self.best.to_arrays
            if self.best_confusion is not None:
                found["best_confusion"] = _confusion_of(self.best_confusion)
        return found

    def restore(self, run: RunDirectory) -> None:
        """Goes back to what the last commit holds."""
        there = run.state["files"]
        arrays_to_variables(run.arrays("segmentor"), self._present_variables)
        for name, snapshot in (("start", self.start), ("best", self.best)):
            if name in there:
                snapshot.from_arrays(run.arrays(name))
        if "start_confusion" in there:
            self.start_confusion = run.arrays("start_confusion")["confusion"]
        if "best_confusion" in there:
            self.best_confusion = run.arrays("best_confusion")["confusion"]
        if self.average:
            self.average.from_arrays(run.arrays("average"))

    @property
    def _present_variables(self) -> list[keras.Variable]:
        return [*self._segmentor.variables, *self._trainer.momentum_variables]


def _confusion_of(matrices: np.ndarray) -> ArraySource:
    return lambda: {"confusion": matrices}
