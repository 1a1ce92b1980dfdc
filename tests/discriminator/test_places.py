"""Verdicts on places, and the question whether a map is right there."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from load_tf.discriminator import build
from load_tf.discriminator.buffer import batches, draw_pairs, right_places
from load_tf.discriminator.grid import GridExamples
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.randomness import key
from load_tf.training.discriminator import DiscriminatorTrainer, DiscriminatorTraining, area_under_curve

K = 3


def test_right_wrong_and_between_by_hand() -> None:
    """Places of 2 x 2: no point wrong, one of four, one of two visible ones, all void."""
    truth = np.zeros((1, 2, 8), np.uint8)
    truth[0, :, 5] = truth[0, :, 6:] = 255
    maps = np.zeros((1, 2, 8), np.uint8)
    maps[0, 0, 2], maps[0, 1, 4] = 1, 2
    right, weights = right_places(maps, truth, 2)
    np.testing.assert_array_equal(right, [[[1, 0, 0, 0]]])
    # 4 places in all; half of the weight is the right one's, half is divided among the two wrong ones.
    np.testing.assert_allclose(weights, [[[2, 1, 1, 0]]])


def test_a_few_wrong_points_are_neither() -> None:
    truth = np.zeros((1, 8, 16), np.uint8)
    maps = truth.copy()
    maps[0, :5, 8:11] = 1  # 15 of 64
    np.testing.assert_array_equal(right_places(maps, truth, 8)[1], [[[2, 0]]])
    maps[0, 7, 15] = 1  # 16 of 64
    np.testing.assert_array_equal(right_places(maps, truth, 8)[1], [[[1, 1]]])


def test_places_at_the_edge_have_fewer_points() -> None:
    right, weights = right_places(np.ones((1, 5, 5), np.uint8), np.ones((1, 5, 5), np.uint8), 4)
    assert right.shape == weights.shape == (1, 2, 2) and right.all() and (weights == 1).all()


def test_all_void_weighs_nothing() -> None:
    truth = np.full((2, 8, 8), 255, np.uint8)
    assert not right_places(truth, truth, 8)[1].any()


@pytest.mark.parametrize(("stride", "size"), [(4, 36), (8, 64), (8, 40), (16, 64), (16, 48)])
def test_a_verdict_for_every_place(stride: int, size: int) -> None:
    settings = Discriminator(alpha=0.25, input_size=size, verdict="place", stride=stride)
    judge = build.build(settings, K, seed=0)
    places = size // stride
    logits = judge(tf.random.stateless_uniform([2, size, size, 3 * K], [1, 2]), training=False)
    assert logits.shape == (2, places, places) and logits.dtype == tf.float32
    assert len(np.unique(logits)) > 2
    count = sum(int(np.prod(v.shape)) for v in judge.trainable_variables)
    assert build.numbers(settings, K) == (count, sum(int(np.prod(v.shape)) for v in judge.variables) - count)
    assert build.place_asked_about(Discriminator(verdict="place", stride=stride, asks="right here")) == stride


def test_a_verdict_sees_its_place_and_what_is_around_it() -> None:
    settings = Discriminator(alpha=0.25, input_size=224, verdict="place")
    judge = build.build(settings, K, seed=0)
    inputs = np.zeros((1, 224, 224, 3 * K), np.float32)
    changed = inputs.copy()
    changed[0, 80:88, 80:88] = 1
    differ = np.argwhere(np.abs(judge(changed, training=False) - judge(inputs, training=False))[0] > 0)
    assert [10, 10] in differ.tolist()
    assert np.abs(differ - 10).max() < 8, "and not all of the map"


def test_dropout_of_a_part_is_that_of_the_whole() -> None:
    from load_tf.discriminator.conditioning import BatchSlice

    judge = build.build(Discriminator(alpha=0.25, input_size=32, verdict="place", dropout=0.5), K, seed=0)
    inputs = tf.random.stateless_uniform([4, 32, 32, 3 * K], [1, 2])
    drawn = tf.constant(key(0, "dropout"))
    for layer in judge.body.layers:
        layer.trainable = False  # batch norm then is in inference mode, and rows are independent
    whole = judge(inputs, training=True, dropout_key=drawn)
    part = judge(inputs[1:3], True, drawn, BatchSlice(tf.constant(1), tf.constant(4)))
    scale = float(np.abs(whole).max())
    np.testing.assert_allclose(part, whole[1:3], rtol=1e-3, atol=1e-3 * scale)
    assert np.abs(whole - judge(inputs, training=False)).max() > 0.1 * scale


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"stride": 32}, "stride is 32; expected 4, 8 or 16"),
        (
            {"input_size": 100, "verdict": "place"},
            "input_size is 100, and verdict is 'place'; expected a multiple of the",
        ),
        ({"verdict": "pixel"}, "verdict is 'pixel'; expected one of 'map', 'place'"),
        ({"asks": "wrong"}, "asks is 'wrong'; expected one of 'real', 'right here'"),
    ],
)
def test_settings(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        Discriminator(**settings)


def test_who_judges_maps_can_not_be_asked_about_places() -> None:
    with pytest.raises(UserError, match=r"'mobilenet' one judges whole maps; expected asks = 'real', or verdict"):
        build.refuse_unusable(Discriminator(asks="right here"))
    assert build.place_asked_about(Discriminator(architecture="convolutional", asks="right here")) == 32
    assert build.place_asked_about(Discriminator(verdict="place")) is None


@pytest.fixture(name="scenes", scope="module")
def _scenes() -> tuple[GridExamples, np.ndarray]:
    """Images that say the class by their colour, and maps with a wrong quarter."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.repeat(random.integers(0, K, (24, 4, 4), np.uint8), 16, 1), 16, 2)
    labels[random.random(labels.shape) < 0.05] = 255
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], *[[0, 0, 0]] * 253], np.uint8)
    maps = labels.copy()
    for row, one in enumerate(maps):
        top, left = 32 * (row % 2), 32 * (row // 2 % 2)
        one[top : top + 32, left : left + 32] = (one[top : top + 32, left : left + 32] + 1) % K
    return GridExamples(colours[labels], labels), maps


def test_batches_hold_what_is_right_also_where_they_are_mirrored(scenes: tuple[GridExamples, np.ndarray]) -> None:
    examples, maps = scenes
    draw = draw_pairs(len(examples), 1, 0)
    first = next(iter(batches(examples, [maps], draw, 16, 0, place=16)))
    assert first["right"].shape == first["place_weights"].shape == (16, 4, 4)
    for row in range(16):
        index, fake, flip = draw.image[row], draw.source[row] == 0, draw.flip[row]
        wrong = np.zeros((4, 4), bool)
        if fake:
            top, left = 2 * (index % 2), 2 * (index // 2 % 2)
            wrong[top : top + 2, left : left + 2] = True
        np.testing.assert_array_equal(first["right"][row] == 0, wrong[:, ::-1] if flip else wrong)
    assert "right" not in next(iter(batches(examples, [maps], draw, 16, 0)))


def test_it_learns_where_a_map_is_wrong(scenes: tuple[GridExamples, np.ndarray]) -> None:
    """On images it was not trained on; the same network asked "real" knows less of where."""
    examples, maps = scenes
    training = GridExamples(examples.images[:16], examples.labels[:16])
    unseen = GridExamples(examples.images[16:], examples.labels[16:])
    settings = Discriminator(
        alpha=0.25, input_size=64, verdict="place", asks="right here", batch_norm_momentum=0.5, dropout=0.0
    )
    chosen = DiscriminatorTraining(batch_size=16, optimizer="adam", learning_rate=3e-3)
    judge = build.build(settings, K, seed=0)
    trainer = DiscriminatorTrainer(judge, chosen, K, tf.distribute.get_strategy())

    def measured() -> dict[str, float]:
        draw = draw_pairs(len(unseen), 1, 0)
        trainer.eval_dataset = batches(unseen, [maps[16:]], draw, 16, 0, place=8)
        return trainer.evaluate(tf.constant(-1))

    before = measured()
    for epoch in range(12):
        draw = draw_pairs(len(training), 1, 0, epoch)
        trainer.train_dataset = batches(training, [maps[:16]], draw, 16, 0, epoch, place=8)
        loss = trainer.train(tf.constant(2))["loss"]
    after = measured()
    assert before["place_auc"] < 0.8 < 0.9 < after["place_auc"]
    assert after["pair_accuracy"] == 1.0, "a map with wrong places has the lower mean"
    assert loss < 0.6


def test_area_under_the_curve_by_hand() -> None:
    scores, positive = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert area_under_curve(scores, positive) == (2 + 0 + 0.5) / 4
    assert area_under_curve(scores, np.ones(4, bool)) == 0.5
