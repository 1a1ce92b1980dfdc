"""Every look at the hold-out, and what the same model did on the watched images, which decide nothing."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from load_tf.report.charts import Line, chart
from load_tf.report.markup import Markup, join, tag
from load_tf.report.sections import signed
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


def section(journal: Sequence[Event]) -> Markup | None:
    """Both gains over the looks, how far they go together, and a warning where they do not."""
    run = looks(journal)
    if run is None:
        return None
    parts = [tag("p", text, class_="warning") for text in run.warnings()]
    parts.append(
        tag(
            "p",
            f"Whenever the hold-out was evaluated, {run.images} untouched images were, too. These watched images "
            "decide nothing: no peak, no end of a cycle. So they stay untouched, and the untouched score above is over "
            "all untouched images, these among them.",
            class_="note",
        )
    )
    if run.holdout:
        places = [float(place) for place in range(len(run.holdout) + 1)]
        lines = [
            Line("hold-out", "blue", places, [0.0, *run.holdout]),
            Line(f"{run.images} watched images", "orange", places, [0.0, *run.untouched]),
        ]
        parts += [
            _words(run),
            tag(
                "div",
                chart(
                    lines,
                    title="Gain from the start, points of mIoU",
                    x_label="looks: adversarial iterations, over all cycles",
                    bands=_bands(run.cycles),
                    level=(0.0, "the start"),
                    tip=signed,
                ),
                class_="charts",
            ),
        ]
    return join(*parts)


def _words(run: Looks) -> Markup:
    """The correlation, the signs and the chosen model's gains in a sentence each."""
    count, number = run.disagreeing
    r = run.correlation
    correlated = "no correlation, with too few looks or a gain that is constant"
    if r is not None:
        correlated = f"the two gains have the correlation {signed(r)}"
    text = f"{number} looks: {correlated}; in {count} their signs differ."
    if run.chosen:
        holdout, untouched = map(signed, run.chosen)
        text += f" The chosen model: {holdout} on the hold-out, {untouched} on the watched images."
    return tag("p", text)


def _bands(cycles: Sequence[int]) -> list[tuple[float, float]]:
    """The looks of every other cycle."""
    bands, place = [], 0
    for i, (_, group) in enumerate(itertools.groupby(cycles)):
        count = sum(1 for _ in group)
        if i % 2:
            bands.append((place + 0.5, place + count + 0.5))
        place += count
    return bands


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
