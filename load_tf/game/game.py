"""The game Algorithm 1 plays: a segmentor, a discriminator, the buffer, and the run directory they survive in."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from load_tf import interruption
from load_tf.algorithm.lookahead import State
from load_tf.data.dataset import IGNORE_LABEL, Split, groups_of
from load_tf.devices import workers
from load_tf.devices.replicas import deal, on_each_replica
from load_tf.discriminator.buffer import LabelMapSet, batches, draw_pairs, draw_union, holdout_pairs
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import GridExamples, Size, read_grid_examples
from load_tf.discriminator.mobilenet import Discriminator
from load_tf.evaluation.bootstrap import share_of_draws_won
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou_of_truth
from load_tf.game import health
from load_tf.game.watching import Watch
from load_tf.methods.load import LoAd
from load_tf.methods.method import Arena, Method
from load_tf.progress import progress
from load_tf.segmentors.labelling import PADDING_VALUE
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.adversarial import adversarial_batches, map_maker
from load_tf.training.discriminator import DiscriminatorProgress, DiscriminatorTrainer, DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.snapshot import Snapshot, arrays_to_variables, variables_to_arrays
from load_tf.training.stage_one import StageOne

Listener = Callable[[dict[str, Any]], None]

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


class _Stream(NamedTuple):
    """Where the trainer's stream of images stands, in updates of the run."""

    next: int
    end: int
    origin: LabelMapSet | None
    """Whose maps changes are measured from."""


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
        listener: Listener = lambda event: None,
        watched: Split | None = None,
        stage_one: StageOne = StageOne(),  # noqa: B008 - immutable
    ) -> None:
        self.segmentor, self.evaluator = segmentor, evaluator
        players = dataclasses.replace(players, adversarial=method.adversarial_training(players.adversarial))
        self.training, self.holdout, self.players = training, holdout, players
        self.trains_discriminator = method.trains_discriminator
        self.crop, self.seed, self.run = crop, seed, run
        self.workers = workers.of(strategy)
        self.commit_every, self.listener = commit_every, listener
        self.watch = Watch(evaluator, watched)
        grid = players.discriminator.input_size
        self.training_grid: GridExamples = read_grid_examples(training, crop, grid, "D_t on the grid")
        self.holdout_grid: GridExamples = read_grid_examples(holdout, crop, grid, "hold-out on the grid")
        with strategy.scope():
            self.discriminator = method.discriminator(players.discriminator, num_classes, seed)
            self.start = Snapshot(segmentor.variables)
            self.best = Snapshot(segmentor.variables)
            self.present = Snapshot(segmentor.variables)
            self.averaging = method.averaging(players.adversarial)
            self.average = Snapshot(segmentor.variables) if self.averaging else None
        updates = None if max_iterations is None else max_iterations * players.adversarial.updates_per_iteration
        # The convention is the hold-out's: what is trained is what is scored.
        arena = Arena(
            *(segmentor, players.adversarial, players.sampling, crop, num_classes, strategy, evaluator.convention),
            *(training, evaluator, stage_one, updates),
        )
        self._make_trainers(method, arena)
        self.start.take()
        if self.average:
            self.average.take()
        self._map_batches = on_each_replica(map_maker(evaluator.forward, crop, grid, evaluator.convention), strategy)
        self.sets: dict[str, LabelMapSet] = {}
        self.updates = 0
        self.progress: DiscriminatorProgress | None = None
        self.state = State()
        self._changed = {"segmentor", "start", "discriminator", "average"}
        self._stream: _Stream | None = None
        self._last_update: dict[str, float | None] = {}
        self.holdout_confusion: np.ndarray | None = None
        """int64 [N, K, K]: of the model evaluated last."""
        self.start_confusion: np.ndarray | None = None
        self.best_confusion: np.ndarray | None = None

    def _make_trainers(self, method: Method, arena: Arena) -> None:
        """The method's; the discriminator's, where there is one, with two copies of all that it trains."""
        if self.discriminator is not None:
            settings = self.players.discriminator_training
            self.discriminator_trainer = DiscriminatorTrainer(
                self.discriminator,
                settings,
                arena.num_classes,
                arena.strategy,
                functools.partial(method.discriminator_optimizer, settings, arena.updates),
            )
            arena = dataclasses.replace(arena, discriminator_trainer=self.discriminator_trainer)
            self.best_epoch = Snapshot(self.discriminator_trainer.variables)
            self.untrained = Snapshot(self.discriminator_trainer.variables)
            self.untrained.take()
        self.segmentor_trainer = method.trainer(arena, self.discriminator)

    def evaluate(self) -> float:
        began = time.monotonic()
        if self.average:
            self.present.take()
            self.average.put_back()
        self.holdout_confusion = self.evaluator.evaluate()
        self.watch.look()
        if self.average:
            self.present.put_back()
        if self.start_confusion is None:
            self.start_confusion = self.holdout_confusion
            self._changed |= {"start_confusion"}
        self.run.time("evaluation", time.monotonic() - began, images=len(self.holdout) + self.watch.images)
        return mean_iou_of_truth(self.holdout_confusion.sum(axis=0))

    def confidence(self) -> float:
        assert self.start_confusion is not None and self.holdout_confusion is not None
        models, groups = (self.start_confusion, self.holdout_confusion), groups_of(self.holdout)
        return share_of_draws_won(*models, PEAK_TEST_DRAWS, self.seed, groups=groups)

    def go_back(self) -> None:
        self.start.put_back()
        if self.average:
            self.average.become(self.start)
            self._changed |= {"average"}
        self.reset_momentum()

    def reset_momentum(self) -> None:
        if self.players.adversarial.reset_momentum:
            self.segmentor_trainer.reset_momentum()
        self.run.forget_ahead("segmentor")
        self._changed |= {"segmentor"}

    def update(self, cycle: int, iteration: int) -> bool:
        began = time.monotonic()
        per_iteration = self.players.adversarial.updates_per_iteration
        self._prepare_images()
        self.present.take()
        measures = self.segmentor_trainer.train(tf.constant(per_iteration))
        self.updates += per_iteration
        self._changed |= {"segmentor", "average"}
        if self.segmentor_trainer.trains_discriminator:
            self._changed |= {"discriminator"}
        finite = bool(measures.pop("finite"))
        if not self.present.variables_are_finite():
            self.present.put_back()
            finite = False
        if self.average and self.averaging:
            self.average.move_towards_variables(tf.constant(float(self.averaging(self.updates // per_iteration))))
        if (iteration + 1) % self.commit_every == 0:
            # The disk works while the hold-out is evaluated: the weights stay as they are until the commit.
            self.run.write_ahead("segmentor", self._segmentor_arrays)
        measures["distance"] = float(self.start.distance())
        finite, measures = self.workers.agree([finite, {name: float(value) for name, value in measures.items()}])
        numbers = {name: float(value) if np.isfinite(value) else None for name, value in measures.items()}
        self._last_update = numbers
        self.record("update", cycle=cycle, iteration=iteration + 1, finite=finite, **numbers)
        self.run.time("adversarial", time.monotonic() - began, updates=per_iteration)
        return finite

    def _prepare_images(self) -> None:
        """Gives the trainer a new stream of images unless the one it has goes on at the right place."""
        origin = next(iter(self.sets.values())) if self.sets else None
        stream = self._stream
        per_iteration = self.players.adversarial.updates_per_iteration
        fits = stream is not None and stream.next == self.updates < stream.end and stream.origin is origin
        if stream is None or not fits:
            end = self.updates + 1000 * per_iteration
            self.segmentor_trainer.train_dataset = adversarial_batches(
                self.training,
                self.training_grid,
                self.players.adversarial,
                self.crop,
                self.seed,
                self.updates,
                end - self.updates,
                origin.training if origin else None,
                self.segmentor_trainer.needs_truth,
                self.segmentor_trainer.augmentation,
            )
            stream = _Stream(self.updates, end, origin)
        self._stream = stream._replace(next=self.updates + per_iteration)

    def keep_best(self) -> None:
        if self.average:
            self.best.become(self.average)
        else:
            self.best.take()
        self.best_confusion = self.holdout_confusion
        self.watch.keep_best()
        self._changed |= {"best", "best_confusion"}

    def promote_best(self) -> None:
        self.start.become(self.best)
        self.start_confusion = self.best_confusion
        self.watch.promote_best()
        self._changed |= {"start", "start_confusion"}

    def aggregate(self, name: str, cycle: int) -> None:
        began = time.monotonic()
        self.present.take()
        if not name.startswith("ge"):
            self.start.put_back()
        self.evaluator.forward.refresh()
        self.sets[name] = LabelMapSet(
            self._maps_of(self.training, f"maps of {name}"), self._maps_of(self.holdout, f"maps of {name}"), cycle
        )
        self.present.put_back()
        self._changed |= {f"label_maps/{name}"}
        self._record_change(name)
        self.run.time("aggregation", time.monotonic() - began, images=len(self.training) + len(self.holdout))

    def _record_change(self, name: str) -> None:
        """Journals how much an end model's maps differ from those of the model its cycle started from."""
        origin = name.removeprefix("ge").partition("_")[0]
        start = self.sets.get(f"g{origin}")
        if name.startswith("ge") and start is not None:
            visible = self.holdout_grid.labels != IGNORE_LABEL
            changed = (self.sets[name].holdout != start.holdout) & visible
            self.record("maps", model=name, changed_share=float(changed.sum() / max(visible.sum(), 1)))

    def _maps_of(self, split: Split, description: str) -> np.ndarray:
        """uint8 [N, G, G]; batches are dealt to all replicas of all workers, each as one device would have it."""
        grid, size = self.players.discriminator.input_size, self.players.adversarial.batch_size
        maps = np.zeros((len(split), grid, grid), np.uint8)
        starts = range(0, len(split), size)[self.workers.index :: self.workers.count]
        for turn in progress(deal(starts, self.workers.local_replicas), description, unit="batch"):
            batches_ = []
            for start in turn:
                rows = range(start, min(start + size, len(split)))
                images = np.full((len(rows), *self.crop, 3), PADDING_VALUE, np.float32)
                for row, index in enumerate(rows):
                    image = split[index].image[: self.crop[0], : self.crop[1]]
                    images[row, : image.shape[0], : image.shape[1]] = image
                batches_.append(tf.constant(images))
            for start, made in zip(turn, self._map_batches(batches_), strict=True):
                maps[start : start + len(made)] = made
        return self.workers.union(maps)

    def train_discriminator(self, buffer: list[str], cycle: int) -> None:
        settings = self.players.discriminator_training
        self.sets = {name: self.sets[name] for name in buffer}
        if not self.trains_discriminator:
            return
        training = [s.training for s in self.sets.values()]
        holdout = holdout_pairs(
            self.holdout_grid, [s.holdout for s in self.sets.values()], 2 * settings.batch_size, self.seed, cycle
        )
        if self.progress is None or self.progress.cycle != cycle:
            self.progress = DiscriminatorProgress(cycle)
            if not settings.keep_weights:
                self.untrained.put_back()
        draw = draw_union if settings.union else draw_pairs
        reason = None
        while reason is None:
            began = time.monotonic()
            epoch = self.progress.epoch
            maps = draw(len(self.training_grid), len(training), self.seed, cycle, epoch)
            self.discriminator_trainer.train_dataset = batches(
                self.training_grid, training, maps, settings.batch_size, self.seed, cycle, epoch
            )
            steps = -(-len(maps.image) // settings.batch_size)
            trained = self.discriminator_trainer.train(tf.constant(steps))
            self.discriminator_trainer.eval_dataset = holdout
            measured = self.workers.agree(self.discriminator_trainer.evaluate(tf.constant(-1)))
            reason = self._end_epoch(measured, trained["loss"])
            self.run.time("discriminator", time.monotonic() - began, maps=len(maps.image))
        self.best_epoch.put_back()
        self.record(
            "discriminator_end",
            cycle=cycle,
            epochs=self.progress.epoch,
            best=self.progress.best_epoch,
            kept_for=self.progress.kept_for(settings),
            reason=reason,
        )
        self._warn(health.discriminator_warning(self.progress.best_measures), cycle)
        self._changed |= {"discriminator"}

    def _end_epoch(self, measured: dict[str, float], training_loss: float) -> str | None:
        """Journals an epoch, keeps it if it is the best, commits; returns why training is over, or None."""
        assert self.progress is not None
        if not np.isfinite([training_loss, *measured.values()]).all():
            return self._end_non_finite_epoch(training_loss, measured)
        if self.progress.end_epoch(self.players.discriminator_training, measured):
            self.best_epoch.take()
            self._changed |= {"best_epoch"}
        self.record(
            "discriminator",
            cycle=self.progress.cycle,
            epoch=self.progress.epoch,
            training_loss=training_loss,
            **measured,
        )
        reason = self.progress.is_over(self.players.discriminator_training, measured["pair_accuracy"])
        self._changed |= {"discriminator"}
        if reason is None:
            self.commit(self.state)
        return reason

    def _end_non_finite_epoch(self, training_loss: float, measured: dict[str, float]) -> str:
        """The best epoch so far has to do; without one the run stops."""
        assert self.progress is not None
        if not self.progress.best_epoch:
            health.refuse_non_finite(
                "the discriminator's training",
                f"in the first epoch before cycle {self.progress.cycle}",
                "DiscriminatorTraining.learning_rate",
                training_loss=training_loss,
                **{f"hold-out {name}": value for name, value in measured.items()},
            )
        self.progress.epoch += 1
        self._changed |= {"discriminator"}
        return "non_finite"

    def record(self, event: str, **values: Any) -> None:
        self.listener(self.run.record(event, **values, **self.watch.beside(event, values)))
        if event == "cycle_end":
            last = self._last_update
            self._warn(health.segmentor_warning(last.get("changed_share"), last.get("gradient_norm")), values["cycle"])
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
        sources: dict[str, Callable[[], dict[str, np.ndarray]]] = {
            "segmentor": self._segmentor_arrays,
            "start": self.start.to_arrays,
            "best": self.best.to_arrays,
        }
        if self.start_confusion is not None:
            sources["start_confusion"] = functools.partial(dict, confusion=self.start_confusion)
        if self.best_confusion is not None:
            sources["best_confusion"] = functools.partial(dict, confusion=self.best_confusion)
        if self.discriminator is not None:
            sources["discriminator"] = lambda: variables_to_arrays(self.discriminator_trainer.variables)
            sources["best_epoch"] = self.best_epoch.to_arrays
        if self.average:
            sources["average"] = self.average.to_arrays
        for name, one_set in self.sets.items():
            sources[f"label_maps/{name}"] = one_set.to_arrays
        dropped = set() if state.fruitful else {"best", "best_confusion"}
        if self.progress is None or state.phase != "discriminator":
            dropped |= {"best_epoch"}
        self.run.commit(
            {
                "phase": "lookahead",
                "lookahead": state.to_json(),
                "updates": self.updates,
                "discriminator": dataclasses.asdict(self.progress) if self.progress else None,
                "watched": self.watch.to_json(),
            },
            {name: sources[name] for name in sorted(self._changed - dropped) if name in sources},
            keep=set(sources) - dropped,
        )
        self._changed = set()
        self.run.time("commit", time.monotonic() - began)

    def _segmentor_arrays(self) -> dict[str, np.ndarray]:
        return variables_to_arrays([*self.segmentor.variables, *self.segmentor_trainer.momentum_variables])

    def resume(self) -> State | None:
        """Goes to where the last commit stood, if there was one in this phase."""
        saved = self.run.state
        if saved.get("phase") != "lookahead":
            return None
        arrays_to_variables(
            self.run.arrays("segmentor"), [*self.segmentor.variables, *self.segmentor_trainer.momentum_variables]
        )
        for name, snapshot in (("start", self.start), ("best", self.best)):
            if name in saved["files"]:
                snapshot.from_arrays(self.run.arrays(name))
        if "start_confusion" in saved["files"]:
            self.start_confusion = self.run.arrays("start_confusion")["confusion"]
        if "best_confusion" in saved["files"]:
            self.best_confusion = self.run.arrays("best_confusion")["confusion"]
        if self.discriminator is not None:
            arrays_to_variables(self.run.arrays("discriminator"), self.discriminator_trainer.variables)
            if "best_epoch" in saved["files"]:
                self.best_epoch.from_arrays(self.run.arrays("best_epoch"))
        if self.average:
            self.average.from_arrays(self.run.arrays("average"))
        for name in saved["files"]:
            if name.startswith("label_maps/"):
                self.sets[name.removeprefix("label_maps/")] = LabelMapSet.from_arrays(self.run.arrays(name))
        self.updates = saved["updates"]
        self.progress = DiscriminatorProgress.from_json(saved["discriminator"]) if saved["discriminator"] else None
        self.watch.from_json(saved.get("watched", {}))
        self.state = State.from_json(saved["lookahead"])
        self._changed = set()
        return self.state
