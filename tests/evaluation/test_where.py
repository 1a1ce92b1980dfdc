"""Where a gain is, from counts that were made up, against the bootstrap of whole images."""

import re

import numpy as np
import pytest

from load_tf.evaluation.bootstrap import counts_of, paired_bootstrap
from load_tf.evaluation.shapes import WIDTHS, Shapes, zeros
from load_tf.evaluation.where import Measured, text, where

NAMES = ("road", "pole, thin", "sky")


def sides(images: int = 12) -> tuple[Measured, Measured]:
    """Both models on random pixels that are all within the widest trimap; the narrower ones hold a part of them."""
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 3, (images, 400))
    found = []
    for wrong in (0.3, 0.2):
        predicted = np.where(generator.random(truth.shape) < wrong, generator.integers(0, 3, truth.shape), truth)
        parts = []
        for share in (100, 200, 400):
            matrices = np.zeros((images, 3, 3), np.int64)
            for matrix, t, p in zip(matrices, truth, predicted, strict=True):
                np.add.at(matrix, (t[:share], p[:share]), 1)
            parts.append(matrices)
        shapes = zeros(images, 3)
        for i, matrices in enumerate(parts):
            shapes.trimap[:, i] = counts_of(matrices).reshape(images, 3, 3)
        found.append((parts[-1], shapes))
    return found[0], found[1]


@pytest.mark.parametrize("groups", [None, [i // 3 for i in range(12)]])
def test_a_trimap_of_everything_has_the_gain_and_interval_of_the_table(groups: list[int] | None) -> None:
    before, after = sides()
    found = where(NAMES, before, after, groups=groups, draws=500, seed=3)
    assert found is not None and found["images"] == 12
    expected = paired_bootstrap(before[0], after[0], groups=groups, draws=500, seed=3)
    widest = found["measures"][len(WIDTHS) - 1]
    assert widest["name"] == f"mIoU within {WIDTHS[-1]} pixels of a boundary" and widest["pixels"] == 100
    for name, value in (
        ("gain", expected.miou_gain),
        ("gain_low", expected.miou_low),
        ("gain_high", expected.miou_high),
    ):
        assert widest[name] == pytest.approx(100 * value, abs=1e-9)
    assert widest["gain"] > 0 and widest["gain_low"] < widest["gain"] < widest["gain_high"]
    narrow = found["measures"][0]
    assert narrow["pixels"] == 25 and narrow["gain"] != widest["gain"]
    elsewhere = found["measures"][len(WIDTHS)]
    assert elsewhere["pixels"] == 0 and elsewhere["baseline"] is elsewhere["gain"] is elsewhere["gain_low"] is None


def test_only_the_chosen_images_count() -> None:
    before, after = sides()
    chosen = [1, 5, 7]
    part = [(side[0][chosen], Shapes(*(counts[chosen] for counts in side[1]))) for side in (before, after)]
    labels = [i % 4 for i in range(12)]
    some = where(NAMES, before, after, chosen=chosen, groups=labels, draws=50)
    assert some == where(NAMES, part[0], part[1], groups=[labels[i] for i in chosen], draws=50)
    assert some != where(NAMES, before, after, groups=labels, draws=50)


def test_outlines_pieces_and_proportions() -> None:
    """Two images of 100 pixels; road is 60 % of the truth and 75 % of what is predicted, then 65 %."""
    matrices = np.array([[[60, 0, 0], [15, 5, 0], [0, 0, 20]], [[60, 0, 0], [5, 15, 0], [0, 0, 20]]])
    models = []
    for matrix, right in zip(matrices, (2, 8), strict=True):
        shapes = zeros(2, 3)
        # In the first image road and pole have boundaries, in the second road alone, and all of it is right.
        shapes.boundary[0, :, 1], shapes.boundary[0, :, 0] = (10, right, 10, right), (10, 10, 10, 10)
        shapes.boundary[1, :, 0] = 10
        shapes.components[:, 0, 1] = 3
        shapes.components[:, 1, 1] = right
        models.append((np.stack([matrix, matrix]), shapes))
    found = where(NAMES, models[0], models[1], draws=10)
    assert found is not None
    f1, wrong_share = found["measures"][-2:]
    # Images' means (1 + 0.2) / 2 and 1, then (1 + 0.8) / 2 and 1.
    assert (f1["name"], f1["baseline"], f1["load"]) == ("boundary F1", pytest.approx(80), pytest.approx(95))
    assert f1["gain"] == pytest.approx(15) and f1["gain_low"] is None
    assert (wrong_share["baseline"], wrong_share["load"]) == (pytest.approx(15), pytest.approx(5))
    pole = found["classes"]["pole, thin"]
    assert pole["boundary_f1"] == pytest.approx([20, 80]) and pole["components"] == [6, 4, 16]
    assert pole["proportion"] == pytest.approx([20, 5, 15])
    assert found["classes"]["sky"]["boundary_f1"] == [None, None]
    assert "no interval" in found["notes"][-1]


def test_a_model_alone_has_no_gain() -> None:
    before, _ = sides()
    found = where(NAMES, before)
    assert found is not None
    assert {measure[name] for measure in found["measures"] for name in ("load", "gain", "gain_low")} == {None}
    shown = text(found)
    first = found["measures"][0]
    assert re.search(rf"mIoU within 3 pixels of a boundary +{first['baseline']:.2f} +25.0 %\n", shown)
    assert "pole, thin" in shown and "no interval" not in shown
    void = (np.zeros((2, 3, 3), np.int64), zeros(2, 3))
    assert where(NAMES, void) is None and where(NAMES, before, chosen=[]) is None
