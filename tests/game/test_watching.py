"""The watched images: scored with every model that is scored on the hold-out, and without a say in anything."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from load_tf.algorithm.lookahead import Lookahead, State, play
from load_tf.data.dataset import ExampleList, Split, Subset
from load_tf.data.synthetic import synthetic
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou
from load_tf.experiment.settings import Experiment
from load_tf.game.game import AdversarialGame, Players
from load_tf.game.warnings import peak_warning
from load_tf.game.watching import Watch, draw_watched
from load_tf.methods.descent_ascent import DescentAscent
from load_tf.methods.load import LoAd
from load_tf.segmentors.small import small_deeplab
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from tests import networks

CROP, CLASSES = (49, 65), 8
SETTINGS = Lookahead(patience=2, max_iterations=4, max_fruitless_cycles=9, upper=0.0, lower=0.9)
DATA = synthetic(train=6, validation=9, size=(48, 64))
HOLDOUT = (0, 3, 5, 8)
EVENTS = ("start", "evaluate", "peak")


def make(folder: Path, watched: int, **adversarial: Any) -> AdversarialGame:
    validation, strategy, model = DATA.split("validation"), tf.distribute.get_strategy(), networks.untrained(CLASSES)
    holdout = Subset(validation, HOLDOUT)
    return AdversarialGame(
        model,
        Evaluator(model, holdout, CROP, CLASSES, 2, strategy=strategy),
        DATA.split("train"),
        holdout,
        Players(
            Discriminator(alpha=0.1, input_size=32, architecture="convolutional"),
            DiscriminatorTraining(batch_size=6, max_epochs=1, optimizer="adam", learning_rate=1e-3),
            AdversarialTraining(batch_size=2, learning_rate=0.05, **adversarial),
            Sampling(gumbel_noise=False),
        ),
        crop=CROP,
        num_classes=CLASSES,
        seed=1,
        run=RunDirectory(folder, "config"),
        strategy=strategy,
        watched=draw_watched(validation, HOLDOUT, watched, 1),
    )


def of(game: AdversarialGame, *names: str) -> list[dict[str, Any]]:
    return [event for event in game.run.journal() if event["event"] in names]


@pytest.fixture(name="played", scope="module", params=[LoAd(), DescentAscent()], ids=["LoAd", "descent-ascent"])
def _played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[AdversarialGame]:
    """The same game without watched images and with five."""
    games = [make(tmp_path_factory.mktemp("looks") / "run", watched) for watched in (0, 5)]
    for game in games:
        request.param.play(game, SETTINGS, game.resume())
    return games


def test_watching_leaves_the_path_bit_for_bit(played: list[AdversarialGame]) -> None:
    plain, watching = played
    for a, b in zip(plain.segmentor.variables, watching.segmentor.variables, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
    only = {"untouched", "watched"}
    left = [{key: value for key, value in event.items() if key not in only} for event in watching.run.journal()]
    assert [event for event in left if event["event"] != "warning"] == [
        event for event in plain.run.journal() if event["event"] != "warning"
    ]
    assert not [event for event in plain.run.journal() if only & event.keys()]
    assert len(of(plain, "evaluate")) == 4


def test_every_look_has_the_score_of_the_same_model(played: list[AdversarialGame]) -> None:
    _, watching = played
    assert all(0 < event["untouched"] < 1 for event in of(watching, *EVENTS))
    (start,) = of(watching, "start")
    assert start["watched"] == 5
    untouched = Subset(DATA.split("validation"), (1, 2, 4, 6, 7))
    fresh = networks.untrained(CLASSES)
    assert start["untouched"] == mean_iou(Evaluator(fresh, untouched, CROP, CLASSES, 2).evaluate())
    # The game ends at its start model: the last peak, or what it began with.
    end = [*of(watching, "start", "peak")][-1]
    alone = Evaluator(watching.segmentor, untouched, CROP, CLASSES, 2)
    assert end["untouched"] == mean_iou(alone.evaluate())
    scores = {event["untouched"] for event in of(watching, "evaluate")}
    assert len(scores) > 1 and (end["event"] == "start" or end["untouched"] in scores)


def test_the_step_is_traced_once_for_both(played: list[AdversarialGame]) -> None:
    for game in played:
        assert game.evaluator.trace_count() == 1


def test_another_split_counts_as_an_evaluator_of_its_own() -> None:
    """Images of another size than the crop among them; the first split's evaluator goes on as before."""
    model, validation = networks.untrained(CLASSES), DATA.split("validation")
    larger = synthetic(train=2, validation=2, size=(70, 90)).split("validation")
    first = Evaluator(model, validation, CROP, CLASSES, 2)
    before = first.evaluate()
    other = first.on(larger)
    np.testing.assert_array_equal(other.evaluate(), Evaluator(model, larger, CROP, CLASSES, 2).evaluate())
    np.testing.assert_array_equal(first.evaluate(), before)
    assert len(other.evaluate()) == 2 and first.trace_count() == 1
    broken = ExampleList([larger[0]._replace(label=np.full((70, 90), 77, np.uint8))])
    with pytest.raises(UserError, match="holds \\[77\\]"):
        first.on(broken).evaluate()


def test_with_an_average_its_weights_are_scored(tmp_path: Path) -> None:
    game = make(tmp_path / "run", 5, average=0.9)
    game.update(0, 0)
    game.evaluate()
    game.record("evaluate", cycle=0, iteration=1, miou=0.5)
    (event,) = of(game, "evaluate")
    present = game.watch._evaluator.evaluate().sum(0)
    game.models.average.put_back()
    averaged = game.watch._evaluator.evaluate().sum(0)
    assert event["untouched"] == mean_iou(averaged)
    assert not np.array_equal(present, averaged)


def test_the_draw_is_keyed_and_untouched() -> None:
    validation = DATA.split("validation")
    drawn = draw_watched(validation, HOLDOUT, 3, 0)
    assert drawn is not None
    ids = [validation.ids[i] for i in (1, 2, 4, 6, 7)]
    assert len(set(drawn.ids)) == 3 and set(drawn.ids) < set(ids) and list(drawn.ids) == sorted(drawn.ids)
    assert draw_watched(validation, HOLDOUT, 3, 0).ids == drawn.ids
    assert len({draw_watched(validation, HOLDOUT, 3, seed).ids for seed in range(6)}) > 1
    turned = Subset(validation, tuple(range(8, -1, -1)))
    moved = draw_watched(turned, [8 - i for i in HOLDOUT], 3, 0)
    assert moved.ids == drawn.ids and moved[0].id == drawn.ids[0], "the order in which they are stored does not count"
    assert draw_watched(validation, HOLDOUT, 100, 0).ids == tuple(sorted(ids)), "all, if there are fewer"
    assert draw_watched(validation, HOLDOUT, 0, 0) is None and draw_watched(validation, range(9), 5, 0) is None


@pytest.mark.parametrize("value", [-1, 2.5, None])
def test_the_number_of_watched_images_is_checked(value: Any) -> None:
    with pytest.raises(UserError, match=f"experiment.watched_images is {value}; expected a whole number, 0 for none"):
        Experiment(DATA, small_deeplab, watched_images=value)
    assert Experiment(DATA, small_deeplab).watched_images == 100


class Scripted:
    """Plays prescribed scores, and watches as the real game does."""

    def __init__(self, holdout: Sequence[float], untouched: Sequence[float | None]) -> None:
        self.scores, self.watched = iter(holdout), iter(untouched)
        self.watch = Watch(_Stub(self.watched), _ONE)
        self.journal: list[dict[str, Any]] = []

    def evaluate(self) -> float:
        self.watch.look()
        return next(self.scores)

    def update(self, cycle: int, iteration: int) -> bool:
        return True

    def keep_best(self) -> None:
        self.watch.keep_best()

    def promote_best(self) -> None:
        self.watch.promote_best()

    def record(self, event: str, **values: Any) -> None:
        self.journal.append({"event": event, **values, **self.watch.beside(event, values)})
        if event == "peak" and (text := self.watch.warning()):
            self.journal.append({"event": "warning", "cycle": values["cycle"], "text": text})

    def commit(self, state: State) -> None:
        """As a kill and a restart would."""
        saved = self.watch.to_json()
        self.watch = Watch(_Stub(self.watched), _ONE)
        self.watch.from_json({name: None if look is None else list(look) for name, look in saved.items()})

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class _Stub:
    """An evaluator of two classes with the next prescribed mIoU, to a millionth; None: all is void."""

    def __init__(self, scores: Any) -> None:
        self.scores = scores

    def on(self, split: Split) -> "_Stub":
        return self

    def evaluate(self, description: str) -> np.ndarray:
        score = next(self.scores)
        if score is None:
            return np.zeros((1, 2, 2), np.int64)
        right = round(score * 1e6)
        wrong = (10**6 - right) // 2
        return np.array([[[right, wrong], [wrong, right]]])


_ONE = ExampleList([DATA.split("validation")[0]])


def warnings(holdout: Sequence[float], untouched: Sequence[float | None]) -> list[str]:
    game = Scripted(holdout, untouched)
    play(game, Lookahead(patience=2, max_iterations=(len(holdout) - 1), upper=0.0, lower=0.9))
    assert len([e for e in game.journal if e["event"] == "peak"]) == 2
    return [event["text"] for event in game.journal if event["event"] == "warning"]


def test_a_peak_that_the_watched_images_contradict_is_warned_of_once() -> None:
    """Two cycles of two looks; the second peak gains 1 point on the hold-out and loses one elsewhere."""
    holdout = [0.60, 0.61, 0.60, 0.62, 0.61]
    (text,) = warnings(holdout, [0.60, 0.62, 0.50, 0.61, 0.70])
    assert "gains 1.00 points on the hold-out but loses 1.00 on 1 watched images" in text
    assert warnings(holdout, [0.60, 0.61, 0.60, 0.62, 0.61]) == [], "they move together"
    assert len(warnings(holdout, [0.60, 0.59, 0.60, 0.58, 0.61])) == 2, "both peaks"
    assert warnings(holdout, [0.60, 0.61, 0.1, None, 0.1]) == [], "what is not finite has no sign"


def test_a_run_of_an_older_revision_goes_on_without_a_gain() -> None:
    watch = Watch(_Stub(iter([0.5, 0.4, 0.3])), _ONE)
    watch.from_json({})
    for miou, known in ((0.6, False), (0.7, True), (0.8, True)):
        watch.look()
        assert watch.beside("evaluate", {"miou": miou}).keys() == {"untouched"}
        watch.keep_best()
        watch.promote_best()
        assert "untouched" in watch.beside("peak", {"miou": miou})
        assert (watch.warning() is not None) is known


def test_the_peak_warnings_signs() -> None:
    assert peak_warning(0.01, 0.01, 5) is None and peak_warning(0.01, 0.0, 5) is None
    assert peak_warning(0.01, -0.00004, 5) is None, "printed, it would be 0.00"
    assert "gains 1.00 points on the hold-out but loses 0.01 on 5" in str(peak_warning(0.01, -0.0001, 5))
    assert peak_warning(0.01, math.nan, 5) is None


def test_a_commit_holds_what_is_watched(tmp_path: Path) -> None:
    game = make(tmp_path / "run", 5)
    state = State()
    play_to_the_first_look(game)
    game.commit(dataclasses.replace(state, phase="ahead", iteration=1, peak_miou=0.5))
    saved = game.watch.to_json()
    game.run.close()
    again = make(tmp_path / "run", 5)
    again.resume()
    assert again.watch.to_json() == saved and None not in saved.values()
    again.run.state.pop("watched")
    again.resume()
    assert again.watch.to_json() == {"start": None, "best": None}
    again.run.close()


def play_to_the_first_look(game: AdversarialGame) -> None:
    game.record("start", miou=game.evaluate())
    game.update(0, 0)
    game.record("evaluate", cycle=0, iteration=1, miou=game.evaluate())
    game.keep_best()
