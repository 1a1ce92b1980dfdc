"""An experiment assembled from gin: every configurable it needs is called here, before any data is read."""

import contextlib
import dataclasses
import inspect
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import tensorflow as tf

from load_tf.algorithm.lookahead import Lookahead
from load_tf.data.dataset import SegmentationDataset, Split
from load_tf.data.inspection import sizes_of
from load_tf.devices.runtime import Runtime
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import Size
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.multi_scale import Evaluation
from load_tf.experiment import registry
from load_tf.experiment.bindings import refuse_unused_bindings
from load_tf.experiment.settings import Experiment
from load_tf.game.game import AdversarialGame, Players
from load_tf.methods.load import LoAd
from load_tf.methods.method import Method
from load_tf.report.listeners import Hear
from load_tf.segmentors.segmentor import Segmentor
from load_tf.serving import saved_model
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne

_NO_IMAGES: Size = (513, 513)
"""Stands for the sizes of images where none can be read."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """An assembled experiment: all is built, and nothing read but images' sizes, where the crop is to be found."""

    experiment: Experiment
    runtime: Runtime
    lookahead: Lookahead
    stage_one: StageOne
    players: Players
    segmentor: Segmentor
    evaluation: Evaluation
    strategy: tf.distribute.Strategy
    parameters: str | None = None
    """Every parameter as text, where no gin file gave them; None: gin knows."""

    @property
    def crop(self) -> Size:
        """(height, width) images are padded to: known, also where it was left to be found."""
        assert self.experiment.crop is not None
        return self.experiment.crop

    def evaluator(
        self, split: Split, model: Callable[..., tf.Tensor] | None = None, bfloat16: bool = False
    ) -> Evaluator:
        """What scores the segmentor, or a model made of it, on a split, by the segmentor's convention."""
        experiment = self.experiment
        return Evaluator(
            model or self.segmentor.model,
            split,
            self.crop,
            experiment.dataset.num_classes,
            experiment.evaluation_batch_size,
            convention=self.segmentor.convention,
            largest=self.segmentor.largest,
            strategy=self.strategy,
            bfloat16=bfloat16,
        )

    def looking_evaluator(self, split: Split) -> Evaluator:
        """What looks at models while a run goes on, in the arithmetic of `Runtime.math`."""
        return self.evaluator(split, bfloat16=self.runtime.looks_in_bfloat16)

    def table_evaluator(self, split: Split, bfloat16: bool = False) -> Evaluator:
        """What tables are made with: several scales and mirrored images where `Evaluation` asks so, and float32."""
        segmentor = self.segmentor
        model = self.evaluation.wrap(segmentor.model, self.crop, segmentor.convention, segmentor.largest)
        return self.evaluator(split, model, bfloat16)

    def export(self, directory: str | os.PathLike[str]) -> Path:
        """Writes the segmentor as it stands as the next SavedModel in a folder, and returns that one's."""
        dataset, segmentor = self.experiment.dataset, self.segmentor
        return saved_model.export(
            segmentor.model,
            directory,
            crop=self.crop,
            class_names=dataset.class_names,
            colours=dataset.colours,
            convention=segmentor.convention,
            largest=segmentor.largest,
        )

    def game(
        self,
        training: Split,
        holdout: Split,
        evaluator: Evaluator,
        run: RunDirectory,
        listener: Hear = lambda event: None,
        watched: Split | None = None,
        unlabelled: Split | None = None,
    ) -> AdversarialGame:
        """The game that the experiment's method plays, of the segmentor's present weights.

        Args:
          training: D_t, those of its images that have labels.
          holdout: the images that choose the model.
          evaluator: theirs.
          run: where the game commits to, and resumes from.
          listener: is told every event of the journal.
          watched: untouched images that are scored beside the hold-out and decide nothing.
          unlabelled: images of D_t without labels; None: there are none.
        """
        experiment = self.experiment
        return AdversarialGame(
            self.segmentor.model,
            evaluator,
            training,
            holdout,
            self.players,
            experiment.method,
            crop=self.crop,
            num_classes=experiment.dataset.num_classes,
            seed=experiment.seed,
            run=run,
            strategy=self.strategy,
            commit_every=experiment.commit_every,
            max_iterations=self.lookahead.max_iterations,
            listener=listener,
            watched=watched,
            stage_one=self.stage_one,
            unlabelled=unlabelled,
        )


def assemble(beside: tuple[str, ...] = ()) -> Plan:
    """Assembles the experiment that the parsed gin files describe.

    Args:
      beside: names of configurables that may be bound beside the experiment's.

    Raises:
      UserError: if a binding is used by nothing, or a value is out of range.
    """
    runtime: Runtime = registry.configured(Runtime)()
    strategy = runtime.start()
    # The default method counts as used in what gin writes down: run directories of studies are recognised by that text.
    registry.configured(LoAd)()
    experiment = make_experiment()
    parts: dict[type, Any] = {cls: registry.configured(cls)() for cls in registry.PARAMETERS}
    sizes = _sizes(experiment) if experiment.crop is None else frozenset()
    with strategy.scope():
        segmentor = make_segmentor(experiment, sizes)
    refuse_unused_bindings(beside)
    crop = segmentor.crop_for(sizes) if experiment.crop is None else segmentor.crop(experiment.crop)
    if crop != experiment.crop:
        experiment = dataclasses.replace(experiment, crop=crop)
    players = Players(parts[Discriminator], parts[DiscriminatorTraining], parts[AdversarialTraining], parts[Sampling])
    stage_one = fitted(parts[StageOne], segmentor)
    return Plan(experiment, runtime, parts[Lookahead], stage_one, players, segmentor, parts[Evaluation], strategy)


def fitted(stage_one: StageOne, segmentor: Segmentor) -> StageOne:
    """Stage 1 with a crop that the segmentor takes.

    Raises:
      UserError: if there is none that holds its own.
    """
    if stage_one.crop is None:
        return stage_one
    return dataclasses.replace(stage_one, crop=segmentor.crop(stage_one.crop, "StageOne.crop"))


def _sizes(experiment: Experiment) -> frozenset[Size]:
    """(height, width) of all images that the experiment reads.

    What can't be opened or read is left out: once all is assembled, it is refused with all other faults.
    """
    found: set[Size] = set()
    for name in experiment.splits:
        with contextlib.suppress(UserError):
            found |= sizes_of(experiment.dataset.split(name), f"{experiment.dataset.name} {name}")
    return frozenset(found) or frozenset({_NO_IMAGES})


def make_segmentor(experiment: Experiment, sizes: Collection[Size] = ()) -> Segmentor:
    """The experiment's segmentor; its factory is told the crop if it asks for one.

    Args:
      experiment: what is run on what.
      sizes: of its images, where the crop is to be found: then the factory is told the largest height and width.

    Raises:
      UserError: if it can't be made.
    """
    options: dict[str, Any] = {}
    if "crop" in inspect.signature(experiment.segmentor).parameters:
        options["crop"] = experiment.crop or tuple(max(size[axis] for size in sizes) for axis in (0, 1))
    return experiment.segmentor(num_classes=experiment.dataset.num_classes, **options)


def make_experiment() -> Experiment:
    """What is run on what, of the parsed gin files, without building or reading any of it.

    Raises:
      UserError: if the data set or the segmentor is not bound, or a value is out of range or none of what is expected.
    """
    for name in ("dataset", "segmentor"):
        if not registry.is_bound(f"experiment.{name}"):
            raise UserError(f"no gin file binds experiment.{name}; name one with --gin_file, e.g. demo.gin.")
    experiment: Experiment = registry.configured(Experiment)()  # gin fills in the arguments
    for name, kind, known in (
        ("dataset", SegmentationDataset, registry.DATASETS),
        ("method", Method, registry.METHODS),
    ):
        value = getattr(experiment, name)
        if not isinstance(value, kind):
            names = ", ".join(f"@{thing.__name__}()" for thing in known)
            raise UserError(f"experiment.{name} is {value!r}; expected one of {names}.")
    return experiment
