"""Every look at the hold-out, and what the same model did on the watched images, which decide nothing."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from load_tf.report.timeline import Event, finite_or_nan

LEAST = 3
"""Looks that a correlation, or a share of looks, has to be over."""
DISAGREEING = 1 / 3
"""Share of looks with two signs from which a run is warned; with no relation at all it is about a half."""


@dataclasses.dataclass(frozen=True)
class Looks:
    """Gains from the start, in points of mIoU, in the order of the looks.

    Attributes:
      images: how many images are watched.
      holdout: of every evaluated model on the hold-out; NaN if it was not finite.
      untouched: of the same models on the watched images; NaN if it was not finite or they were not watched.
      cycles: the cycle of every look.
      chosen: both gains of the model that was chosen; None if that is the start, or one of the two is not known.
    """

    images: int
    holdout: tuple[float, ...]
    untouched: tuple[float, ...]
    cycles: tuple[int, ...]
    chosen: tuple[float, float] | None

    @property
    def correlation(self) -> float | None:
        """Pearson's, over the looks with both gains; None for fewer than `LEAST`, or where a gain is constant.

        The start is not counted: its gains are 0 by definition.
        """
        pairs = self._pairs()
        if len(pairs) < LEAST or not np.ptp(pairs, axis=0).all():
            return None
        return float(np.corrcoef(pairs.T)[0, 1])

    @property
    def disagreeing(self) -> tuple[int, int]:
        """In how many looks the two gains have different signs, by the two decimals that are printed; of how many."""
        signs = np.sign(np.round(self._pairs(), 2))
        return int((signs.prod(axis=1) < 0).sum()), len(signs)

    def warnings(self) -> list[str]:
        """Where the sign differs: of the chosen model, and in how many looks."""
        found = []
        if self.chosen and round(self.chosen[0], 2) > 0 > round(self.chosen[1], 2):
            found.append(
                f"the chosen model gains {self.chosen[0]:.2f} points on the hold-out but loses {-self.chosen[1]:.2f} "
                f"on the {self.images} watched images: the hold-out does not speak for the rest"
            )
        count, looks = self.disagreeing
        if looks >= LEAST and count >= DISAGREEING * looks:
            found.append(
                f"in {count} of {looks} looks hold-out and watched images differ in whether the model is better than "
                "the start: what the hold-out chooses may be worse elsewhere"
            )
        return found

    def summary(self) -> dict[str, Any]:
        """For `summary.json`; what is not finite is None."""
        count, looks = self.disagreeing
        chosen = self.chosen or (None, None)
        return {
            "watched_images": self.images,
            "holdout": [_number(value) for value in self.holdout],
            "untouched": [_number(value) for value in self.untouched],
            "correlation": self.correlation,
            "signs_differ": count / looks if looks else None,
            "chosen": {"holdout": chosen[0], "untouched": chosen[1]},
            "warnings": self.warnings(),
        }

    def _pairs(self) -> np.ndarray:
        """float64 [N, 2]: the looks with both gains."""
        pairs = np.array([self.holdout, self.untouched], np.float64).T
        return pairs[np.isfinite(pairs).all(axis=1)]


def looks(journal: Iterable[Event]) -> Looks | None:
    """Reads the looks out of a journal; None if its start has no score on watched images, as in older journals."""
    start: tuple[float, float] | None = None
    chosen: tuple[float, float] | None = None
    images, found = 0, []

    def gains(event: Event, start: tuple[float, float]) -> tuple[float, float]:
        holdout, untouched = finite_or_nan(event["miou"]), finite_or_nan(event.get("untouched"))
        return 100 * (holdout - start[0]), 100 * (untouched - start[1])

    for event in journal:
        if event["event"] == "start" and event.get("untouched") is not None:
            start = (finite_or_nan(event["miou"]), finite_or_nan(event["untouched"]))
            images = int(event["watched"])
        elif start and event["event"] == "evaluate":
            found.append((*gains(event, start), event["cycle"]))
        elif start and event["event"] == "peak":
            chosen = gains(event, start)
    if start is None:
        return None
    holdout, untouched, cycles = zip(*found, strict=True) if found else ((), (), ())
    known = chosen is not None and all(map(math.isfinite, chosen))
    return Looks(images, holdout, untouched, cycles, chosen if known else None)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
