"""Untouched images that are watched: every model that is scored on the hold-out is scored on them, too.

A hold-out that follows one scene can gain while all other images lose. The watched images show it while it happens.
They decide nothing: the algorithm never sees their score, the journal does. So they stay untouched.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from load_tf.data.dataset import Split, Subset
from load_tf.data.partition import draw
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou_of_truth
from load_tf.game import warnings


class Look(NamedTuple):
    """A model's mIoU as a fraction; None where it is not finite."""

    holdout: float | None
    untouched: float | None


def draw_watched(validation: Split, holdout: Sequence[int], count: int, seed: int) -> Split | None:
    """Draws the watched images by key, without replacement, from the untouched ones.

    Args:
      validation: all validation images.
      holdout: which of them are the hold-out.
      count: how many are watched at the most; all untouched images if there are fewer.
      seed: the experiment's.

    Returns:
      The watched images sorted by id; None if there are none.
    """
    ids, touched = validation.ids, set(holdout)
    untouched = [index for index in range(len(ids)) if index not in touched]
    drawn, _ = draw(tuple(ids[index] for index in untouched), min(count, len(untouched)), seed, "watched")
    return Subset(validation, tuple(untouched[place] for place in drawn)) if drawn else None


class Watch:
    """What is known of the watched images: their mIoU for the model scored last, the best of the cycle and the start.

    Without watched images it adds nothing to the journal.
    """

    def __init__(self, evaluator: Evaluator, watched: Split | None) -> None:
        """Prepares to watch; nothing is read yet.

        Args:
          evaluator: the hold-out's; its traced step serves both.
          watched: the images; None: none are watched.
        """
        self._evaluator = None if watched is None else evaluator.on(watched)
        self.images = 0 if watched is None else len(watched)
        self._untouched: float | None = None
        self._last: Look | None = None
        self._best: Look | None = None
        self._start: Look | None = None
        self._before: Look | None = None

    def look(self) -> None:
        """Scores the present model. All workers must call it."""
        if self._evaluator is not None:
            score = mean_iou_of_truth(self._evaluator.evaluate("watched images").sum(axis=0))
            self._untouched = score if math.isfinite(score) else None

    def pass_over(self) -> None:
        """The present model is not scored: neither were all images of the hold-out."""
        self._untouched = None

    def beside(self, event: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the journal says of the watched images in an event of the algorithm.

        Args:
          event: its name.
          values: what the algorithm records, of which `miou` is the hold-out's.

        Returns:
          `untouched`, mIoU as a fraction or None, for "start", "evaluate" and, where it is known, "peak"; the start has
          the number of images as `watched`.
        """
        if self._evaluator is None:
            return {}
        if event in ("start", "evaluate"):
            self._last = Look(values["miou"], self._untouched)
        if event == "start":
            self._start = self._last
            return {"untouched": self._untouched, "watched": self.images}
        if event == "evaluate":
            return {"untouched": self._untouched}
        if event == "peak" and self._start is not None:
            return {"untouched": self._start.untouched}
        return {}

    def keep_best(self) -> None:
        """The model scored last is the best of its cycle."""
        self._best = self._last

    def promote_best(self) -> None:
        """The best model of the cycle becomes the start model."""
        self._before, self._start = self._start, self._best

    def warning(self) -> str | None:
        """What is wrong with the peak that was promoted last: a gain on the hold-out that is a loss elsewhere."""
        numbers = [*(self._before or (None,)), *(self._start or (None,))]
        if None in numbers:
            return None
        holdout_before, before, holdout, now = numbers
        return warnings.peak_warning(holdout - holdout_before, now - before, self.images)

    def to_json(self) -> dict[str, Any]:
        """What a restart needs."""
        return {"start": self._start, "best": self._best}

    def from_json(self, values: Mapping[str, Any]) -> None:
        """Undoes `to_json`; an older run's state has nothing of it, then no gain is known until the second peak."""
        self._start, self._best = (Look(*values[name]) if values.get(name) else None for name in ("start", "best"))
