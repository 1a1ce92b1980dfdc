"""An image's influence against brute force, and that videos are told from single images."""

import numpy as np
import pytest

from load_tf.evaluation.neighbours import Neighbours, auto_correlation, influences, neighbours
from load_tf.randomness import generator

K = 4


def models(images: int = 200, seed: int = 0, likeness: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two int [N, K, K] of the same truth; what the second does better follows a chain of such auto-correlation."""
    random = generator(seed, "neighbours", images)
    truth = random.integers(200, 400, (images, K))
    truth[:, 3] = random.integers(0, 2, images) * 50
    level = random.normal(size=images)
    for i in range(1, images):
        level[i] = likeness * level[i - 1] + np.sqrt(1 - likeness**2) * level[i]

    def confusion(right: np.ndarray) -> np.ndarray:
        found = np.zeros((images, K, K), np.int64)
        for k in range(K):
            found[:, k, k] = np.round(right * truth[:, k])
            found[:, k, (k + 1) % K] = truth[:, k] - found[:, k, k]
        return found

    return confusion(np.full(images, 0.6)), confusion(np.clip(0.65 + 0.05 * level, 0, 1))


def gain(before: np.ndarray, after: np.ndarray, weights: np.ndarray) -> float:
    """In mIoU over the classes of the truth, class by class in plain Python."""
    total = 0.0
    classes = [k for k in range(before.shape[1]) if before[:, k].sum()]
    for sign, matrices in ((-1, before), (1, after)):
        summed = np.einsum("n,nij->ij", weights, matrices)
        for k in classes:
            union = sum(summed[k]) + sum(summed[:, k]) - summed[k, k]
            total += sign * summed[k, k] / union / len(classes)
    return total


def test_the_influence_is_the_derivative_by_the_images_weight() -> None:
    before, after = models(30)
    # A class that is nowhere in the truth and that one of the models sees: it counts for neither.
    wider = [np.pad(matrices, ((0, 0), (0, 1), (0, 1))) for matrices in (before, after)]
    wider[1][:, 0, 4], wider[1][:, 0, 0] = wider[1][:, 0, 0] // 7, wider[1][:, 0, 0] - wider[1][:, 0, 0] // 7
    for pair in ((before, after), tuple(wider)):
        found = influences(*pair)
        for i in range(30):
            step = np.zeros(30)
            step[i] = 1e-4
            slope = (gain(*pair, 1 + step) - gain(*pair, 1 - step)) / 2e-4
            assert found[i] == pytest.approx(slope, rel=1e-5, abs=1e-10)
        assert found.sum() == pytest.approx(0, abs=1e-12)


def test_to_first_order_it_is_what_leaving_the_image_out_costs() -> None:
    before, after = models(200)
    whole = gain(before, after, np.ones(200))
    lost = np.array([whole - gain(before, after, np.arange(200) != i) for i in range(200)])
    found = influences(before, after)
    assert np.corrcoef(lost, found)[0, 1] > 0.999
    np.testing.assert_allclose(found, lost, atol=0.05 * np.abs(lost).max())
    assert np.abs(lost).max() > 1e-4


def test_auto_correlation_by_hand() -> None:
    # Mean 2, apart -1 0 1 0 -1 1 0: products 0 0 0 0 -1 0, squares 4.
    assert auto_correlation(np.array([1, 2, 3, 2, 1, 3, 2])) == pytest.approx(-0.25)
    # Mean 0: products 1 1 -1 1 1 over squares 6.
    assert auto_correlation(np.array([1, 1, 1, -1, -1, -1])) == pytest.approx(3 / 6)
    assert auto_correlation(np.array([5, 5, 5, 5])) is None and auto_correlation(np.array([1, 2])) is None


def test_frames_of_a_video_are_alike_and_single_images_are_not() -> None:
    video, single = neighbours(*models(200, likeness=0.7)), neighbours(*models(200))
    assert video.lag1 is not None and single.lag1 is not None
    assert video.lag1 == pytest.approx(0.7, abs=0.12) and abs(single.lag1) < 2 / np.sqrt(200)
    text = video.warning(grouped=False)
    assert text is not None and f"(auto-correlation {video.lag1:.2f} at distance 1)" in text and "folder.groups" in text
    assert video.warning(grouped=True) is None and single.warning(grouped=False) is None
    shuffled = generator(1, "shuffle").permutation(200)
    before, after = models(200, likeness=0.7)
    assert not neighbours(before[shuffled], after[shuffled]).alike, "it is the order that counts"


def test_both_thresholds_have_to_be_passed() -> None:
    assert Neighbours(0.21, 101).alike and not Neighbours(0.21, 50).alike
    assert not Neighbours(0.19, 10_000).alike and not Neighbours(None, 100).alike
    assert not Neighbours(-0.9, 1000).alike


def test_equal_models_and_void_images_have_no_neighbours() -> None:
    before, _ = models(10)
    assert neighbours(before, before) == Neighbours(None, 10)
    void = np.zeros((5, K, K), np.int64)
    assert neighbours(void, void) == Neighbours(None, 5)
    with pytest.raises(ValueError, match="expected"):
        influences(before, before[:5])
