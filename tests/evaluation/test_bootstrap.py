"""The bootstrap against resampling whole images one by one, and its coverage of a known gain."""

import math
import subprocess
import sys

import numpy as np
import pytest

from load_tf import randomness
from load_tf.evaluation import bootstrap
from load_tf.evaluation.bootstrap import paired_bootstrap, share_of_draws_won
from load_tf.evaluation.miou import iou, mean_iou

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
        gains.append(iou(other[chosen].sum(0)) - iou(baseline[chosen].sum(0)))
        mean_gains.append(mean_iou(other[chosen]) - mean_iou(baseline[chosen]))
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
