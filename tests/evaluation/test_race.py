"""A race stops early, and hardly ever with another answer than all images give."""

import numpy as np
import pytest

from load_tf.evaluation import race as module
from load_tf.evaluation.miou import mean_iou_of_truth
from load_tf.evaluation.race import Bounds, Estimate, decided, estimate, race, stages

K = 4
ERROR = 0.02


def truth_and_model(images: int, seed: int) -> np.ndarray:
    """Matrices of a model on images of up to 1,000 pixels: a class everywhere, the last in one image of five."""
    draw = np.random.default_rng(seed)
    there = draw.random((images, K)) < np.linspace(1.0, 0.2, K)
    truth = np.where(there, draw.integers(20, 250, (images, K)), 0)
    found = np.zeros((images, K, K), np.int64)
    for i, k in np.ndindex(images, K):
        right = draw.binomial(truth[i, k], draw.beta(8, 2))
        found[i, k, k] = right
        found[i, k, (k + 1) % K] = truth[i, k] - right
    return found


def changed(reference: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Another model: of every image a share of the right pixels, larger or smaller by chance, becomes wrong or wrong
    ones right; in some images much, in most little."""
    draw = np.random.default_rng(seed)
    found = reference.copy()
    for i, k in np.ndindex(*reference.shape[:2]):
        moved = int(draw.normal(share, 3 * abs(share) + 0.02) * draw.gamma(0.5, 2.0) * reference[i, k].sum())
        moved = int(np.clip(moved, -reference[i, k, (k + 1) % K], reference[i, k, k]))
        found[i, k, k] -= moved
        found[i, k, (k + 1) % K] += moved
    return found


def played(reference: np.ndarray, other: np.ndarray, bounds: Bounds, races: int, error: float = ERROR) -> np.ndarray:
    """Of as many races: whether each stopped, whether with a wrong answer, and the share of images it looked at."""
    score = mean_iou_of_truth(other)
    rows = []
    for number in range(races):
        miou, found, seen = race(reference, bounds, error, 4, (0, number), lambda wanted: other[wanted])
        if found is not None:
            np.testing.assert_array_equal(found, other)
            assert miou == score and seen == len(other)
        wrong = found is None and (score > bounds.best or (score > bounds.floor) != (miou > bounds.floor))
        rows.append((found is None, wrong, seen / len(other)))
    return np.mean(rows, axis=0)


def test_looks_are_at_whole_batches_of_an_eighth_a_quarter_and_a_half() -> None:
    assert stages(800, 8) == [104, 200, 400]
    assert stages(200, 4) == [32, 52, 100]
    assert stages(64, 4) == [32]
    assert stages(63, 4) == []


def test_an_estimate_of_all_images_is_their_score() -> None:
    reference = truth_and_model(30, 0)
    other = changed(reference, 0.1, 1)
    found = estimate(reference, np.arange(30), other)
    assert found.miou == pytest.approx(mean_iou_of_truth(other), abs=1e-12) and found.error == 0


def test_estimates_are_right_on_average_and_as_far_off_as_they_say() -> None:
    reference = truth_and_model(120, 2)
    other = changed(reference, 0.02, 3)
    score = mean_iou_of_truth(other)
    draw = np.random.default_rng(4)
    drawn = [draw.permutation(120)[:40] for _ in range(1500)]
    found = [estimate(reference, seen, other[seen]) for seen in drawn]
    off = np.array([guess.miou for guess in found]) - score
    assert abs(off.mean()) < 0.1 * off.std()
    assert np.sqrt(np.mean([guess.error**2 for guess in found])) == pytest.approx(off.std(), rel=0.1)


def test_what_is_asked() -> None:
    bounds, sure = Bounds(0.55, 0.60), 0.001
    assert decided(Estimate(0.58, sure), bounds, 40, ERROR)
    assert decided(Estimate(0.50, sure), bounds, 40, ERROR)  # surely fallen
    assert not decided(Estimate(0.551, sure), bounds, 40, ERROR)  # it may have, or not
    assert not decided(Estimate(0.599, sure), bounds, 40, ERROR) and not decided(Estimate(0.7, sure), bounds, 40, ERROR)
    # The smaller the error, and the fewer images, the farther it has to be.
    close = Estimate(0.5965, sure)
    assert decided(close, bounds, 400, ERROR) and not decided(close, bounds, 400, 1e-6)
    assert not decided(close, bounds, 5, ERROR)


@pytest.mark.parametrize("share", [0.004, 0.04, -0.012])
def test_wrong_answers_are_as_rare_as_is_asked(share: float) -> None:
    """Also where the model is a peak by a hair: then every race that stops is wrong."""
    reference = truth_and_model(160, 5)
    other = changed(reference, share, 6)
    score = mean_iou_of_truth(other)
    for bounds in (Bounds(0.1, score - 1e-6), Bounds(score - 1e-6, 0.95), Bounds(score + 1e-6, 0.95)):
        stopped, wrong, _ = played(reference, other, bounds, 400)
        assert wrong <= ERROR
        if bounds.best < score:
            assert stopped == wrong
    # The control: nothing is asked but whether the estimate is below, and half of the stops are wrong.
    naive = np.mean([
        estimate(reference, seen, other[seen]).miou < score - 1e-6
        for seen in (np.random.default_rng(n).permutation(160)[:20] for n in range(400))
    ])  # fmt: skip
    assert naive > 0.25


def test_a_model_that_is_far_off_is_known_early_and_a_near_one_is_looked_at_in_full() -> None:
    reference = truth_and_model(160, 7)
    bounds = Bounds(mean_iou_of_truth(reference) - 0.3, mean_iou_of_truth(reference))
    far = played(reference, changed(reference, 0.1, 8), bounds, 50)
    near = played(reference, changed(reference, 0.0, 9), bounds, 50)
    assert far[0] == 1 and far[1] == 0 and far[2] < 0.4
    assert near[2] > 0.9


def test_every_look_draws_images_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = truth_and_model(64, 10)
    orders: list[tuple[int, ...]] = []

    def evaluate(wanted: np.ndarray) -> np.ndarray:
        orders.append(tuple(wanted))
        return reference[wanted]

    monkeypatch.setattr(module, "decided", lambda *_: True)
    for key in ((0, 5), (0, 10), (1, 5), (0, 5)):
        race(reference, Bounds(0.1, 0.9), ERROR, 4, key, evaluate)
    assert [len(order) for order in orders] == [32] * 4
    assert orders[0] == orders[3] and len(set(orders)) == 3
