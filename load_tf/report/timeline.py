"""A run's journal as the walk of Figure 1: cycles, peaks, end models and buffers along one running iteration.

The journal counts iterations within a cycle. Here they are counted over the whole run, by the evaluations they ended
with: the n-th evaluation of the run has the running iteration n.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

Event = Mapping[str, Any]
"""A line of the journal: "event" and its values."""


@dataclasses.dataclass
class Cycle:
    """One cycle: what it started from, how it went, and how it ended.

    mIoU is a fraction everywhere.
    """

    number: int
    start: int
    """The running iteration it went back at: that of the last evaluation before it."""
    start_miou: float
    """`mu_s`, of the model it started from."""
    buffer: tuple[str, ...]
    """The models whose label maps the discriminator was trained on before it; the start model's is the first."""
    discriminator: list[Event]
    """The events of that training: `discriminator` for an epoch, `discriminator_end` for what was kept."""
    miou: list[float] = dataclasses.field(default_factory=list)
    """Of every iteration, from running iteration start + 1 on; NaN if it was not finite."""
    untouched: list[float] = dataclasses.field(default_factory=list)
    """Of the same models on the watched images, moved so that the run starts at the hold-out's; NaN if unknown."""
    iterations: list[int] = dataclasses.field(default_factory=list)
    """Their numbers within the cycle."""
    peak: Event | None = None
    """The peak it found, if it did."""
    end: Event | None = None
    """How it ended; None in the cycle that is running."""

    @property
    def last(self) -> int:
        """The running iteration of its last evaluation."""
        return self.start + len(self.miou)

    def running(self, iteration: int) -> int:
        """The running iteration of one of its iterations; the last evaluated one for an iteration that had none."""
        if iteration in self.iterations:
            return self.start + self.iterations.index(iteration) + 1
        return self.last


@dataclasses.dataclass(frozen=True)
class Timeline:
    """A run, or as much of it as there is."""

    start_miou: float
    """mIoU of the model the run began with; NaN before it was evaluated."""
    upper: float
    """`beta_u`."""
    lower: float
    """`beta_l`."""
    cycles: tuple[Cycle, ...]

    @property
    def last(self) -> int:
        """The running iteration of the last evaluation."""
        return self.cycles[-1].last if self.cycles else 0


def timeline(events: Iterable[Event]) -> Timeline:
    """Reads the walk out of a journal; events it does not know are passed over.

    Args:
      events: journal lines in their order: `start`, `evaluate`, `peak`, `cycle_end`, `buffer`, `discriminator`,
        `discriminator_end`.
    """
    reader = _Reader()
    for event in events:
        handle = getattr(reader, f"on_{event['event']}", None)
        if handle:
            handle(event)
    return Timeline(reader.start_miou, reader.upper, reader.lower, tuple(reader.cycles))


def finite_or_nan(value: float | None) -> float:
    """A journal's number; what was not finite stands there as null."""
    return float(value) if value is not None and math.isfinite(value) else math.nan


class _Reader:
    def __init__(self) -> None:
        self.start_miou = self.level = self.upper = self.lower = self.moved = math.nan
        self.cycles: list[Cycle] = []
        self.buffer: tuple[str, ...] = ()
        self.epochs: list[Event] = []

    def on_start(self, event: Event) -> None:
        self.start_miou = self.level = finite_or_nan(event["miou"])
        self.moved = self.start_miou - finite_or_nan(event.get("untouched"))
        self.upper, self.lower = event["upper"], event["lower"]

    def on_buffer(self, event: Event) -> None:
        self.buffer = tuple(event["sets"])

    def on_discriminator(self, event: Event) -> None:
        self.epochs.append(event)

    on_discriminator_end = on_discriminator

    def on_evaluate(self, event: Event) -> None:
        cycle = self._cycle(event)
        cycle.miou.append(finite_or_nan(event["miou"]))
        cycle.untouched.append(finite_or_nan(event.get("untouched")) + self.moved)
        cycle.iterations.append(event["iteration"])

    def on_cycle_end(self, event: Event) -> None:
        self._cycle(event).end = event

    def on_peak(self, event: Event) -> None:
        self._cycle(event).peak = event
        self.level = event["miou"]

    def _cycle(self, event: Event) -> Cycle:
        """The cycle an event belongs to; its first event begins it."""
        if not self.cycles or self.cycles[-1].number != event["cycle"]:
            start = self.cycles[-1].last if self.cycles else 0
            self.cycles.append(Cycle(event["cycle"], start, self.level, self.buffer, self.epochs))
            self.epochs = []
        return self.cycles[-1]
