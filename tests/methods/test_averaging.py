"""Averages, schedules and class constants in a game: what is evaluated and kept, and that a killed run goes on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou
from load_tf.game.game import AdversarialGame
from load_tf.methods.class_constants import ClassConstants
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.lookahead_optimizer import LookaheadOptimizer
from load_tf.methods.method import Method
from load_tf.methods.weight_averaging import EMA, SWA
from load_tf.training.stage_one import StageOne
from tests.methods.test_methods import SETTINGS, killed, make, players, values

PER_ITERATION = 3


def game_of(folder: Path, method: Method) -> AdversarialGame:
    chosen = players(updates_per_iteration=PER_ITERATION, learning_rate=0.2)
    return make(folder, method, chosen, stage_one=StageOne(shift=3))


def weights(game: AdversarialGame) -> np.ndarray:
    return np.concatenate([v.numpy().ravel() for v in game.segmentor.variables])


def set_weights(game: AdversarialGame, value: float) -> None:
    """All trainable weights."""
    for variable in game.segmentor.trainable_variables:
        variable.assign(tf.fill(variable.shape, value))


@pytest.mark.parametrize(
    ("method", "averages"),
    [
        # From 0: 3/4 0 + 1/4 8 = 2, 3/4 2 + 1/4 4 = 2.5, 3/4 2.5 + 1/4 (-2) = 1.375.
        (EMA(decay=0.75), [2.0, 2.5, 1.375]),
        # 8, (8 + 4) / 2, (8 + 4 - 2) / 3: the start is not one of them.
        (SWA(), [8.0, 6.0, 10 / 3]),
    ],
    ids=lambda value: getattr(value, "title", ""),
)
def test_the_average_of_a_scripted_path(tmp_path: Path, method: Method, averages: list[float]) -> None:
    """Weights that are all 0, then 8, 4 and -2; what is kept is the average, and the weights go on from themselves."""
    game = game_of(tmp_path / "run", method)
    set_weights(game, 0.0)
    game.start.take()
    game.go_back()
    evaluate, seen = game.evaluator.evaluate, []

    def train(_updates: tf.Tensor) -> dict[str, float | bool]:
        set_weights(game, value)
        return {"loss": 0.0, "finite": True}

    def look_and_evaluate() -> np.ndarray:
        seen.append(weights(game))
        return evaluate()

    game.segmentor_trainer.train, game.evaluator.evaluate = train, look_and_evaluate
    for iteration, (value, expected) in enumerate(zip((8.0, 4.0, -2.0), averages, strict=True)):
        game.update(0, iteration)
        game.evaluate()
        game.keep_best()
        kept = [game.models.best.to_arrays()[name] for name in game.models.best.to_arrays() if "moving" not in name]
        np.testing.assert_allclose(np.concatenate([k.ravel() for k in kept]), expected, rtol=1e-6)
        trained = [v.numpy().ravel() for v in game.segmentor.trainable_variables]
        assert (np.concatenate(trained) == value).all()
        assert np.isclose(seen[-1], expected, rtol=1e-6).sum() == len(np.concatenate(trained))


def test_averages_leave_cross_entropys_path_alone(tmp_path: Path) -> None:
    """The same updates, other models evaluated. Statistics of batch norm do not move."""
    games = [game_of(tmp_path / m.title, m) for m in (CrossEntropyOnly(), EMA(), SWA(), LookaheadOptimizer(k=2))]
    start = {v.path: v.numpy() for v in games[0].segmentor.variables}
    for game in games:
        for iteration in range(2):
            game.update(0, iteration)
        for variable in game.segmentor.non_trainable_variables:
            np.testing.assert_array_equal(variable.numpy(), start[variable.path])
    plain, ema, swa, lookahead = (values(game.segmentor.variables) for game in games)
    assert plain == ema == swa != lookahead
    assert len({game.evaluate() for game in games[:3]}) == 3


METHODS = [
    EMA(decay=0.5, schedule="decay", augment=True),
    SWA(),
    LookaheadOptimizer(k=2),
    ClassConstants(steps=4),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.title)
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, method: Method) -> None:
    """After two of four iterations: the rate is half way down, the average has two members, k is half full."""
    whole = game_of(tmp_path / "whole", method)
    method.play(whole, SETTINGS, None)
    killed(game_of(tmp_path / "killed", method), method, lambda state: state.iterations == 2)
    again = game_of(tmp_path / "killed", method)
    state = again.resume()
    assert state is not None and state.iterations == 2
    method.play(again, SETTINGS, state)
    assert again.run.journal() == whole.run.journal()
    assert values(again.segmentor.variables) == values(whole.segmentor.variables)
    scores = [e["miou"] for e in whole.run.journal() if e["event"] in ("start", "evaluate")]
    assert len(scores) == 5 and mean_iou(whole.evaluator.evaluate()) == max(scores)
    stored = (whole.segmentor_trainer.momentum_variables, again.segmentor_trainer.momentum_variables)
    assert values(stored[0]) == values(stored[1])


def test_the_rate_of_a_game_decays_over_its_budget(tmp_path: Path) -> None:
    """Also if the momentum is reset on the way."""
    game = game_of(tmp_path / "run", CrossEntropyOnly(schedule="decay"))
    rates = []
    for iteration in range(4):
        rates.append(float(game.segmentor_trainer.optimizer.learning_rate))
        game.update(0, iteration)
        game.segmentor_trainer.reset_momentum()
    expected = [0.2 * (1 - update / 12) ** 0.9 for update in (0, 3, 6, 9)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert float(game.segmentor_trainer.optimizer.learning_rate) == 0.0


def test_augmented_images_are_others(tmp_path: Path) -> None:
    """The rate stays where it was: neither decays."""
    plain, augmented = (game_of(tmp_path / str(a), CrossEntropyOnly(augment=a)) for a in (False, True))
    for game in (plain, augmented):
        game.update(0, 0)
        assert float(game.segmentor_trainer.optimizer.learning_rate) == pytest.approx(0.2)
    losses = [[e["loss"] for e in g.run.journal() if e["event"] == "update"] for g in (plain, augmented)]
    assert losses[0] != losses[1]
    assert augmented.segmentor_trainer.augmentation == StageOne(shift=3)
    assert all(e["path_length"] > 0 for e in plain.run.journal() if e["event"] == "update")


def test_class_constants_move_the_bias_alone_and_the_proportions_to_those_of_the_training_images(
    tmp_path: Path,
) -> None:
    method = ClassConstants()
    game = game_of(tmp_path / "run", method)
    before = {v.path: v.numpy() for v in game.segmentor.variables}
    judge = Evaluator(game.segmentor, game.training, game.crop, 8, 2)

    def gap() -> float:
        confusion = judge.evaluate().sum(0)
        return float(np.abs(confusion.sum(0) - confusion.sum(1)).sum() / 2 / confusion.sum())

    first = gap()
    state = method.play(game, dataclasses.replace(SETTINGS, max_iterations=2), None)
    journal = game.run.journal()
    updates = [e for e in journal if e["event"] == "update"]
    scores = [e["miou"] for e in journal if e["event"] == "evaluate"]
    start = next(e["miou"] for e in journal if e["event"] == "start")
    assert len(updates) == len(scores) == state.iterations == 6
    assert updates[0]["class_gap"] == pytest.approx(first) and updates[-1]["class_gap"] < 0.7 * first
    assert updates[0]["path_length"] > 0
    assert mean_iou(game.evaluator.evaluate()) == max([start, *scores])
    moved = {v.path for v in game.segmentor.variables if not np.array_equal(v.numpy(), before[v.path])}
    assert moved <= {"conv1/bias"} and max(scores) > start


def test_values_out_of_range_are_refused(tmp_path: Path) -> None:
    for make_method, message in (
        (lambda: CrossEntropyOnly(schedule="cosine"), r"CrossEntropyOnly\.schedule is 'cosine'"),
        (lambda: EMA(decay=1.0), r"EMA\.decay is 1\.0"),
        (lambda: SWA(schedule="x"), r"SWA\.schedule is 'x'"),
        (lambda: LookaheadOptimizer(k=0), r"LookaheadOptimizer\.k is 0"),
        (lambda: LookaheadOptimizer(alpha=1.5), r"LookaheadOptimizer\.alpha is 1\.5"),
        (lambda: ClassConstants(steps=0), r"ClassConstants\.steps is 0"),
        (lambda: ClassConstants(gain=0), r"ClassConstants\.gain is 0"),
    ):
        with pytest.raises(UserError, match=message):
            make_method()
    with pytest.raises(UserError, match=r"schedule is 'decay' and Lookahead\.max_iterations None"):
        make(tmp_path / "run", CrossEntropyOnly(schedule="decay"), max_iterations=None)
