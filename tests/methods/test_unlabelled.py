"""Images without labels in a game: who is shown them, what the methods beside LoAd make of them, kills and replicas."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from load_tf.algorithm.lookahead import Lookahead
from load_tf.data.dataset import IGNORE_LABEL, UNLABELLED, Split
from load_tf.data.synthetic import synthetic
from load_tf.data.unlabelled import Withheld
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.game.game import AdversarialGame, Players
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.hung import HungEtAl, HungSemiSupervised
from load_tf.methods.load import LoAd
from load_tf.methods.mean_teacher import MeanTeacher
from load_tf.methods.method import Method
from load_tf.methods.self_training import SelfTraining
from load_tf.segmentors.labelling import upsample
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.augmentation import padded_batch
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import cross_entropy, pixels_seen
from tests import networks
from tests.methods.test_methods import killed

CROP, CLASSES, BATCH, LABELLED, STRANGE = (49, 65), 8, 2, 4, 6
SETTINGS = Lookahead(patience=2, max_iterations=3, max_fruitless_cycles=9, upper=0.0)


def make(
    folder: Path, method: Method, unlabelled: bool = True, sees: str = "masks", rate: float = 0.05, used: bool = True
) -> AdversarialGame:
    data = synthetic(train=LABELLED + STRANGE, validation=4, size=(48, 64))
    whole, holdout = data.split("train"), data.split("validation")
    model, strategy = networks.untrained(CLASSES), tf.distribute.get_strategy()
    return AdversarialGame(
        model,
        Evaluator(model, holdout, CROP, CLASSES, 2, strategy=strategy),
        part(whole, range(LABELLED)),
        holdout,
        Players(
            Discriminator(alpha=0.1, input_size=32, architecture="convolutional", sees=sees),
            DiscriminatorTraining(batch_size=4, max_epochs=1, optimizer="adam", learning_rate=1e-3),
            AdversarialTraining(batch_size=BATCH, learning_rate=rate, unlabelled=used),
            Sampling(gumbel_noise=False),
        ),
        method,
        crop=CROP,
        num_classes=CLASSES,
        seed=1,
        run=RunDirectory(folder, "config"),
        strategy=strategy,
        max_iterations=SETTINGS.max_iterations,
        unlabelled=Withheld(part(whole, range(LABELLED, LABELLED + STRANGE))) if unlabelled else None,
    )


def part(split: Split, places: range) -> Split:
    from load_tf.data.dataset import Subset

    return Subset(split, tuple(places))


def bits(game: AdversarialGame) -> list[bytes]:
    return [v.numpy().tobytes() for v in game.segmentor.variables]


def prepared(game: AdversarialGame, updates: int = 0) -> list[dict[str, np.ndarray]]:
    """The batches that the trainer is about to be given."""
    game.images.prepare(game.segmentor_trainer, updates, game.aggregation.origin)
    taken = itertools.islice(game.segmentor_trainer.train_dataset, 15)
    return [{name: value.numpy() for name, value in batch.items()} for batch in taken]


def test_the_adversary_trains_on_all_images_and_knows_no_label(tmp_path: Path) -> None:
    game = make(tmp_path / "run", LoAd())
    game.aggregate("g0", 0)
    assert len(game.aggregation.sets["g0"].training) == LABELLED + STRANGE
    assert (game.aggregation.sets["g0"].training < CLASSES).all()
    labels = np.concatenate([batch["labels"] for batch in prepared(game)])
    strange = (labels == UNLABELLED).any(axis=(1, 2))
    assert strange.mean() == pytest.approx(STRANGE / (LABELLED + STRANGE))
    # All that can be seen of these is unlabelled, and void is hidden as in others.
    assert set(np.unique(labels[strange])) == {UNLABELLED, IGNORE_LABEL}
    shares = [(one == IGNORE_LABEL).mean() for one in labels]
    of_own = {np.round((one == IGNORE_LABEL).mean(), 6) for one in labels[~strange]}
    assert {np.round(share, 6) for share, odd in zip(shares, strange, strict=True) if odd} <= of_own
    before = bits(game)
    game.train_discriminator(["g0"], 0)
    assert game.update(0, 0) and bits(game) != before


def test_updates_may_leave_them_out(tmp_path: Path) -> None:
    """Then they are of the images that there would be without; all of D_t is still aggregated."""
    games = [make(tmp_path / "without", LoAd(), unlabelled=False), make(tmp_path / "unused", LoAd(), used=False)]
    for game in games:
        game.aggregate("g0", 0)
    assert len(games[1].aggregation.sets["g0"].training) == LABELLED + STRANGE
    for one, other in zip(*map(prepared, games), strict=True):
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])


def test_methods_with_a_pixel_wise_loss_read_what_they_read_without(tmp_path: Path) -> None:
    for method in (CrossEntropyOnly(), HungEtAl(learning_rate=0.05)):
        ends = []
        for unlabelled in (True, False):
            game = make(tmp_path / f"{method.title} {unlabelled}", method, unlabelled)
            method.play(game, SETTINGS, None)
            ends.append(bits(game))
        assert ends[0] == ends[1]


@pytest.mark.parametrize("sees", ["masks", "split"])
def test_whose_maps_are_fakes(tmp_path: Path, sees: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from load_tf.game import judge

    drawn = []
    draw = judge.draw_pairs
    monkeypatch.setattr(judge, "draw_pairs", lambda *args, **named: drawn.append(draw(*args, **named)) or drawn[-1])
    game = make(tmp_path / "run", LoAd(), sees=sees)
    game.aggregate("g0", 0)
    for cycle in range(4):
        game.train_discriminator(["g0"], cycle)
    images = np.concatenate([one.image[one.source >= 0] for one in drawn])
    assert (images >= LABELLED).any() == (sees == "masks")
    assert all((one.image[one.source < 0] < LABELLED).all() for one in drawn)


def test_a_batch_has_as_many_images_beside_the_labelled_ones(tmp_path: Path) -> None:
    plain, beside = (
        prepared(make(tmp_path / method.title, method)) for method in (CrossEntropyOnly(), MeanTeacher(weight=0.0))
    )
    for one, other in zip(plain, beside, strict=True):
        assert other["labelled"].tolist() == [1] * BATCH + [0] * BATCH
        for name in ("images", "truth"):
            np.testing.assert_array_equal(one[name], other[name][:BATCH])
        assert set(np.unique(other["truth"][BATCH:])) <= {UNLABELLED, IGNORE_LABEL}
    shown = {batch["images"][row].tobytes() for batch in beside for row in range(BATCH, 2 * BATCH)}
    assert len(shown) == STRANGE


def median_confidence() -> float:
    """Of the start, on the images without labels, padding included."""
    split = synthetic(train=LABELLED + STRANGE, validation=4, size=(48, 64)).split("train")
    images, _ = padded_batch(split, range(LABELLED, LABELLED + STRANGE), CROP)
    odds = tf.nn.softmax(upsample(networks.untrained(CLASSES)(images, training=False), CROP))
    return float(np.median(odds.numpy().max(-1)))


def test_self_training_by_hand(tmp_path: Path) -> None:
    """The made-up labels are the start's where it is sure; the loss is two means of cross-entropy."""
    weight, confidence = 0.5, median_confidence()
    game = make(tmp_path / "run", SelfTraining(confidence=confidence, weight=weight))
    batch = prepared(game)[0]
    logits = game.segmentor(batch["images"], training=False).numpy()
    up = np.asarray(tf.raw_ops.ResizeBilinear(images=logits, size=CROP, align_corners=True), np.float64)
    odds = np.exp(up) / np.exp(up).sum(-1, keepdims=True)
    expected = np.where(odds.max(-1) >= confidence, odds.argmax(-1), IGNORE_LABEL)[BATCH:]
    inside = np.zeros(CROP, bool)
    inside[:48, :64] = True
    expected = np.where(inside, expected, IGNORE_LABEL)
    assert np.mean(batch["truth"][BATCH:] == expected) > 0.999
    assert 0.05 < (expected == IGNORE_LABEL)[:, inside].mean() < 0.95
    means = [
        float(cross_entropy(logits[rows], batch["truth"][rows]) / pixels_seen(batch["truth"][rows]))
        for rows in (slice(0, BATCH), slice(BATCH, None))
    ]
    assert game.update(0, 0)
    event = game.run.journal()[-1]
    assert event["labelled_loss"] == pytest.approx(means[0], rel=1e-5)
    assert event["beside_loss"] == pytest.approx(means[1], rel=1e-5)
    assert event["loss"] == pytest.approx(means[0] + weight * means[1], rel=1e-5)


def test_without_weight_self_training_is_cross_entropy(tmp_path: Path) -> None:
    ends = []
    for method in (SelfTraining(weight=0.0), CrossEntropyOnly()):
        game = make(tmp_path / method.title, method)
        method.play(game, SETTINGS, None)
        ends.append([v.numpy() for v in game.segmentor.variables])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_mean_teacher_by_hand(tmp_path: Path) -> None:
    method = MeanTeacher(decay=0.75, weight=2.0)
    game = make(tmp_path / "run", method)
    start = [v.numpy() for v in game.segmentor_trainer.trained]
    batch = prepared(game)[0]
    trainer = game.segmentor_trainer
    student = np.asarray(trainer.segmentor(trainer.disturbed(batch), training=False))
    teacher = np.asarray(trainer.segmentor(batch["images"], training=False))
    assert not np.allclose(student, teacher)
    visible = tf.image.resize(np.float32(batch["truth"] != IGNORE_LABEL)[..., None], student.shape[1:3], "nearest")
    apart = ((np.asarray(tf.nn.softmax(student)) - np.asarray(tf.nn.softmax(teacher))) ** 2).sum(-1)
    assert game.update(0, 0)
    event = game.run.journal()[-1]
    assert event["beside_loss"] == pytest.approx(float((apart * visible.numpy()[..., 0]).mean()), rel=1e-4)
    # What is looked at between the updates is the teacher, a quarter of the way to the student.
    for before, now, fast in zip(start, trainer.trained, trainer.others, strict=True):
        np.testing.assert_allclose(now.numpy(), before + 0.25 * (fast.numpy() - before), rtol=1e-4, atol=1e-6)


def test_the_teacher_has_its_own_weights(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", MeanTeacher()).segmentor_trainer
    images = tf.random.stateless_uniform([1, *CROP, 3], [1, 2], 0, 255)
    for variable in trainer.others:
        variable.assign(variable.value * 1.5)
    found = trainer.teacher(images)
    student = trainer.segmentor(images, training=False)
    for variable, other in zip(trainer.trained, trainer.others, strict=True):
        variable.assign(other.value)
    np.testing.assert_allclose(found, trainer.segmentor(images, training=False), rtol=1e-5)
    assert not np.allclose(found, student)


def test_hung_believes_nothing_at_first_and_then_what_is_taken_for_real(tmp_path: Path) -> None:
    shares = {}
    for begins in (0.0, 0.5):
        method = HungSemiSupervised(learning_rate=0.01, threshold=0.0, begins=begins)
        game = make(tmp_path / str(begins), method)
        method.play(game, Lookahead(patience=4, max_iterations=4, max_fruitless_cycles=9, upper=0.0), None)
        shares[begins] = [e["believed_share"] for e in game.run.journal() if e["event"] == "update"]
    # At a threshold of 0 every visible point is believed. Half of the game's three iterations are one and a half.
    np.testing.assert_allclose(shares[0.0], 1.0, rtol=1e-6)
    assert shares[0.5][:2] == [0.0, 0.0] and shares[0.5][2] == pytest.approx(1.0)


def test_hungs_discriminator_is_shown_both_kinds_in_equal_weight(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", HungSemiSupervised()).segmentor_trainer
    rows = 2 * BATCH
    batch = {
        "images": tf.zeros([rows, *CROP, 3]),
        "labels": tf.constant(np.repeat([[[1]], [[UNLABELLED]]], BATCH, 0) * np.ones((1, 32, 32)), tf.uint8),
        "grid_images": tf.zeros([rows, 32, 32, 3], tf.uint8),
        "labelled": tf.constant([1.0] * BATCH + [0.0] * BATCH),
        "key": tf.constant([1, 2]),
        "rows": tf.constant(rows), "first": tf.constant(0), "own": tf.constant(rows),
    }  # fmt: skip
    found = trainer._pairs(batch)
    real, weights = found["real"].numpy(), found["weights"].numpy()
    assert weights[real == 1].tolist() == [2] * BATCH + [0] * BATCH
    assert weights[real == 0].tolist() == [1] * rows
    # Of an image without labels there is no real map that could be shown.
    assert not found["maps"].numpy()[2 * BATCH :][::2].any()


@pytest.mark.parametrize("method", [SelfTraining(), MeanTeacher(), HungSemiSupervised()], ids=lambda m: m.title)
def test_methods_that_need_them_say_so(tmp_path: Path, method: Method) -> None:
    with pytest.raises(UserError, match=f"{method.title} needs images without labels, and the data set has none"):
        make(tmp_path / "run", method, unlabelled=False)


@pytest.mark.parametrize(
    "method",
    [LoAd(), SelfTraining(confidence=0.15), MeanTeacher(), HungSemiSupervised(learning_rate=0.05)],
    ids=lambda m: m.title,
)
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, method: Method) -> None:
    whole = make(tmp_path / "whole", method)
    method.play(whole, SETTINGS, None)
    commits = itertools.count(1)
    killed(make(tmp_path / "killed", method), method, lambda _: next(commits) == 3)
    again = make(tmp_path / "killed", method)
    method.play(again, SETTINGS, again.resume())
    assert bits(again) == bits(whole)
    assert again.run.journal() == whole.run.journal()


def test_values_out_of_range_are_refused() -> None:
    for make_method, message in (
        (lambda: SelfTraining(confidence=1.0), r"SelfTraining\.confidence is 1\.0"),
        (lambda: MeanTeacher(decay=1.0), r"MeanTeacher\.decay is 1\.0"),
        (lambda: MeanTeacher(jitter=-0.1), r"MeanTeacher\.jitter is -0\.1"),
        (lambda: HungSemiSupervised(threshold=2.0), r"HungSemiSupervised\.threshold is 2\.0"),
        (lambda: dataclasses.replace(SelfTraining(), weight=-1.0), r"SelfTraining\.weight is -1\.0"),
    ):
        with pytest.raises(UserError, match=message):
            make_method()
