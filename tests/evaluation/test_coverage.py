"""Do the intervals hold the true gain as often as they say? 400 simulated videos and 400 simulated studies."""

import functools

import numpy as np
from scipy.special import ndtri

from load_tf.evaluation.bootstrap import counts_of, mean_gain_over_runs, paired_bootstrap
from load_tf.evaluation.miou import iou_of_counts, mean_iou_of_truth

SIMULATIONS = 400
RUN, FRAME = 0.02, 0.02
"""What a run and a frame change of the second model's share of right pixels, standard deviations."""


def autocorrelated(random: np.random.Generator, frames: int, correlation: float) -> np.ndarray:
    """AR(1) of variance 1."""
    noise = random.standard_normal(frames)
    noise[1:] *= np.sqrt(1 - correlation**2)
    for t in range(1, frames):
        noise[t] += correlation * noise[t - 1]
    return noise


def models(random: np.random.Generator, *effects: np.ndarray) -> list[np.ndarray]:
    """Confusion matrices [N, 2, 2] of a first model and of one for each of `effects`, all on the same N frames.

    A road of some 600 pixels a frame and a car of some 150. The first model has 8 in 10 of a class's pixels right, more
    or less by the frame; another has a hundredth more right, and its effect, one number for each frame.
    """
    frames = len(effects[0])
    truth = np.stack([random.integers(400, 800, frames), random.integers(50, 250, frames)], axis=1)
    difficulty = 0.05 * random.standard_normal(frames)
    found = []
    for share in (0.8 + difficulty, *(0.81 + difficulty + effect for effect in effects)):
        right = np.rint(truth * share.clip(0, 1)[:, None]).astype(np.int64)
        confusion = np.zeros((frames, 2, 2), np.int64)
        confusion[:, [0, 1], [0, 1]] = right
        confusion[:, [0, 1], [1, 0]] = truth - right
        found.append(confusion)
    return found


@functools.cache
def true_gain(run: float = 0.0) -> float:
    """The mean over many runs of the gain on many frames; `run` is what one run changes, a standard deviation."""
    random = np.random.default_rng(1)
    shifts = run * ndtri((np.arange(50) + 0.5) / 50)
    gains = []
    for shift in shifts:
        before, after = models(random, shift + FRAME * random.standard_normal(20_000))
        gains.append(mean_iou_of_truth(after) - mean_iou_of_truth(before))
    return float(np.mean(gains))


def share_covered(grouped: bool, frames: int = 600, clip: int = 30, simulations: int = SIMULATIONS) -> float:
    """Of the intervals of videos in which a frame resembles the next; groups are clips of it, end to end."""
    inside = 0
    for simulation in range(simulations):
        random = np.random.default_rng([2, simulation])
        before, after = models(random, FRAME * autocorrelated(random, frames, 0.5))
        groups = np.arange(frames) // clip if grouped else None
        found = paired_bootstrap(before, after, groups=groups, draws=400 if grouped else 200, seed=simulation)
        inside += found.miou_low <= true_gain() <= found.miou_high
    return inside / simulations


def test_intervals_over_clips_of_a_video_hold_the_gain_and_over_frames_do_not() -> None:
    assert 0.93 <= share_covered(grouped=True) <= 0.97
    # By theory 74 %: the variance of a sum is three times that of independent frames.
    assert share_covered(grouped=False, simulations=100) < 0.85


def study(simulation: int, clips: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Counts [S, N, 6] of three runs on the same clips of five frames each, before and after, and every row's clip."""
    random = np.random.default_rng([3, simulation])
    shared = np.repeat(FRAME * random.standard_normal(clips), 5)
    before, *after = models(random, *(shared + RUN * random.standard_normal() for _ in range(3)))
    return np.stack([counts_of(before)] * 3), np.stack([counts_of(one) for one in after])


def seeds_resampled(before: np.ndarray, after: np.ndarray, seed: int) -> tuple[float, float]:
    """The way not to do it: clips and the three runs both drawn with replacement, percentiles of the draws."""
    random = np.random.default_rng(seed)
    before, after = (side.reshape(3, -1, 5, 6).sum(2) for side in (before, after))
    clips = before.shape[1]
    weights = random.multinomial(clips, np.full(clips, 1 / clips), size=400)
    runs = random.multinomial(3, np.full(3, 1 / 3), size=400) / 3
    scores = [iou_of_counts(*np.split(weights @ side, 3, axis=-1)).mean(-1) for side in (before, after)]
    low, high = np.quantile(((scores[1] - scores[0]).T * runs).sum(1), (0.025, 0.975))
    return float(low), float(high)


def test_t_intervals_over_three_runs_hold_the_gain_and_resampled_runs_do_not() -> None:
    clip = np.arange(100) // 5
    inside = {"t": 0, "resampled": 0}
    for simulation in range(SIMULATIONS):
        before, after = study(simulation)
        found = mean_gain_over_runs(before, after, groups=clip, draws=300, seed=simulation)
        assert found.kind == "t over 3 seeds and 20 groups"
        inside["t"] += found.low <= true_gain(RUN) <= found.high
        low, high = seeds_resampled(before, after, simulation)
        inside["resampled"] += low <= true_gain(RUN) <= high
    assert 0.93 <= inside["t"] / SIMULATIONS <= 0.97, inside
    assert inside["resampled"] / SIMULATIONS < 0.9, inside
