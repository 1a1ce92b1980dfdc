"""What a study keeps of a run, from its journal and its confusion matrices; plain values, fit for a small JSON file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

GROUPS = 200
"""A result holds counts of at most so many groups of untouched images: it is to stay a small file."""

Event = Mapping[str, Any]


def what_happened(journal: Sequence[Event], *, goes_back: bool, averages: bool = False) -> dict[str, Any]:
    """The measures of a game that say whether there was something to follow, and whether the method's parts acted.

    Args:
      journal: the run's events.
      goes_back: whether the method's cycles begin at the start model again.
      averages: whether a moving average of the weights is evaluated: then a peak is never what a cycle ended on.

    Returns:
      By name:
        `updates_of_iterations`: lists with a number (None where it isn't finite or an older journal lacks it) for every
          adversarial iteration: `gradient_norm`, `path_length`, `changed_share`.
        `discriminator_epochs`: likewise for every epoch: `training_loss`, `loss`, `pair_accuracy`.
        `went_back`: how many cycles that another one followed did not end on the weights the next one began with; None
          for a method that never goes back.
        `aggregated`: `buffers`, the names in the buffer at every training of the discriminator, and `end_models`, how
          many sets of end models' maps were in any of them.
    """
    updates = [event for event in journal if event["event"] == "update"]
    epochs = [event for event in journal if event["event"] == "discriminator"]
    buffers = [list(event["sets"]) for event in journal if event["event"] == "buffer"]
    return {
        "updates_of_iterations": _series(updates, ("gradient_norm", "path_length", "changed_share")),
        "discriminator_epochs": _series(epochs, ("training_loss", "loss", "pair_accuracy")),
        "went_back": _went_back(journal, averages) if goes_back else None,
        "aggregated": {
            "buffers": buffers,
            "end_models": len({name for buffer in buffers for name in buffer if name.startswith("ge")}),
        },
    }


def _series(events: Sequence[Event], names: Sequence[str]) -> dict[str, list[float | None]]:
    return {name: [_number(event.get(name)) for event in events] for name in names}


def _number(value: float | None) -> float | None:
    """Six digits of it: enough to draw, and a third of the file."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _went_back(journal: Sequence[Event], averages: bool) -> int:
    """In how many cycles, but for the last, the model at the end was not the next start model already."""
    found = [event for event in journal if event["event"] == "peak" and not averages]
    peaks = {event["cycle"]: event["iteration"] for event in found}
    # Where no update moved the model from the start, there was nothing to undo.
    moved = {event["cycle"]: event.get("distance") != 0 for event in journal if event["event"] == "update"}
    ends = [event for event in journal if event["event"] == "cycle_end"]
    return sum(moved.get(end["cycle"], True) and peaks.get(end["cycle"]) != end["iteration"] for end in ends[:-1])


def counts_by_group(counts: np.ndarray, labels: Sequence[str] | None) -> tuple[np.ndarray, list[str] | None]:
    """Sums of images' counts over groups, of which neighbours are put together until there are at most `GROUPS`.

    Args:
      counts: int [N, C], `bootstrap.counts_of` N images.
      labels: the group of every image; None if the data set knows none: then consecutive images are put together.

    Returns:
      int [G, C], and the G groups' labels in the order of their first image, or None without labels.
    """
    if labels is None:
        return _neighbours_joined(counts)[0], None
    places: dict[str, int] = {}
    rows = [places.setdefault(label, len(places)) for label in labels]
    sums = np.zeros((len(places), counts.shape[1]), counts.dtype)
    np.add.at(sums, rows, counts)
    joined, bounds = _neighbours_joined(sums)
    names = list(places)
    ends = [*bounds[1:], len(names)]
    spans = [(names[first], names[last - 1]) for first, last in zip(bounds, ends, strict=True)]
    return joined, [first if first == last else f"{first} to {last}" for first, last in spans]


def _neighbours_joined(counts: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Sums [N, C] of consecutive rows, at most `GROUPS` of them, as even as they can be; and where each begins."""
    bounds = np.linspace(0, len(counts), min(GROUPS, len(counts)) + 1).astype(int)[:-1]
    return np.add.reduceat(counts, bounds, axis=0), [int(bound) for bound in bounds]
