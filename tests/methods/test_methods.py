"""The other methods on tiny networks: what each changes, and what makes one the other."""

import dataclasses
import functools
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.algorithm.lookahead import Lookahead, State
from load_tf.data.synthetic import synthetic
from load_tf.discriminator.build import build
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.fully_convolutional import FullyConvolutionalDiscriminator
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou
from load_tf.game.game import AdversarialGame, Players
from load_tf.methods.baseline import Baseline
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.descent_ascent import DescentAscent
from load_tf.methods.hung import HungEtAl
from load_tf.methods.load import LoAd
from load_tf.methods.luc import LucEtAl
from load_tf.methods.method import Method
from load_tf.methods.step_by_step import StepByStep
from load_tf.methods.untrained import UntrainedDiscriminator
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from tests import networks

CROP, CLASSES = (49, 65), 8
SETTINGS = Lookahead(patience=2, max_iterations=4, max_fruitless_cycles=9, upper=0.0)


def players(**adversarial) -> Players:
    settings = {"batch_size": 2, "learning_rate": 0.05, **adversarial}
    return Players(
        Discriminator(alpha=0.1, input_size=32, architecture="convolutional"),
        DiscriminatorTraining(batch_size=6, max_epochs=1, optimizer="adam", learning_rate=1e-3),
        AdversarialTraining(**settings),
        Sampling(gumbel_noise=False),
    )


def make(folder: Path, method: Method, chosen: Players | None = None, **settings) -> AdversarialGame:
    data = synthetic(train=6, validation=4, size=(48, 64))
    training, holdout = data.split("train"), data.split("validation")
    model, strategy = networks.untrained(CLASSES), tf.distribute.get_strategy()
    return AdversarialGame(
        model,
        Evaluator(model, holdout, CROP, CLASSES, 2, strategy=strategy),
        training,
        holdout,
        chosen or players(),
        method,
        crop=CROP,
        num_classes=CLASSES,
        seed=1,
        run=RunDirectory(folder, "config"),
        strategy=strategy,
        **{"max_iterations": SETTINGS.max_iterations, **settings},
    )


def values(variables: list[keras.Variable]) -> list[bytes]:
    return [v.numpy().tobytes() for v in variables]


Played = Callable[[Method], AdversarialGame]


@pytest.fixture(name="played", scope="module")
def _played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The game that a method has played to its end: one for all tests, which look at it."""

    @functools.cache
    def play(method: Method) -> AdversarialGame:
        game = make(tmp_path_factory.mktemp("played") / "run", method)
        method.play(game, SETTINGS, None)
        return game

    return play


def test_a_hybrid_with_weight_0_is_cross_entropy_only_bit_for_bit(played: Played) -> None:
    """The adversarial term is computed all the same, against a discriminator that is trained."""
    hybrid, plain = played(LucEtAl(weight=0.0)), played(CrossEntropyOnly())
    assert values(hybrid.segmentor.variables) == values(plain.segmentor.variables)
    assert values(hybrid.segmentor_trainer.momentum_variables) == values(plain.segmentor_trainer.momentum_variables)
    curves = [[e["miou"] for e in game.run.journal() if e["event"] == "evaluate"] for game in (hybrid, plain)]
    assert curves[0] == curves[1] and len(curves[0]) == 4
    losses = [e["discriminator_loss"] for e in hybrid.run.journal() if e["event"] == "update"]
    assert len(set(losses)) == 4


def test_a_hybrid_with_a_weight_is_not(played: Played) -> None:
    hybrid, plain = played(LucEtAl()), played(CrossEntropyOnly())
    updates = [[e["gradient_norm"] for e in g.run.journal() if e["event"] == "update"] for g in (hybrid, plain)]
    assert updates[0] != updates[1]


@pytest.mark.parametrize("method", [LoAd(), DescentAscent()], ids=lambda m: m.title)
def test_an_update_moves_what_the_segmentor_trains_and_nothing_else(tmp_path: Path, method: Method) -> None:
    game = make(tmp_path / "run", method, players(trainable="conv1"))
    game.aggregate("g0", 0)
    judge = values(game.discriminator.variables)
    game.train_discriminator(["g0"], 0)
    assert values(game.discriminator.variables) != judge
    judge, model = values(game.discriminator.variables), segmentor_values(game)
    assert game.update(0, 0)
    assert values(game.discriminator.variables) == judge
    moved = {path for path, value in segmentor_values(game).items() if value != model[path]}
    assert moved == {"conv1/kernel", "conv1/bias"}
    model = segmentor_values(game)
    game.train_discriminator(["g0"], 1)
    assert segmentor_values(game) == model


@pytest.mark.parametrize("method", [StepByStep(), LucEtAl(), HungEtAl()], ids=lambda m: m.title)
def test_step_by_step_an_update_moves_both(tmp_path: Path, method: Method) -> None:
    game = make(tmp_path / "run", method, players(trainable="conv1"))
    judge, model = values(game.discriminator.trainable_variables), segmentor_values(game)
    assert game.update(0, 0)
    for before, after in zip(judge, values(game.discriminator.trainable_variables), strict=True):
        assert before != after
    moved = {path for path, value in segmentor_values(game).items() if value != model[path]}
    assert moved == {"conv1/kernel", "conv1/bias"}


def test_an_untrained_discriminator_stays_as_it_was_initialised(tmp_path: Path) -> None:
    game = make(tmp_path / "run", UntrainedDiscriminator())
    judge = values(game.discriminator.variables)
    UntrainedDiscriminator().play(game, SETTINGS, None)
    assert values(game.discriminator.variables) == judge
    events = {e["event"] for e in game.run.journal()}
    assert {"update", "evaluate", "cycle_end", "buffer"} <= events and "discriminator" not in events
    gradients = [e["gradient_norm"] for e in game.run.journal() if e["event"] == "update"]
    assert min(gradients) > 0


def with_scores(folder: Path, method: Method, scores: list[float]) -> list[bytes]:
    """The weights after the last update, if the hold-out gave these scores."""
    game = make(folder, method)
    script, found = iter([0.5, *scores]), []
    update = game.update

    def update_and_look(cycle: int, iteration: int) -> bool:
        finite = update(cycle, iteration)
        found[:] = values(game.segmentor.variables)
        return finite

    game.evaluate, game.update = lambda: next(script), update_and_look
    method.play(game, SETTINGS, None)
    return found


def test_lookahead_that_never_goes_back_is_descent_ascent_bit_for_bit(tmp_path: Path) -> None:
    rising, falling = [0.51, 0.52, 0.53, 0.54], [0.51, 0.505, 0.53, 0.54]
    without_end = with_scores(tmp_path / "descent-ascent", DescentAscent(), rising)
    assert with_scores(tmp_path / "on", LoAd(), rising) == without_end
    assert with_scores(tmp_path / "back", LoAd(), falling) != without_end


def segmentor_values(game: AdversarialGame) -> dict[str, bytes]:
    return {v.path: v.numpy().tobytes() for v in game.segmentor.variables}


def test_cross_entropy_only_has_no_discriminator_and_moves_no_statistics(tmp_path: Path) -> None:
    game = make(tmp_path / "run", CrossEntropyOnly())
    before = segmentor_values(game)
    assert game.discriminator is None
    assert game.update(0, 0)
    moved = {path for path, value in segmentor_values(game).items() if value != before[path]}
    assert moved == {v.path for v in game.segmentor.trainable_variables}


def test_cross_entropy_of_an_update_by_hand(tmp_path: Path) -> None:
    """Loss and weights after one update against numpy: SGD's first step is the gradient times the rate."""
    game = make(tmp_path / "run", CrossEntropyOnly(), players(batch_size=6))
    images = np.full((6, *CROP, 3), 127.5, np.float32)
    truth = np.full((6, *CROP), 255)
    for row in range(6):
        images[row, :48, :64], truth[row, :48, :64] = game.training[row].image, game.training[row].label
    logits = np.asarray(game.segmentor(images, training=False))
    up = np.asarray(tf.raw_ops.ResizeBilinear(images=logits, size=CROP, align_corners=True), np.float64)
    log_sum = np.log(np.exp(up).sum(-1))
    visible = truth != 255
    picked = np.take_along_axis(up, np.where(visible, truth, 0)[..., None], -1)[..., 0]
    expected = (log_sum - picked)[visible].mean()
    # The softmax minus the truth, over the pixels, back through the up-sampling's transpose onto the bias.
    gradient = (np.exp(up - log_sum[..., None]) - np.eye(CLASSES)[np.where(visible, truth, 0)])[visible].sum(0)
    bias = game.segmentor.get_layer("conv1").bias.numpy()
    game.update(0, 0)
    event = [e for e in game.run.journal() if e["event"] == "update"][-1]
    assert event["loss"] == pytest.approx(expected, rel=1e-5)
    moved = game.segmentor.get_layer("conv1").bias.numpy() - bias
    np.testing.assert_allclose(moved, -0.05 * gradient / visible.sum(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    "method",
    [
        *(LoAd(), UntrainedDiscriminator(), DescentAscent(), StepByStep()),
        *(LucEtAl(), HungEtAl(learning_rate=0.05), CrossEntropyOnly(), Baseline()),
    ],
    ids=lambda m: m.title,
)  # fmt: skip
def test_the_result_is_never_worse_on_the_holdout_and_is_what_the_journal_says(played: Played, method: Method) -> None:
    game = played(method)
    journal = game.run.journal()
    start = next(e["miou"] for e in journal if e["event"] == "start")
    peaks = [e["miou"] for e in journal if e["event"] == "peak"]
    result = mean_iou(game.evaluator.evaluate())
    assert result == (peaks[-1] if peaks else start) and result >= start
    evaluations = [e["miou"] for e in journal if e["event"] == "evaluate"]
    assert len(evaluations) == (0 if isinstance(method, Baseline) else 4)
    assert max([start, *evaluations]) == result


def test_lookahead_starts_every_cycle_from_the_best_and_descent_ascent_goes_on(tmp_path: Path) -> None:
    distances = {}
    for method in (LoAd(), DescentAscent()):
        game = make(tmp_path / method.title, method, players(learning_rate=1.0))
        method.play(game, dataclasses.replace(SETTINGS, upper=0.5, lower=0.9), None)
        distances[method.title] = [e["distance"] for e in game.run.journal() if e["event"] == "update"]
    back, on = distances["LoAd"], distances["descent-ascent"]
    assert back[:2] == on[:2] and back[2] < back[1]
    assert on[3] > on[1] > 0


class KilledError(Exception):
    pass


def killed(game: AdversarialGame, method: Method, after: Callable[[State], bool]) -> None:
    """Plays until a commit after which it dies."""
    commit = game.commit

    def commit_and_die(state: State) -> None:
        commit(state)
        if after(state):
            raise KilledError

    game.commit = commit_and_die
    with pytest.raises(KilledError):
        method.play(game, SETTINGS, None)
    game.run.close()


@pytest.mark.parametrize("method", [DescentAscent(), HungEtAl(learning_rate=0.05)], ids=lambda m: m.title)
def test_a_run_of_an_alternating_method_resumes_bit_for_bit(played: Played, tmp_path: Path, method: Method) -> None:
    whole = played(method)
    commits = itertools.count(1)
    killed(make(tmp_path / "killed", method), method, lambda _: next(commits) == 5)
    again = make(tmp_path / "killed", method)
    method.play(again, SETTINGS, again.resume())
    assert values(again.segmentor.variables) == values(whole.segmentor.variables)
    assert values(again.discriminator_trainer.variables) == values(whole.discriminator_trainer.variables)
    assert again.run.journal() == whole.run.journal()


@pytest.mark.parametrize("method", [Baseline(), CrossEntropyOnly()], ids=lambda m: m.title)
def test_a_game_that_is_over_is_not_played_again(played: Played, tmp_path: Path, method: Method) -> None:
    """As where a run was killed while its report was made."""
    run = played(method).run
    journal, commit = run.journal(), run.state["commit"]
    shutil.copytree(run.path, tmp_path / "run")
    again = make(tmp_path / "run", method)
    state = method.play(again, SETTINGS, again.resume())
    assert (state.phase, again.run.state["commit"]) == ("finished", commit)
    assert again.run.journal() == journal
    again.run.close()


def test_averaged_weights_are_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    game = make(tmp_path / "run", LoAd(), players(average=0.75, learning_rate=0.5))
    game.evaluate()
    start = [v.numpy() for v in game.segmentor.variables]
    game.aggregate("g0", 0)
    game.train_discriminator(["g0"], 0)
    game.go_back()
    expected = [value.astype(np.float64) for value in start]
    for iteration in range(3):
        game.update(0, iteration)
        present = [v.numpy() for v in game.segmentor.variables]
        expected = [0.75 * e + 0.25 * p for e, p in zip(expected, present, strict=True)]
    score = game.evaluate()
    for value, now in zip(present, game.segmentor.variables, strict=True):
        np.testing.assert_array_equal(value, now.numpy())
    game.keep_best()
    game.promote_best()
    game.go_back()
    for value, now in zip(expected, game.segmentor.variables, strict=True):
        np.testing.assert_allclose(now.numpy(), value, rtol=1e-5, atol=1e-6)
    assert mean_iou(game.evaluator.evaluate()) == score


def test_confidence_is_that_of_the_evaluated_model_against_the_start(tmp_path: Path) -> None:
    game = make(tmp_path / "run", CrossEntropyOnly(), players(learning_rate=0.1))
    game.evaluate()
    assert game.confidence() == 0.5
    perfect = np.zeros_like(game.models.start_confusion)
    truth = game.models.start_confusion.sum(2)
    for k in range(CLASSES):
        perfect[:, k, k] = truth[:, k]
    game.models.confusion = perfect
    assert game.confidence() == 1.0
    game.models.start_confusion, game.models.confusion = perfect, game.models.start_confusion
    assert game.confidence() == 0.0


def test_the_fully_convolutional_discriminator_judges_places() -> None:
    settings = Discriminator(alpha=0.25, input_size=128, architecture="convolutional", sees="masks")
    judge = build(settings, 3, seed=0)
    assert isinstance(judge, FullyConvolutionalDiscriminator)
    maps = np.eye(3, dtype=np.float32)[np.random.default_rng(0).integers(0, 3, (2, 128, 128))]
    images = np.zeros((2, 128, 128, 3), np.uint8)
    logits = judge(judge.inputs(tf.constant(images), tf.constant(maps)), training=False)
    assert logits.shape == (2, 4, 4)
    shapes = [tuple(v.shape) for v in judge.trainable_variables if v.path.endswith("kernel")]
    assert shapes == [(4, 4, 3, 16), (4, 4, 16, 32), (4, 4, 32, 64), (4, 4, 64, 128), (4, 4, 128, 1)]
    # A change in the lower right corner moves the verdict there, not the one in the upper left corner.
    other = maps.copy()
    other[:, -4:, -4:] = np.roll(other[:, -4:, -4:], 1, -1)
    moved = np.abs(np.asarray(judge(tf.constant(other), training=False)) - np.asarray(logits))
    assert moved[:, 0, 0].max() == 0 and moved[:, 3, 3].min() > 0


@pytest.mark.parametrize(("sees", "channels"), [("split", 9), ("masks", 3), ("both", 12)])
def test_what_a_discriminator_sees(sees: str, channels: int) -> None:
    settings = Discriminator(alpha=0.25, input_size=32, sees=sees, image_range=(0.5, 1.0))
    judge = build(settings, 3, seed=0)
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    maps = np.eye(3, dtype=np.float32)[random.integers(0, 3, (1, 32, 32))]
    inputs = np.asarray(judge.inputs(tf.constant(images), tf.constant(maps)))
    assert inputs.shape[-1] == channels == judge.body.input_shape[-1]
    if sees != "split":
        np.testing.assert_array_equal(inputs[..., -3:], maps)
    if sees != "masks":
        expected = (0.5 + images.astype(np.float64) / 510)[..., None, :] * maps[..., None]
        np.testing.assert_allclose(inputs[..., :9], expected.reshape(1, 32, 32, 9), rtol=1e-6)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"LucEtAl\.weight is -1"):
        LucEtAl(weight=-1.0)
    with pytest.raises(UserError, match=r"HungEtAl\.learning_rate is 0; expected a number above 0"):
        HungEtAl(learning_rate=0)
    with pytest.raises(UserError, match=r"Discriminator\.sees is 'image'"):
        Discriminator(sees="image")
    with pytest.raises(UserError, match="average is 1"):
        AdversarialTraining(average=1.0)
