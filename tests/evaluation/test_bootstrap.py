"""The bootstrap against resampling whole images one by one, and its coverage of a known gain."""

import math
import subprocess
import sys

import numpy as np
import pytest

from load_tf import randomness
from load_tf.evaluation import bootstrap
from load_tf.evaluation.bootstrap import counts_of, mean_gain_over_runs, paired_bootstrap, share_of_draws_won
from load_tf.evaluation.miou import iou, mean_iou, mean_iou_of_truth

K = 3


def random_confusions(images: int, accuracies: tuple[float, float], seed: int) -> list[np.ndarray]:
    """Two models' matrices on the same truth; class 2 is rare."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 60, (images, K)) * (generator.random((images, K)) < [1.0, 0.7, 0.2])
    models = []
    for accuracy in accuracies:
        confusion = np.zeros((images, K, K), np.int64)
        for k in range(K):
            right = generator.binomial(truth[:, k], accuracy)
            confusion[:, k, k] = right
            confusion[:, k, (k + 1) % 2] += truth[:, k] - right
        models.append(confusion)
    return models


def test_intervals_equal_those_of_resampling_images_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    baseline, other = random_confusions(images=6, accuracies=(0.6, 0.8), seed=3)
    draws, level = 40, 0.9
    monkeypatch.setattr(bootstrap, "_CHUNK_ELEMENTS", 6 * draws)
    found = paired_bootstrap(baseline, other, draws=draws, seed=5, level=level)
    drawn = randomness.generator(5, "paired bootstrap", 6).integers(6, size=(draws, 6))
    gains, mean_gains = [], []
    for chosen in drawn:
        absent = baseline[chosen].sum((0, 2)) == 0
        gains.append(np.where(absent, np.nan, iou(other[chosen].sum(0)) - iou(baseline[chosen].sum(0))))
        mean_gains.append(np.nanmean(gains[-1]))
    assert np.isnan(gains).any(), "a class should be missing from some draw"
    np.testing.assert_allclose(found.low, np.nanquantile(gains, 0.05, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.high, np.nanquantile(gains, 0.95, axis=0), rtol=1e-12)
    assert (found.miou_low, found.miou_high) == pytest.approx(tuple(np.quantile(mean_gains, [0.05, 0.95])))
    np.testing.assert_allclose(found.gain, iou(other.sum(0)) - iou(baseline.sum(0)))
    assert found.miou_gain == pytest.approx(mean_iou(other) - mean_iou(baseline))


def test_pairing_makes_a_constant_gain_certain() -> None:
    # Images differ greatly, but each gains the same from the other model: unpaired, the interval would be wide.
    baseline, _ = random_confusions(images=50, accuracies=(0.5, 0.5), seed=0)
    same = paired_bootstrap(baseline, baseline.copy(), draws=200)
    assert (same.miou_gain, same.miou_low, same.miou_high) == (0.0, 0.0, 0.0)
    other = random_confusions(images=50, accuracies=(0.5, 0.5), seed=0)[1]
    noisy = paired_bootstrap(baseline, other, draws=200)
    assert noisy.miou_high - noisy.miou_low > 0.005


def test_coverage_of_the_expected_gain() -> None:
    inside = 0
    expected = np.mean([np.diff([mean_iou(c) for c in random_confusions(4000, (0.7, 0.75), s)]) for s in range(3)])
    for seed in range(60):
        found = paired_bootstrap(*random_confusions(80, (0.7, 0.75), 100 + seed), draws=300, seed=seed, level=0.8)
        inside += found.miou_low <= expected <= found.miou_high
    assert 38 <= inside <= 57, "an 80 % interval should hold the truth in about 48 of 60 tries"


def test_equal_seeds_give_equal_intervals_and_chunks_draw_different_images(monkeypatch: pytest.MonkeyPatch) -> None:
    models = random_confusions(30, (0.6, 0.65), 1)
    first, again = (paired_bootstrap(*models, draws=100, seed=7) for _ in range(2))
    other = paired_bootstrap(*models, draws=100, seed=8)
    assert (first.miou_low, first.miou_high) == (again.miou_low, again.miou_high)
    assert first.miou_low != other.miou_low
    monkeypatch.setattr(bootstrap, "_CHUNK_ELEMENTS", 30 * 50)
    halves = list(bootstrap._resamples(30, 100, 7))
    assert [len(half) for half in halves] == [50, 50] and (halves[0] != halves[1]).any()
    assert all((half.sum(1) == 30).all() for half in halves)


def test_void_images_and_absent_classes() -> None:
    baseline, other = np.zeros((2, 4, K, K), np.int64)
    void = paired_bootstrap(baseline, other, draws=50)
    assert math.isnan(void.miou_gain) and math.isnan(void.miou_low) and np.isnan(void.high).all()
    baseline[:, 0, 0] = other[:, 0, 0] = 5
    baseline[:, 1, 0] = other[:, 1, 1] = 2
    found = paired_bootstrap(baseline, other, draws=50)
    np.testing.assert_allclose(found.gain, [1 - 5 / 7, 1.0, np.nan])
    np.testing.assert_allclose(found.low, found.gain)


def test_what_is_no_pair_is_refused() -> None:
    baseline, other = random_confusions(5, (0.6, 0.7), 2)
    with pytest.raises(ValueError, match="the truth"):
        paired_bootstrap(baseline, other[::-1], draws=10)
    with pytest.raises(ValueError, match="expected"):
        paired_bootstrap(baseline, other[:4], draws=10)
    with pytest.raises(ValueError, match="expected"):
        paired_bootstrap(baseline[:0], other[:0], draws=10)
    with pytest.raises(ValueError, match="level"):
        paired_bootstrap(baseline, other, draws=10, level=95)


def test_scores_and_tables_do_not_import_tensorflow() -> None:
    code = "import load_tf.evaluation.table, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_share_of_draws_won_is_that_of_the_bootstraps_draws_above_0() -> None:
    """By redrawing; the two are close enough for the share to be neither 0 nor 1."""
    baseline, other = random_confusions(images=12, accuracies=(0.7, 0.72), seed=1)
    drawn = randomness.generator(3, "paired bootstrap", 12).integers(12, size=(500, 12))
    gains = [mean_iou(other[rows]) - mean_iou(baseline[rows]) for rows in drawn]
    expected = np.mean(np.sign(gains) / 2 + 0.5)
    found = share_of_draws_won(baseline, other, draws=500, seed=3)
    assert 0.05 < expected < 0.95
    assert found == pytest.approx(expected, abs=1e-12)
    assert share_of_draws_won(other, baseline, draws=500, seed=3) == pytest.approx(1 - expected, abs=1e-12)
    assert share_of_draws_won(baseline, baseline, draws=50) == 0.5


def three_stray_pixels() -> tuple[np.ndarray, np.ndarray]:
    """101 images of ten classes at IoU 1/3 each; in one, three pixels are taken for an eleventh class, or not."""
    baseline = np.zeros((101, 11, 11), np.int64)
    for k in range(10):
        baseline[:, k, k] = baseline[:, k, (k + 1) % 10] = 500
    baseline[7, 0, 1] -= 3
    baseline[7, 0, 10] = 3
    other = baseline.copy()
    other[7, 0, 1] += 3
    other[7, 0, 10] = 0
    return baseline, other


def test_three_pixels_of_an_absent_class_make_no_gain_no_interval_and_no_draw() -> None:
    baseline, other = three_stray_pixels()
    # The official rule gives them three points, in as many draws as that image is in: nearly two in three, a tie else.
    assert 100 * (mean_iou(other) - mean_iou(baseline)) == pytest.approx(3.03, abs=0.01)
    found = paired_bootstrap(baseline, other, draws=500)
    assert max(map(abs, (found.miou_gain, found.miou_low, found.miou_high))) < 1e-5
    assert math.isnan(found.gain[10]) and math.isnan(found.low[10])
    # Taken for a wrong class of the truth instead, they make it worse by a hair wherever that image is drawn.
    assert share_of_draws_won(baseline, other, draws=2000) == pytest.approx(0.5 * (1 - 1 / 101) ** 101, abs=0.03)
    counts = [counts_of(confusion)[None] for confusion in (baseline, other)]
    over_runs = mean_gain_over_runs(*counts, draws=500)
    assert max(map(abs, (over_runs.gain, over_runs.low, over_runs.high))) < 1e-5


def test_groups_are_drawn_whole() -> None:
    """Against t times the spread of draws of whole groups made here; class 2 is in few groups."""
    baseline, other = random_confusions(images=24, accuracies=(0.6, 0.8), seed=4)
    for model, right in ((baseline, 15), (other, 18)):
        model[:, 2] = 0
        model[:4, 2, 1:] = 20 - right, right
    labels = [f"clip {i // 4}" for i in range(24)]
    found = paired_bootstrap(baseline, other, groups=labels, draws=300, seed=5)
    drawn = randomness.generator(5, "paired bootstrap", 6).integers(6, size=(300, 6))
    gains = []
    for clips in drawn:
        rows = np.concatenate([np.arange(4 * clip, 4 * clip + 4) for clip in clips])
        gains.append(mean_iou_of_truth(other[rows]) - mean_iou_of_truth(baseline[rows]))
    half = 2.570582 * np.std(gains) * math.sqrt(6 / 5)  # t of 5 degrees of freedom, from a table
    assert found.groups == 6
    assert (found.miou_low, found.miou_high) == pytest.approx((found.miou_gain - half, found.miou_gain + half))
    # Of a class that one group alone has, nothing is known about other groups.
    assert np.isfinite(found.gain).all() and np.isfinite(found.low[:2]).all() and np.isnan(found.low[2])
    won = share_of_draws_won(baseline, other, draws=300, seed=5, groups=labels)
    assert won == pytest.approx(np.mean(np.sign(gains) / 2 + 0.5), abs=1e-12)


def test_labels_decide_and_not_the_order_of_images() -> None:
    models = random_confusions(20, (0.6, 0.65), 1)
    labels = [i % 5 for i in range(20)]
    order = sorted(range(20), key=lambda i: labels[i])
    found = paired_bootstrap(*models, groups=labels, draws=50)
    sorted_ = paired_bootstrap(*(model[order] for model in models), groups=sorted(labels), draws=50)
    assert (found.miou_low, found.miou_high) == (sorted_.miou_low, sorted_.miou_high)
    # Groups of copies: the same information as one copy each, not five times as much.
    copies = [np.repeat(model, 5, axis=0) for model in models]
    once = paired_bootstrap(*models, groups=range(20), draws=50)
    five = paired_bootstrap(*copies, groups=np.repeat(np.arange(20), 5).tolist(), draws=50)
    assert (once.miou_low, once.miou_high) == pytest.approx((five.miou_low, five.miou_high))
    alone = paired_bootstrap(*copies, draws=50)
    assert alone.groups is None and alone.miou_high - alone.miou_low < 0.7 * (five.miou_high - five.miou_low)


def test_one_group_has_no_interval_and_labels_must_fit() -> None:
    models = random_confusions(5, (0.6, 0.7), 2)
    found = paired_bootstrap(*models, groups=["a"] * 5, draws=20)
    assert found.groups == 1 and math.isnan(found.miou_low) and math.isfinite(found.miou_gain)
    with pytest.raises(ValueError, match="4 group labels for 5 images"):
        paired_bootstrap(*models, groups=range(4), draws=20)
    with pytest.raises(ValueError, match="4 group labels for 5 images"):
        share_of_draws_won(*models, groups=range(4), draws=20)


def test_over_one_run_the_interval_is_the_paired_bootstraps() -> None:
    baseline, other = random_confusions(30, (0.6, 0.65), 1)
    counts = [counts_of(confusion)[None] for confusion in (baseline, other)]
    for groups, kind in (
        (None, "over images as independent, one seed"),
        (np.arange(30) // 3, "t over 10 groups, one seed"),
    ):
        single = paired_bootstrap(baseline, other, groups=groups, draws=200, seed=3)
        found = mean_gain_over_runs(*counts, groups=groups, draws=200, seed=3)
        assert found.kind == kind and found.spread == 0
        assert (found.gain, found.low, found.high) == pytest.approx(
            (single.miou_gain, single.miou_low, single.miou_high), rel=1e-9
        )


def test_over_runs_without_images_chance_it_is_the_t_interval_of_their_gains() -> None:
    """Images that are all alike leave the runs' chance alone: t of 2 degrees of freedom, by hand."""
    gains = np.array([0.10, 0.20, 0.06])
    before = np.tile([500] * 2 + [1000] * 4, (3, 10, 1))
    after = before.copy()
    for run, gain in enumerate(gains):
        iou_ = 500 / 1500 + gain
        after[run, :, :2] = round(2000 * iou_ / (1 + iou_))
    found = mean_gain_over_runs(before, after, draws=50)
    half = 4.302653 * gains.std(ddof=1) / math.sqrt(3)
    assert found.kind == "t over 3 seeds and images as independent"
    assert (found.gain, found.low, found.high) == pytest.approx((0.12, 0.12 - half, 0.12 + half), abs=2e-3)
    assert found.spread == pytest.approx(gains.std(ddof=1), abs=1e-3)
    # Runs that are all alike leave that of the images.
    same = mean_gain_over_runs(before, np.stack([after[0]] * 3), draws=50)
    assert (same.low, same.high) == pytest.approx((same.gain, same.gain))
    one_group = mean_gain_over_runs(before, after, groups=["a"] * 10, draws=50)
    assert (one_group.low, one_group.kind) == (pytest.approx(found.low), "t over 3 seeds and 1 group")
