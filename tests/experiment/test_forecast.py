"""How long a run is said to take: sums by hand, bounds by brute force, and that measuring changes nothing."""

import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gin
import numpy as np
import pytest

from load_tf.algorithm.lookahead import Lookahead
from load_tf.evaluation.multi_scale import Evaluation
from load_tf.experiment import forecast, images
from load_tf.experiment import plan as experiment_plan
from load_tf.experiment.forecast import Counts, Pace, in_words, most_cycles, most_iterations
from load_tf.game.game import Players
from load_tf.methods.baseline import Baseline
from load_tf.report.terminal import in_minutes
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne
from tests import networks


def cycles_by_brute_force(settings: Lookahead, iterations: int) -> int:
    """The most cycles over all ways a run may go: lengths of cycles, and whether each has a peak."""

    def most(left: int, fruitless: int, cycles: int) -> int:
        if not left or fruitless == settings.max_fruitless_cycles or cycles == settings.max_cycles:
            return cycles
        found = cycles
        for length, peak in itertools.product(range(1, min(left, settings.patience) + 1), (False, True)):
            # One update can't both be a peak and end the cycle below the bound; patience ends it wherever it stands,
            # and so does the end of the budget.
            if peak and length == 1 and settings.patience > 1 and left > 1:
                continue
            found = max(found, most(left - length, 0 if peak else fruitless + 1, cycles + 1))
        return found

    return most(iterations, 0, 0)


@pytest.mark.parametrize("patience", [1, 2, 4])
@pytest.mark.parametrize("fruitless", [1, 2, 3])
@pytest.mark.parametrize("max_cycles", [None, 3])
def test_no_run_has_more_cycles(patience: int, fruitless: int, max_cycles: int | None) -> None:
    settings = Lookahead(patience=patience, max_fruitless_cycles=fruitless, max_cycles=max_cycles)
    for iterations in range(1, 9):
        assert most_cycles(settings, iterations) == cycles_by_brute_force(settings, iterations)


def test_what_bounds_the_iterations() -> None:
    assert most_iterations(Lookahead()) is None
    assert most_iterations(Lookahead(patience=5, max_cycles=3)) == 15
    assert most_iterations(Lookahead(patience=5, max_cycles=3, max_iterations=12)) == 12
    assert most_iterations(Lookahead(patience=5, max_iterations=100)) == 100


COUNTS = Counts(training=40, holdout=10, watched=5, validation=20)
PACE = Pace(label=1.0, learn=2.0, judge=0.5)
JUDGING = DiscriminatorTraining(first_max_epochs=4, max_epochs=3, agreement_batches=2)
UPDATES = AdversarialTraining(batch_size=4, updates_per_iteration=3)


def plan(lookahead: Lookahead, pretrained: bool = True, **changes: Any) -> Any:
    """As much of a plan as the sums take."""
    players = Players(discriminator_training=JUDGING, adversarial=UPDATES)
    parts = {"lookahead": lookahead, "stage_one": StageOne(epochs=2, batch_size=8), "players": players,
             "segmentor": SimpleNamespace(pretrained=pretrained), "evaluation": Evaluation(),
             "experiment": SimpleNamespace(start_from=None), "crop": (64, 64)}  # fmt: skip
    return SimpleNamespace(**{**parts, **changes})


# By hand, in seconds: both models on 20 images; and of a game of 10 iterations in 2 or 8 cycles 11 looks at 15 images,
# 3 or 15 sets of 50 maps, 7 or 25 epochs of 90 maps at 0.5, (30 + 4) or (30 + 16) gradients of 4 images at 2.5.
SCORES = 2 * 20
TWO = SCORES + 11 * 15 + 3 * 50 + 7 * 90 * 0.5 + 34 * 4 * 2.5
EIGHT = SCORES + 11 * 15 + 15 * 50 + 25 * 90 * 0.5 + 46 * 4 * 2.5
BOUNDED = Lookahead(patience=5, max_fruitless_cycles=4, max_iterations=10)


def test_the_sentence_adds_up() -> None:
    assert (TWO, EIGHT) == (1010.0, 2540.0)
    assert in_words(plan(BOUNDED), COUNTS, PACE) == (
        "time: about 17 min for 10 iterations in 2 cycles, 43 min at the most, if cycles end early and there are 8."
    )
    short = Lookahead(patience=10, max_cycles=1)
    one = SCORES + 11 * 15 + 50 + 4 * 90 * 0.5 + 32 * 4 * 2.5
    words = in_words(plan(short), COUNTS, PACE)
    assert words == f"time: about {in_minutes(one)} at the most, for 10 iterations in 1 cycle."


def test_what_comes_before_the_game_is_in_it() -> None:
    """Stage 1: 2 epochs of 5 steps of 8 images at 2 s, each scored on 10."""
    stage_one = 2 * (40 * 2 + 10)
    text = in_words(plan(BOUNDED, pretrained=False), COUNTS, PACE)
    assert f"about {in_minutes(TWO + stage_one)} for" in text and in_minutes(TWO + stage_one) == "20 min"
    half = StageOne(epochs=2, batch_size=8, crop=(32, 64), calibrate=3)
    found = in_words(plan(BOUNDED, pretrained=False, stage_one=half), COUNTS, PACE)
    # Class constants: the network once, and three steps of 0.3 of a label map, of 40 images.
    constants = (1 + 3 * 0.3) * 40
    assert f"about {in_minutes(TWO + 2 * (40 * 2 / 2 + 10) + constants)} for" in found
    taken = SimpleNamespace(start_from="runs/other")
    assert in_words(plan(BOUNDED, False, experiment=taken), COUNTS, PACE) == in_words(plan(BOUNDED), COUNTS, PACE)
    scales = plan(BOUNDED, evaluation=Evaluation(scales=(0.5, 1.0), flip=True))
    assert f"about {in_minutes(TWO + 3 * SCORES)} for" in in_words(scales, COUNTS, PACE)


def test_where_nothing_bounds_it_a_cycle_is_told() -> None:
    text = in_words(plan(Lookahead()), COUNTS, PACE)
    first = SCORES + 51 * 15 + 50 + 4 * 90 * 0.5 + 152 * 4 * 2.5
    another = 50 * 15 + 2 * 50 + 3 * 90 * 0.5 + 152 * 4 * 2.5
    assert (first, another) == (2555.0, 2505.0)
    assert text == (
        "time: a first cycle of 50 iterations and all around it take about 43 min, each other about 42 min; nothing "
        "bounds how many there are (Lookahead.max_iterations)."
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "a minute"), (61, "2 min"), (3541, "1 h 00 min"), (12_000, "3 h 20 min"), (200_000, "3 days")],
)
def test_roughly_known_times(seconds: float, words: str) -> None:
    assert in_minutes(seconds) == words


def test_a_step_takes_what_the_shortest_of_three_took() -> None:
    """Other work makes some longer; two seconds are enough, and the first of all is not timed."""
    made: list[int] = []
    ticks = iter([0.0, 1.0, 1.0, 1.5, 2.0, 2.4])
    assert forecast._seconds(lambda: made.append(1), lambda: next(ticks)) == pytest.approx(0.4) and len(made) == 4
    ticks = iter([0.0, 1.5, 2.0, 3.0])
    assert forecast._seconds(lambda: made.append(1), lambda: next(ticks)) == 1.0 and len(made) == 7


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    """On a real plan: three steps are timed, after one of each kind that is not; weights stay as they are."""
    networks.one_convolution(8).save(tmp_path / "mine.keras")
    gin.parse_config(["experiment.dataset = @synthetic()", "synthetic.train = 4", "synthetic.validation = 6",
                      "synthetic.size = (48, 64)", "experiment.crop = (49, 65)", "experiment.holdout_images = 2",
                      "experiment.segmentor = @keras_model",
                      f"keras_model.path = '{tmp_path / 'mine.keras'}'", "Discriminator.input_size = 32",
                      "Discriminator.architecture = 'convolutional'", "Discriminator.alpha = 0.1"])  # fmt: skip
    assembled = experiment_plan.assemble()
    data = images.read_data(assembled)
    holdout = assembled.evaluator(data.holdout)
    before = [variable.numpy() for variable in assembled.segmentor.model.variables]
    ticks = itertools.count(step=3.0)
    pace = forecast.measured(assembled, data, holdout, clock=lambda: next(ticks))
    assert pace == Pace(label=1.5, learn=3.0, judge=1.5), "two hold-out images, one image, two maps"
    for variable, value in zip(assembled.segmentor.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert forecast.sentence(assembled, data, holdout).startswith("time: a first cycle of 50 iterations")  # type: ignore[union-attr]
    other = dataclasses.replace(assembled.experiment, method=Baseline())
    assert forecast.sentence(dataclasses.replace(assembled, experiment=other), data, holdout) is None
