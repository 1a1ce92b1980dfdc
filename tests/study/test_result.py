"""What a study keeps of a run's journal and counts, on journals written by hand."""

from typing import Any

import numpy as np
import pytest

from load_tf.study.result import GROUPS, counts_by_group, what_happened

pytestmark = pytest.mark.portable


def cycle(number: int, iterations: int, peak: int | None = None, distance: float = 0.5) -> list[dict[str, Any]]:
    """The events of one: its updates, its end, its peak."""
    updates = [
        {"event": "update", "cycle": number, "iteration": i + 1, "gradient_norm": 2.0 + i, "distance": distance}
        for i in range(iterations)
    ]
    end = {"event": "cycle_end", "cycle": number, "iteration": iterations, "reason": "patience"}
    found = [] if peak is None else [{"event": "peak", "cycle": number, "iteration": peak, "miou": 0.5}]
    return [*updates, end, *found]


def test_it_went_back_where_a_cycle_that_another_followed_did_not_end_on_its_peak() -> None:
    on_peak, before_end, fruitless = cycle(0, 3, peak=3), cycle(1, 3, peak=2), cycle(2, 3)
    journal = [*on_peak, *before_end, *fruitless, *cycle(3, 3)]
    assert what_happened(journal, goes_back=True)["went_back"] == 2
    # Nothing follows the last cycle.
    assert what_happened([*on_peak, *before_end], goes_back=True)["went_back"] == 0
    assert what_happened([*before_end, *on_peak], goes_back=True)["went_back"] == 1
    # An average of the weights is the peak: the weights themselves are elsewhere.
    assert what_happened([*on_peak, *before_end], goes_back=True, averages=True)["went_back"] == 1
    # Updates that moved nothing leave nothing to go back from.
    assert what_happened([*cycle(0, 3, distance=0.0), *on_peak], goes_back=True)["went_back"] == 0
    assert what_happened(journal, goes_back=False)["went_back"] is None


def test_measures_by_iteration_and_epoch_and_the_sets_that_were_aggregated() -> None:
    journal = [
        {"event": "buffer", "cycle": -1, "sets": ["g0"]},
        {
            "event": "discriminator",
            "cycle": 0,
            "epoch": 1,
            "training_loss": 0.7,
            "loss": 0.6123456789,
            "pair_accuracy": 0.5,
        },
        *cycle(0, 2),
        {"event": "buffer", "cycle": 0, "sets": ["g0", "ge0_0"]},
        {"event": "discriminator", "cycle": 1, "epoch": 1, "training_loss": None, "loss": 0.5, "pair_accuracy": 1.0},
        {"event": "buffer", "cycle": 1, "sets": ["g0", "ge0_0", "ge0_1"]},
        {"event": "update", "cycle": 1, "iteration": 1, "gradient_norm": float("nan"), "path_length": 0.25},
    ]
    found = what_happened(journal, goes_back=True)
    assert found["updates_of_iterations"] == {
        "gradient_norm": [2.0, 3.0, None], "path_length": [None, None, 0.25], "changed_share": [None] * 3
    }  # fmt: skip
    assert found["discriminator_epochs"] == {
        "training_loss": [0.7, None], "loss": [0.612346, 0.5], "pair_accuracy": [0.5, 1.0]
    }  # fmt: skip
    assert found["aggregated"] == {
        "buffers": [["g0"], ["g0", "ge0_0"], ["g0", "ge0_0", "ge0_1"]], "end_models": 2
    }  # fmt: skip


def test_counts_are_summed_by_label() -> None:
    counts = np.arange(10).reshape(5, 2)
    found, labels = counts_by_group(counts, ["b", "a", "b", "c", "a"])
    assert labels == ["b", "a", "c"]
    np.testing.assert_array_equal(found, [counts[0] + counts[2], counts[1] + counts[4], counts[3]])
    same, none = counts_by_group(counts, None)
    assert none is None
    np.testing.assert_array_equal(same, counts)


@pytest.mark.parametrize("labelled", [False, True])
def test_a_result_stays_small(labelled: bool) -> None:
    counts = np.random.default_rng(0).integers(0, 99, (2 * GROUPS + 100, 3))
    found, labels = counts_by_group(counts, [f"{i}" for i in range(len(counts))] if labelled else None)
    assert found.shape == (GROUPS, 3) and (found.sum(0) == counts.sum(0)).all()
    if labelled:
        assert labels is not None and len(labels) == GROUPS and labels[0] == "0 to 1"
        np.testing.assert_array_equal(found[0], counts[:2].sum(0))
