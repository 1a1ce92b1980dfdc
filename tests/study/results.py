"""Results of runs of a study, as a test wants them; nothing is imported, so that a process that writes one is quick."""

from typing import Any

CLASSES = 3


def result(
    before: float = 0.5, after: float = 0.6, holdout: float = 0.55, seed: int = 0, rate: float = 0.1, curve: int = 2
) -> dict[str, Any]:
    """A result whose counts give these untouched mIoU: every class has IoU = correct / 200 of 100 pixels a group."""
    return {
        "method": "m", "dataset": "d", "class_names": ["a", "b", "c"], "seed": seed, "learning_rate": rate,
        "updates": 4, "holdout": {"images": 5, "before": 0.5, "after": holdout},
        "untouched": {"images": 4, "before": before, "after": after, "low": 0.0, "high": 0.2},
        "class_gains": [0.1, None, 0.3], "curve": [0.4] * curve,
        "cycle_ends": ["patience", "lower_bound"] if curve else [],
        "pair_accuracy": [0.7, 0.9], "warnings": [], "seconds": {"stage_one": 9.0, "evaluation": 60.0}, "peak_mib": 100,
        "counts_before": counts(before), "counts_after": counts(after), "groups": ["w", "x", "y", "z"],
        "went_back": 1 if curve else None, "aggregated": {"buffers": [["g0"], ["g0", "ge0_0"]], "end_models": 1},
        "updates_of_iterations": {"path_length": [0.5] * curve},
    }  # fmt: skip


def counts(iou: float) -> list[list[int]]:
    """Correct, true and predicted pixels of every class, in four groups that are alike."""
    correct = round(2000 * iou / (1 + iou))
    return [[correct] * CLASSES + [1000] * (2 * CLASSES)] * 4
