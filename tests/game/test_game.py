"""The game on real, tiny networks: what each action changes and what it leaves, and that a commit is all of it."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.algorithm.lookahead import State
from load_tf.data.dataset import ExampleList, Grouped, Split
from load_tf.data.groups import Group
from load_tf.data.synthetic import synthetic
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.game.aggregation import Aggregation
from load_tf.game.game import AdversarialGame, Players
from load_tf.methods.load import LoAd
from load_tf.randomness import generator
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.adversarial import AdversarialTraining
from load_tf.training.discriminator import DiscriminatorTraining

CROP = (49, 65)
CLASSES = 8

PLAYERS = Players(
    Discriminator(alpha=0.25, input_size=32, batch_norm_momentum=0.5),
    DiscriminatorTraining(batch_size=6, max_epochs=2, patience=5, sufficient_accuracy=1.1),
    AdversarialTraining(batch_size=2, learning_rate=0.05, updates_per_iteration=2),
    Sampling(gumbel_noise=False),
)


def segmentor(seed: int) -> keras.Model:
    images = keras.Input((None, None, 3))
    features = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    for number, (filters, stride) in enumerate(((6, 4), (CLASSES, 1))):
        features = keras.layers.Conv2D(
            filters,
            3,
            stride,
            padding="same",
            kernel_initializer=keras.initializers.HeNormal(seed=seed + number),
            activation=None if number else "relu",
            name=f"conv{number}",
        )(features)
    return keras.Model(images, features)


def make(run: RunDirectory, seed: int = 3, commit_every: int = 1, players: Players = PLAYERS) -> AdversarialGame:
    data = synthetic(train=6, validation=4, size=(48, 64))
    training, holdout = data.split("train"), data.split("validation")
    model, strategy = segmentor(seed), tf.distribute.get_strategy()
    evaluator = Evaluator(model, holdout, CROP, CLASSES, 2, strategy=strategy)
    return AdversarialGame(
        model,
        evaluator,
        training,
        holdout,
        players,
        crop=CROP,
        num_classes=CLASSES,
        seed=1,
        run=run,
        strategy=strategy,
        commit_every=commit_every,
    )


@pytest.fixture(name="game", scope="module")
def _game(tmp_path_factory: pytest.TempPathFactory) -> AdversarialGame:
    """One game for most tests: to trace its functions is what takes the time.

    Its discriminator has been trained: the moving averages of a fresh MobileNet let no gradient through.
    """
    game = make(RunDirectory(tmp_path_factory.mktemp("game") / "run", "config"))
    game.aggregate("g0", 0)
    game.train_discriminator(["g0"], 0)
    return game


@pytest.fixture(autouse=True)
def _at_the_start(request: pytest.FixtureRequest) -> None:
    if "game" in request.fixturenames:
        request.getfixturevalue("game").go_back()


def test_three_pixels_of_an_absent_class_are_no_peak(game: AdversarialGame, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hold-out's truth lacks class 7; the start model predicts it at three pixels, the next one nowhere."""
    start = np.zeros((2, CLASSES, CLASSES), np.int64)
    start[:, range(CLASSES - 1), range(CLASSES - 1)] = 500
    start[:, 0, 1] = 500
    after = start.copy()
    start[0, 0, 1] -= 3
    start[0, 0, 7] += 3
    scores = []
    monkeypatch.setattr(game.models, "start_confusion", None)
    monkeypatch.setattr(game.models, "confusion", None)
    for matrices in (start, after):
        monkeypatch.setattr(game.evaluator, "evaluate", lambda matrices=matrices: matrices)
        scores.append(game.evaluate())
    # By the official rule, the class that is gone would be worth eleven points.
    assert abs(scores[1] - scores[0]) < 2e-4 and scores[0] > 0.8
    assert game.confidence() < 0.5


def weights(game: AdversarialGame) -> list[np.ndarray]:
    return [variable.numpy() for variable in game.segmentor.variables]


def degrade(game: AdversarialGame) -> None:
    """Makes the present model another one, as many updates would."""
    kernel = game.segmentor.get_layer("conv1").kernel
    kernel.assign(kernel.numpy() + generator(8, "degrade").normal(0, 0.3, kernel.shape))


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def labels_at(game: AdversarialGame, split: Split, pixels: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """uint8 [N, Y, X]: the segmentor's labels at rows and columns, by numpy: bilinear with aligned corners."""
    found = []
    for index in range(len(split)):
        image = np.full((*CROP, 3), 127.5, np.float32)
        image[:48, :64] = split[index].image
        logits = np.asarray(game.segmentor(image[None]))[0].astype(np.float64)
        weights = [
            # Corner pixels are corner logits.
            np.maximum(0, 1 - np.abs(points[:, None] * (size - 1) / (crop - 1) - np.arange(size)))
            for points, size, crop in zip(pixels, logits.shape[:2], CROP, strict=True)
        ]
        found.append(np.einsum("yh,xw,hwk->yxk", *weights, logits).argmax(-1))
    return np.array(found, np.uint8)


def labels(game: AdversarialGame, split: Split) -> np.ndarray:
    """uint8 [N, 32, 32]: the segmentor's label maps at the grid points."""
    # Point i of the grid is the pixel in the middle of its cell.
    rows, columns = (np.floor((np.arange(32) + 0.5) * crop / 32) for crop in CROP)
    return labels_at(game, split, (rows, columns))


def test_an_update_moves_the_segmentor_and_only_it(game: AdversarialGame) -> None:
    before, judge = weights(game), [v.numpy() for v in game.discriminator.variables]
    count = game.updates
    assert game.update(0, 0)
    assert not equal(weights(game), before)
    assert equal([v.numpy() for v in game.discriminator.variables], judge)
    assert game.updates == count + 2
    event = game.run.journal()[-1]
    assert (event["event"], event["cycle"], event["iteration"], event["finite"]) == ("update", 0, 1, True)
    assert event["gradient_norm"] > 0


def test_class_constants_hold_the_starts_proportions(game: AdversarialGame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice half of log(start's / predicted) on D_t, by label maps of numpy; no other weight knows of it."""
    seen = [game.training[index].label < CLASSES for index in range(len(game.training))]

    def predicted() -> np.ndarray:
        maps = labels_at(game, game.training, (np.arange(48), np.arange(64)))
        return np.bincount(np.concatenate([m[s] for m, s in zip(maps, seen, strict=True)]), minlength=CLASSES)

    aim, count, bias = predicted(), game.updates, game.segmentor.get_layer("conv1").bias
    adversarial = dataclasses.replace(PLAYERS.adversarial, calibrate=2)
    monkeypatch.setattr(game, "players", dataclasses.replace(PLAYERS, adversarial=adversarial))
    calibrator = game._make_calibrator(LoAd(), None)
    assert calibrator is not None and calibrator.step() == {"class_gap": 0.0, "path_length": 0.0}
    degrade(game)
    game.update(0, 0)
    plain, expected = weights(game), bias.numpy()
    for _ in range(2):
        ratio = np.clip(aim / np.maximum(predicted(), 1e-9), 0.1, 10)
        expected = expected + np.where(aim > 0, 0.5 * np.log(np.where(aim > 0, ratio, 1)), 0)
        bias.assign(expected)
    game.go_back()
    game.updates = count
    degrade(game)
    monkeypatch.setattr(game, "calibrator", calibrator)
    game.update(0, 0)
    np.testing.assert_allclose(bias.numpy(), expected, atol=1e-5)
    assert np.abs(expected - plain[-1]).max() > 0.01, "else nothing was fitted"
    assert equal(weights(game)[:-1], plain[:-1])
    assert 0 < game.run.journal()[-1]["class_gap"] < 1


def test_a_race_is_an_evaluation_or_an_estimate_of_it(game: AdversarialGame, monkeypatch: pytest.MonkeyPatch) -> None:
    score = game.evaluate()
    matrices = game.models.confusion
    assert matrices is not None
    # As many images as there are: nothing is to be found early.
    assert game.race(0.0, 0.99, 0.005, best_is_start=True) == (score, None)
    np.testing.assert_array_equal(game.models.confusion, matrices)
    # One look, at two of the four images; the reference is the model itself, so that nothing is in doubt.
    monkeypatch.setattr("load_tf.evaluation.race.LEAST", 2)
    monkeypatch.setattr(game.models, "start_confusion", matrices)
    assert game.race(0.0, score, 0.005, best_is_start=True) == (score, None)
    miou, seen = game.race(0.0, score + 0.01, 0.005, best_is_start=True)
    assert (miou, seen) == (pytest.approx(score), 2) and game.models.confusion is None
    timed = json.loads((game.run.path / "timings.jsonl").read_text().splitlines()[-1])
    assert (timed["phase"], timed["images"]) == ("evaluation", 2)
    degrade(game)
    lower, seen = game.race(0.0, score, 0.49, best_is_start=True)
    assert lower != score and (seen is not None or game.models.confusion is not None)


def directions(game: AdversarialGame) -> list[dict[str, Any]]:
    return [event for event in game.run.journal() if event["event"] == "direction"]


def test_before_a_cycle_it_is_looked_where_the_gradient_leads(game: AdversarialGame) -> None:
    """Of the images of the updates that come, and nothing changes by looking."""
    settings = game.players.discriminator_training
    count, before = len(directions(game)), weights(game)
    game.update(3, 0)
    moved = weights(game)
    event = directions(game)[-1]
    assert len(directions(game)) == count + 1 and event["cycle"] == 3
    game.update(3, 1)
    assert len(directions(game)) == count + 1, "once a cycle"
    game.go_back()
    assert equal(weights(game), before)
    game.updates -= 4
    batches = list(game.images.ahead(game.updates, settings.agreement_batches))
    gradients = [
        np.concatenate([g.numpy().ravel() for g in game.segmentor_trainer.gradients(one)[0]]) for one in batches
    ]
    unit = [gradient / np.linalg.norm(gradient) for gradient in gradients]
    cosines = [a @ b for i, a in enumerate(unit) for b in unit[:i]]
    assert len(cosines) == 6 and event["agreement"] == pytest.approx(np.mean(cosines), abs=1e-4)
    assert 0 < event["localisation"] < 1
    game.players = dataclasses.replace(
        game.players, discriminator_training=dataclasses.replace(settings, agreement_batches=0)
    )
    game.update(3, 0)
    game.players = dataclasses.replace(game.players, discriminator_training=settings)
    assert len(directions(game)) == count + 1
    assert equal(weights(game), moved), "with or without a look the update is the same"


def test_a_direction_that_is_noise_is_warned_of(game: AdversarialGame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("load_tf.game.game.agreement", lambda trainer, batches: 0.03)
    game.update(5, 0)
    said = [event["text"] for event in game.run.journal() if event["event"] == "warning" and event["cycle"] == 5]
    assert len(said) == 1 and "by a cosine of 0.03, whatever pairs it ranks right" in said[0]


def test_going_back_restores_weights_and_stops_the_momentum(game: AdversarialGame) -> None:
    before = weights(game)
    game.update(0, 0)
    slots = game.segmentor_trainer.momentum_variables
    rate = float(game.segmentor_trainer.optimizer.learning_rate)
    assert any(np.any(v.numpy()) for v in slots if "momentum" in v.path)
    game.go_back()
    assert equal(weights(game), before)
    assert not any(np.any(v.numpy()) for v in slots if "momentum" in v.path)
    assert float(game.segmentor_trainer.optimizer.learning_rate) == rate == pytest.approx(0.05)


def test_an_update_is_a_function_of_the_start_and_the_count(game: AdversarialGame) -> None:
    game.update(0, 0)
    after, count = weights(game), game.updates
    game.go_back()
    game.updates = count - 2
    game.update(0, 0)
    assert equal(weights(game), after)
    game.go_back()
    game.updates = count
    game.update(0, 0)
    assert not equal(weights(game), after), "else the images would not count"


def test_a_holdout_image_that_is_larger_than_the_crop_is_named_as_one() -> None:
    model, strategy = segmentor(3), tf.distribute.get_strategy()
    small, large = (synthetic(train=2, validation=2, size=size) for size in ((48, 64), (48, 80)))
    splits = {"training": small.split("train"), "holdout": large.split("validation")}
    evaluator = Evaluator(model, splits["holdout"], CROP, CLASSES, 2, strategy=strategy)
    settings: dict[str, Any] = {"crop": CROP, "grid": 32, "batch_size": 2, "strategy": strategy}
    with pytest.raises(UserError, match=r"^hold-out image '\w+' is 48x80, larger than the crop 49x65; choose a larger"):
        Aggregation(evaluator, **splits, **settings)
    splits = {"training": large.split("train"), "holdout": small.split("validation")}
    with pytest.raises(UserError, match=r"^training image '\w+' is 48x80, larger"):
        Aggregation(evaluator, **splits, **settings)


def test_the_best_model_becomes_the_start(game: AdversarialGame) -> None:
    first = weights(game)
    game.update(0, 0)
    peak = weights(game)
    game.keep_best()
    game.update(0, 1)
    game.go_back()
    assert equal(weights(game), first), "kept is not yet promoted"
    game.promote_best()
    game.go_back()
    assert equal(weights(game), peak) and not equal(peak, first)


def test_evaluate_is_the_holdouts_miou(game: AdversarialGame) -> None:
    score = game.evaluate()
    assert game.models.confusion is not None
    confusion = game.models.confusion.sum(0)
    visible = sum(int((game.holdout[i].label != 255).sum()) for i in range(4))
    assert confusion.sum() == visible
    present = confusion.sum(1) > 0
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    assert score == pytest.approx((np.diag(confusion) / np.maximum(union, 1))[present].mean(), abs=1e-12)
    degrade(game)
    assert game.evaluate() != score


def test_a_peak_is_tested_on_draws_of_the_holdouts_groups(
    game: AdversarialGame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six images of two groups: one mends three pixels of each class an image, the other spoils two."""
    start, better, worse = ([[10 - d, d], [d, 10 - d]] for d in (3, 0, 5))
    monkeypatch.setattr(game.models, "start_confusion", np.array([start] * 6))
    monkeypatch.setattr(game.models, "confusion", np.array([better] * 3 + [worse] * 3))
    alone = game.confidence()
    split = ExampleList([game.holdout[0]._replace(id=f"{number}") for number in range(6)])
    monkeypatch.setattr(game, "holdout", Grouped(split, tuple(Group("ab"[number > 2]) for number in range(6))))
    # Of the draws aa, ab, ba, bb all but the last are won.
    assert game.confidence() == pytest.approx(0.75, abs=0.03)
    # Each for itself: won with at most three of the spoilt ones among six, 42 of 64.
    assert alone == pytest.approx(42 / 64, abs=0.03)


def test_a_set_holds_the_maps_of_the_model_of_its_name(game: AdversarialGame) -> None:
    start = labels(game, game.holdout)
    degrade(game)
    end, present = labels(game, game.holdout), weights(game)
    assert (start != end).mean() > 0.01
    game.aggregate("g0", 0)
    game.aggregate("ge0_0", 1)
    assert equal(weights(game), present), "aggregation leaves the present model"
    for name, maps in (("g0", start), ("ge0_0", end)):
        stored = game.aggregation.sets[name]
        assert stored.training.shape == (6, 32, 32) and stored.holdout.shape == (4, 32, 32)
        assert (stored.holdout != maps).mean() < 0.005, "float32 against float64 may tip a tie"
    event = game.run.journal()[-1]
    visible = game.aggregation.holdout_grid.labels != 255
    expected = (
        (game.aggregation.sets["g0"].holdout != game.aggregation.sets["ge0_0"].holdout) & visible
    ).sum() / visible.sum()
    assert (event["event"], event["model"]) == ("maps", "ge0_0")
    assert event["changed_share"] == pytest.approx(expected)


def test_a_number_that_is_not_finite_is_journalled_and_applied_to_nothing(game: AdversarialGame) -> None:
    kernel = game.segmentor.get_layer("conv1").kernel
    healthy = kernel.numpy()
    broken = healthy.copy()
    broken[0, 0, 0, 0] = np.nan
    kernel.assign(broken)
    before = weights(game)
    assert not game.update(2, 0)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(weights(game), before, strict=True))
    event = game.run.journal()[-1]
    assert event["finite"] is False and event["gradient_norm"] is None
    game.go_back()
    assert game.update(2, 1), "the next cycle is not infected"


def test_the_discriminator_trains_on_the_buffer_alone(game: AdversarialGame) -> None:
    for name in ("g0", "ge0_0", "ge0_1"):
        game.aggregate(name, 0)
    before, present = [v.numpy() for v in game.discriminator.variables], weights(game)
    game.train_discriminator(["g0", "ge0_1"], 3)
    assert sorted(game.aggregation.sets) == ["g0", "ge0_1"], "what was evicted is dropped"
    assert equal(weights(game), present)
    assert not equal([v.numpy() for v in game.discriminator.variables], before)
    epochs = [event for event in game.run.journal() if event["event"] == "discriminator" and event["cycle"] == 3]
    assert [event["epoch"] for event in epochs] == [1, 2]
    (end,) = [e for e in game.run.journal() if e["event"] == "discriminator_end" and e["cycle"] == 3]
    best = min(epochs, key=lambda event: event["loss"])["epoch"]
    assert (end["epochs"], end["best"], end["kept_for"], end["reason"]) == (2, best, "loss", "max_epochs")


def test_the_accuracy_it_ended_for_is_what_the_next_cycle_meets(
    game: AdversarialGame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights that are put back are those of the epoch that reached it, though its loss had risen."""
    measured = iter([(0.6, 0.70), (0.75, 0.91)])
    seen: list[list[np.ndarray]] = []

    def evaluate(steps: tf.Tensor) -> dict[str, float]:
        seen.append([v.numpy() for v in game.discriminator.variables])
        loss, pairs = next(measured)
        return {"loss": loss, "real_accuracy": 0.6, "fake_accuracy": 0.6, "pair_accuracy": pairs, "margin": 0.1}

    monkeypatch.setattr(game.discriminator_trainer, "evaluate", evaluate)
    settings = dataclasses.replace(game.judge.settings, sufficient_accuracy=0.9, max_epochs=5)
    monkeypatch.setattr(game.judge, "settings", settings)
    game.aggregate("g0", 0)
    game.train_discriminator(["g0"], 6)
    (end,) = [e for e in game.run.journal() if e["event"] == "discriminator_end" and e["cycle"] == 6]
    assert (end["epochs"], end["best"], end["kept_for"]) == (2, 2, "sufficient_accuracy")
    assert end["reason"] == "sufficient_accuracy"
    assert not equal(seen[0], seen[1])
    assert equal([v.numpy() for v in game.discriminator.variables], seen[1])


def state_of(game: AdversarialGame) -> list[np.ndarray]:
    """All that a restart has to bring back."""
    variables = [*game.segmentor.variables, *game.discriminator_trainer.variables]
    variables += game.segmentor_trainer.momentum_variables
    found = [v.numpy() for v in variables] + list(game.start.to_arrays().values())
    return found + [
        a for name in sorted(game.aggregation.sets) for a in game.aggregation.sets[name].to_arrays().values()
    ]


def committed(path: Path) -> AdversarialGame:
    """A game after a commit in the middle of a cycle; it knows a best model."""
    game = make(RunDirectory(path, "config"))
    game.aggregate("g0", 0)
    game.update(0, 0)
    game.keep_best()
    game.update(0, 1)
    game.commit(State(phase="ahead", start_miou=0.25, cycle=0, iteration=2, miou=0.3, peak_miou=0.3, buffer=["g0"]))
    return game


def test_a_commit_is_all_a_restart_needs(tmp_path: Path) -> None:
    game = committed(tmp_path / "run")
    before, best = state_of(game), list(game.models.best.to_arrays().values())
    game.run.close()
    run = RunDirectory(tmp_path / "run", "config")
    again = make(run, seed=99)
    assert not equal(state_of(again)[:2], before[:2]), "it begins as another network"
    state = again.resume()
    assert state is not None and state.phase == "ahead" and state.iteration == 2 and state.buffer == ["g0"]
    assert equal(state_of(again), before)
    assert equal(list(again.models.best.to_arrays().values()), best)
    assert again.updates == 4
    again.update(0, 2)
    game.run = run
    game.update(0, 2)
    assert equal(weights(again), weights(game)), "and both go on in the same way"
    again.promote_best()
    again.go_back()
    assert equal(weights(again), best)
    run.close()


def test_a_cycle_that_ends_after_a_restart_is_warned_of_as_without_one(tmp_path: Path) -> None:
    """The restart falls between the cycle's last update and the event that closes it."""
    adversarial = dataclasses.replace(PLAYERS.adversarial, learning_rate=1e-30)
    players = dataclasses.replace(PLAYERS, adversarial=adversarial)
    game = make(RunDirectory(tmp_path / "run", "config"), players=players)
    game.aggregate("g0", 0)
    game.update(0, 0)
    game.commit(State(phase="ahead", iteration=1, buffer=["g0"]))
    game.record("cycle_end", cycle=0)
    expected = game.run.journal()
    assert [event["event"] for event in expected[-2:]] == ["cycle_end", "warning"]
    game.run.close()
    again = make(RunDirectory(tmp_path / "run", "config"), players=players)
    again.resume()
    again.record("cycle_end", cycle=0)
    assert again.run.journal() == expected
    again.run.close()


def test_a_commit_holds_the_weights_of_its_moment_whatever_was_written_ahead(tmp_path: Path) -> None:
    game = committed(tmp_path / "run")
    game.update(0, 2)
    updated = list(game.models.present_arrays().values())
    game.commit(State(phase="ahead", iteration=3))
    assert equal(list(game.run.arrays("segmentor").values()), updated)
    game.update(0, 3)
    game.go_back()  # as a method does that ends on an iteration
    game.commit(State(phase="finished", iteration=4))
    stored = list(game.run.arrays("segmentor").values())
    assert equal(stored, list(game.models.present_arrays().values())) and not equal(stored, updated)
    game.run.close()


def test_a_fresh_run_has_nothing_to_resume(tmp_path: Path) -> None:
    game = make(RunDirectory(tmp_path / "run", "config"))
    assert game.resume() is None


@pytest.fixture(name="commits")
def _commits(game: AdversarialGame, monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, set[str], set[str]]]:
    """What is handed to the run directory: state, names written, names kept."""
    calls: list[tuple[dict, set[str], set[str]]] = []

    def commit(state: dict, changed: dict[str, Callable], keep: set[str]) -> None:
        calls.append((state, set(changed), keep))

    monkeypatch.setattr(game.run, "commit", commit)
    return calls


def test_between_two_commits_iterations_pass(
    game: AdversarialGame, commits: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(game, "commit_every", 3)
    for iteration in range(1, 8):
        game.commit(State(phase="ahead", iteration=iteration))
    assert [state["lookahead"]["iteration"] for state, *_ in commits] == [3, 6]
    game.commit(State(phase="aggregate", iteration=7))
    game.commit(State(phase="ahead", iteration=0))
    assert [state["lookahead"]["phase"] for state, *_ in commits[2:]] == ["aggregate", "ahead"]


def test_only_what_changed_is_written(game: AdversarialGame, commits: list) -> None:
    game.aggregation.sets = {}
    game.commit(State(phase="ahead", iteration=1))
    game.update(0, 1)
    game.commit(State(phase="ahead", iteration=2))
    assert commits[-1][1] == {"segmentor"} and {"start", "discriminator"} <= commits[-1][2]
    game.keep_best()
    game.commit(State(phase="ahead", iteration=3, peak_miou=0.4))
    assert commits[-1][1] == {"best", "best_confusion"} <= commits[-1][2]
    game.commit(State(phase="ahead", iteration=4))
    assert commits[-1][1] == set() and "best" not in commits[-1][2], "a fruitless cycle has no best model to keep"
    game.aggregate("ge0_0", 0)
    game.commit(State(phase="aggregate"))
    assert commits[-1][1] >= {"label_maps/ge0_0"}


def test_a_discriminator_that_starts_anew(tmp_path: Path) -> None:
    """`keep_weights = False`: two cycles on the same buffer and draws differ by the cycle's key only at the start."""
    settings = dataclasses.replace(PLAYERS.discriminator_training, keep_weights=False, max_epochs=1)
    game = make(
        RunDirectory(tmp_path / "run", "config"), players=dataclasses.replace(PLAYERS, discriminator_training=settings)
    )
    fresh = [v.numpy() for v in game.discriminator_trainer.variables]
    game.aggregate("g0", 0)
    seen: list[list[np.ndarray]] = []
    train = game.discriminator_trainer.train

    def spy(steps: tf.Tensor) -> dict[str, float]:
        seen.append([v.numpy() for v in game.discriminator_trainer.variables])
        return train(steps)

    game.discriminator_trainer.train = spy
    game.train_discriminator(["g0"], 0)
    game.train_discriminator(["g0"], 1)
    assert equal(seen[0], fresh) and equal(seen[1], fresh)
    assert not equal([v.numpy() for v in game.discriminator_trainer.variables], fresh)


def test_weights_that_are_not_finite_end_the_cycle(game: AdversarialGame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradient were finite, what the update made of the weights was not."""
    before = weights(game)
    kernel = game.segmentor.get_layer("conv1").kernel
    train = game.segmentor_trainer.train

    def overflow(count: tf.Tensor) -> dict[str, float | bool]:
        measures = train(count)
        kernel.assign(np.full(kernel.shape, np.inf))
        return measures

    monkeypatch.setattr(game.segmentor_trainer, "train", overflow)
    assert game.update(0, 0) is False
    assert game.run.journal()[-1]["finite"] is False
    assert equal(weights(game), before), "the present model is the last finite one"


def test_a_discriminator_that_is_not_finite_is_not_kept(game: AdversarialGame, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.7, float("nan")])
    monkeypatch.setattr(game.discriminator_trainer, "train", lambda steps: {"loss": next(losses)})
    game.aggregate("g0", 0)
    game.train_discriminator(["g0"], 7)
    events = game.run.journal()
    (end,) = (e for e in events if e["event"] == "discriminator_end" and e["cycle"] == 7)
    assert (end["reason"], end["best"], end["epochs"]) == ("non_finite", 1, 2)
    losses = iter([float("inf")])
    with pytest.raises(UserError, match=r"training loss is inf in the first epoch before cycle 8; lower Discriminator"):
        game.train_discriminator(["g0"], 8)


def test_a_collapsed_discriminator_is_journalled(game: AdversarialGame, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {"loss": 3.0, "real_accuracy": 1.0, "fake_accuracy": 0.0, "pair_accuracy": 0.5, "margin": 0.0}
    monkeypatch.setattr(game.discriminator_trainer, "evaluate", lambda steps: dict(measured))
    game.aggregate("g0", 0)
    game.train_discriminator(["g0"], 9)
    (event,) = (e for e in game.run.journal() if e["event"] == "warning" and e["cycle"] == 9)
    assert "collapsed: it takes every map for real" in event["text"]
