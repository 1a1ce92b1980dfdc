"""The game Algorithm 1 plays, on real networks: what it asks for, each in terms of the parts that do it.

`models` are the segmentor's weights, `judge` is the discriminator's training, `aggregation` makes the label maps,
`images` are those of the updates, `watch` looks at images that decide nothing, and `saving` is what survives a kill.
"""

import dataclasses
import functools
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from load_tf import interruption
from load_tf.algorithm.lookahead import State
from load_tf.data.dataset import Split, groups_of
from load_tf.devices import workers
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import Size
from load_tf.discriminator.settings import Discriminator
from load_tf.evaluation.bootstrap import share_of_draws_won
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou_of_truth
from load_tf.evaluation.race import Bounds, race
from load_tf.game import warnings
from load_tf.game.aggregation import Aggregation
from load_tf.game.images import Images
from load_tf.game.judge import Book, Judge
from load_tf.game.models import Models
from load_tf.game.saving import Saving
from load_tf.game.watching import Watch
from load_tf.methods.load import LoAd
from load_tf.methods.method import Arena, Method
from load_tf.report.listeners import Hear
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.adversarial import AdversarialTrainer
from load_tf.training.calibration import ENOUGH_IMAGES, GAIN, Calibrator
from load_tf.training.direction import agreement
from load_tf.training.discriminator import DiscriminatorTrainer, DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.snapshot import Snapshot
from load_tf.training.stage_one import StageOne

PAPER: Method = LoAd()

PEAK_TEST_DRAWS = 2000
"""Bootstrap draws of a peak test: a share near 0.9 is then known to 0.7 points."""


@dataclasses.dataclass(frozen=True)
class Players:
    """What a game is made of, beside the networks' data."""

    discriminator: Discriminator = dataclasses.field(default_factory=Discriminator)
    discriminator_training: DiscriminatorTraining = dataclasses.field(default_factory=DiscriminatorTraining)
    adversarial: AdversarialTraining = dataclasses.field(default_factory=AdversarialTraining)
    sampling: Sampling = dataclasses.field(default_factory=Sampling)


class AdversarialGame:
    """Implements `lookahead.Game` on real networks.

    Every draw is keyed by the seed and a counter that is part of the commit, so that a restart needs no iterator.
    """

    def __init__(
        self,
        segmentor: keras.Model,
        evaluator: Evaluator,
        training: Split,
        holdout: Split,
        players: Players,
        method: Method = PAPER,
        *,
        crop: Size,
        num_classes: int,
        seed: int,
        run: RunDirectory,
        strategy: tf.distribute.Strategy,
        commit_every: int = 1,
        max_iterations: int | None = None,
        listener: Hear = lambda event: None,
        watched: Split | None = None,
        stage_one: StageOne = StageOne(),  # noqa: B008 - immutable
        unlabelled: Split | None = None,
    ) -> None:
        """Builds all that plays, and reads the images on the discriminator's grid; nothing is trained yet.

        Args:
          segmentor: its present weights are the start model's.
          evaluator: the segmentor's, on the hold-out.
          training: D_t, those of its images that have labels.
          holdout: what decides.
          players: settings of the discriminator, of both trainings and of the sampling.
          method: what may change them, and makes the networks' trainers.
          crop: the padded height and width.
          num_classes: K.
          seed: the experiment's.
          run: where it is journalled and committed.
          strategy: where the variables live; its replicas share a batch.
          commit_every: iterations between two commits within a cycle.
          max_iterations: of the whole run, over which a learning rate may fall; None: there is no budget.
          listener: is told every event of the journal.
          watched: images that are scored as the hold-out is and decide nothing; None: there are none.
          stage_one: how the segmentor was, or would be, trained by cross-entropy.
          unlabelled: images of D_t without labels; None: there are none.

        Raises:
          UserError: naming an image that is larger than the crop, or what the method or its trainer can't do here.
        """
        self.segmentor, self.evaluator = segmentor, evaluator
        players = dataclasses.replace(players, adversarial=method.adversarial_training(players.adversarial))
        self.training, self.holdout, self.players = training, holdout, players
        self.trains_discriminator = method.trains_discriminator
        self.crop, self.seed, self.run = crop, seed, run
        self.workers = workers.of(strategy)
        self.commit_every, self.listener = commit_every, listener
        self.watch = Watch(evaluator, watched)
        grid, settings = players.discriminator.input_size, players.adversarial
        self.aggregation = Aggregation(
            *(evaluator, training, holdout),
            crop=crop, grid=grid, batch_size=settings.batch_size, strategy=strategy, unlabelled=unlabelled,
        )  # fmt: skip
        with strategy.scope():
            self.discriminator = method.discriminator(players.discriminator, num_classes, seed)
        updates = None if max_iterations is None else max_iterations * settings.updates_per_iteration
        # The convention is the hold-out's: what is trained is what is scored.
        arena = Arena(
            *(segmentor, settings, players.sampling, crop, num_classes, strategy, evaluator.convention),
            *(training, evaluator, stage_one, updates),
            unlabelled=unlabelled,
        )
        self.judge = self._make_judge(method, arena)
        if self.judge:
            arena = dataclasses.replace(arena, discriminator_trainer=self.judge.trainer)
        self.segmentor_trainer = method.trainer(arena, self.discriminator)
        self.calibrator = self._make_calibrator(method, unlabelled)
        self.models = Models(segmentor, self.segmentor_trainer, method.averaging(settings), strategy)
        self.images = Images(
            *(training, self.aggregation.training_grid, settings),
            crop=crop, seed=seed, unlabelled=unlabelled if settings.unlabelled else None,
        )  # fmt: skip
        self.saving = Saving(self.models, self.judge, self.aggregation, self.watch)
        self.state, self.updates = State(), 0
        self._last_update: dict[str, Any] = {}

    def _make_judge(self, method: Method, arena: Arena) -> Judge | None:
        """The discriminator's side, where the method has a discriminator."""
        if self.discriminator is None:
            return None
        settings = self.players.discriminator_training
        make_optimizer = functools.partial(method.discriminator_optimizer, settings, arena.updates)
        trainer = DiscriminatorTrainer(self.discriminator, settings, arena.num_classes, arena.strategy, make_optimizer)
        return Judge(trainer, self.seed, self.workers)

    def _make_calibrator(self, method: Method, unlabelled: Split | None) -> Calibrator | None:
        """What holds the class proportions of the start model, where the settings ask for it and weights change."""
        if not (self.players.adversarial.calibrate and method.trains_variables):
            return None
        images = (self.training, unlabelled, ENOUGH_IMAGES)
        return Calibrator(self.segmentor, self.evaluator, GAIN, self.crop, *images, hold=True)

    @property
    def discriminator_trainer(self) -> DiscriminatorTrainer:
        """What makes the discriminator's steps; only with a method that has a discriminator."""
        assert self.judge is not None
        return self.judge.trainer

    @property
    def start(self) -> Snapshot:
        """The start model, which in the end is the result."""
        return self.models.start

    def evaluate(self) -> float:
        began = time.monotonic()
        with self.models.in_place(self.models.average):
            self.models.scored(confusion := self.evaluator.evaluate())
            self.watch.look()
        self.run.time("evaluation", time.monotonic() - began, images=len(self.holdout) + self.watch.images)
        return mean_iou_of_truth(confusion.sum(axis=0))

    def race(self, floor: float, best: float, error: float, best_is_start: bool) -> tuple[float, int | None]:
        reference = self.models.start_confusion if best_is_start else self.models.best_confusion
        assert reference is not None
        began = time.monotonic()
        with self.models.in_place(self.models.average):
            miou, confusion, seen = race(
                reference, Bounds(floor, best), error, self.evaluator.batch_size, (self.seed, self.updates),
                functools.partial(self.evaluator.evaluate_some, description="race"),
            )  # fmt: skip
            stopped = confusion is None
            self.models.scored(confusion)
            if stopped:
                self.watch.pass_over()
            else:
                self.watch.look()
        watched = 0 if stopped else self.watch.images
        self.run.time("evaluation", time.monotonic() - began, images=seen + watched)
        return miou, seen if stopped else None

    def confidence(self) -> float:
        assert self.models.start_confusion is not None and self.models.confusion is not None
        models, groups = (self.models.start_confusion, self.models.confusion), groups_of(self.holdout)
        return share_of_draws_won(*models, PEAK_TEST_DRAWS, self.seed, groups=groups)

    def go_back(self) -> None:
        self.models.go_back()
        self.reset_momentum()

    def reset_momentum(self) -> None:
        if self.players.adversarial.reset_momentum:
            self.segmentor_trainer.reset_momentum()
        self.run.forget_ahead("segmentor")
        self.models.changed |= {"segmentor"}

    def _measure_direction(self, cycle: int) -> None:
        """Whether what the updates of a cycle are about to follow leads somewhere."""
        trainer, settings = self.segmentor_trainer, self.players.discriminator_training
        if self.judge is None or trainer.trains_discriminator or not settings.agreement_batches:
            return
        assert isinstance(trainer, AdversarialTrainer)
        began = time.monotonic()
        found = {
            "agreement": agreement(trainer, self.images.ahead(self.updates, settings.agreement_batches)),
            "localisation": self.judge.localisation(self.aggregation, trainer.saturating),
        }
        found = self.workers.agree(found)
        self.record("direction", cycle=cycle, **found)
        self._warn(warnings.direction_warning(found["agreement"]), cycle)
        self.run.time("direction", time.monotonic() - began)

    def update(self, cycle: int, iteration: int) -> bool:
        if iteration == 0:
            self._measure_direction(cycle)
        began = time.monotonic()
        per_iteration = self.players.adversarial.updates_per_iteration
        self.images.prepare(self.segmentor_trainer, self.updates, self.aggregation.origin)
        self.models.present.take()
        measures = self.segmentor_trainer.train(tf.constant(per_iteration))
        self.updates += per_iteration
        if self.judge and self.segmentor_trainer.trains_discriminator:
            self.judge.changed |= {"discriminator"}
        finite = bool(measures.pop("finite"))
        finite = self.models.updated(self.updates // per_iteration) and finite
        if finite:
            measures |= self._calibrate()
        if (iteration + 1) % self.commit_every == 0:
            # The disk works while the hold-out is evaluated: the weights stay as they are until the commit.
            self.run.write_ahead("segmentor", self.models.present_arrays)
        measures["distance"] = float(self.models.start.distance())
        finite, measures = self.workers.agree([finite, {name: float(value) for name, value in measures.items()}])
        numbers = {name: float(value) if np.isfinite(value) else None for name, value in measures.items()}
        self.record("update", cycle=cycle, iteration=iteration + 1, finite=finite, **numbers)
        self.run.time("adversarial", time.monotonic() - began, updates=per_iteration)
        return finite

    def _calibrate(self) -> dict[str, float]:
        """Class constants are fitted to what will be looked at; how far its class proportions were from the start's.

        The fit sees the average where that is looked at. It is part of an update: `distance` is measured with it.
        """
        if self.calibrator is None:
            return {}
        with self.models.in_place(self.models.average):
            gaps = [self.calibrator.step()["class_gap"] for _ in range(self.players.adversarial.calibrate)]
            if self.models.average:
                self.models.average.take()
        return {"class_gap": gaps[0]}

    def keep_best(self) -> None:
        self.models.keep_best()
        self.watch.keep_best()

    def promote_best(self) -> None:
        self.models.promote_best()
        self.watch.promote_best()

    def aggregate(self, name: str, cycle: int) -> None:
        began = time.monotonic()
        with self.models.in_place(None if name.startswith("ge") else self.models.start):
            self.aggregation.add(name, cycle)
        if (share := self.aggregation.changed_share(name)) is not None:
            self.record("maps", model=name, changed_share=share)
        self.run.time("aggregation", time.monotonic() - began, images=self.aggregation.images)

    def train_discriminator(self, buffer: list[str], cycle: int) -> None:
        self.aggregation.keep(buffer)
        if self.judge and self.trains_discriminator:
            book = Book(self.record, self.run.time, functools.partial(self.commit, self.state))
            self.judge.train(self.aggregation, cycle, book)

    def record(self, event: str, **values: Any) -> None:
        recorded = self.run.record(event, **values, **self.watch.beside(event, values))
        self.listener(recorded)
        if event == "update":
            self._last_update = recorded
        if event == "cycle_end":
            last = self._last_update
            self._warn(
                warnings.segmentor_warning(last.get("changed_share"), last.get("gradient_norm")), values["cycle"]
            )
        if event == "peak":
            self._warn(self.watch.warning(), values["cycle"])

    def _warn(self, text: str | None, cycle: int) -> None:
        if text:
            self.record("warning", cycle=cycle, text=text)

    def commit(self, state: State) -> None:
        self.state = state
        between = state.phase == "ahead" and state.iteration > 0 and state.iteration % self.commit_every
        if between and not self.workers.any(interruption.asked()):
            return
        began = time.monotonic()
        self.saving.commit(self.run, state, self.updates)
        self.run.time("commit", time.monotonic() - began)

    def resume(self) -> State | None:
        """Goes to where the last commit stood, if there was one in this phase."""
        saved = self.saving.resume(self.run)
        if saved is None:
            return None
        self.state, self.updates = saved
        # The commit may fall between a cycle's last update and the event that ends it.
        updates = (event for event in reversed(self.run.journal()) if event["event"] == "update")
        self._last_update = next(updates, {})
        return self.state
