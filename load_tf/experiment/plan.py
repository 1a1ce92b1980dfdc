"""An experiment assembled from gin: every configurable it needs is called here, before any data is read.

This is the only module that registers the paper's parameter objects with gin; the algorithm, the layers and the losses
take plain arguments.
"""

import dataclasses
import inspect
import os
import platform
from collections.abc import Callable
from typing import Any

import gin
import keras
import numpy as np
import tensorflow as tf

from load_tf.algorithm.lookahead import Lookahead
from load_tf.data.cityscapes import cityscapes
from load_tf.data.dataset import SegmentationDataset, Split
from load_tf.data.folder import folder
from load_tf.data.groups import Groups
from load_tf.data.partition import held_blocks, keyed_partition
from load_tf.data.synthetic import synthetic
from load_tf.data.voc import voc
from load_tf.devices import precision
from load_tf.devices import strategies as devices
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.grid import Size
from load_tf.discriminator.mobilenet import Discriminator
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.multi_scale import Evaluation
from load_tf.experiment.bindings import refuse_unused_bindings
from load_tf.experiment.study_plan import Study
from load_tf.game.game import Players
from load_tf.methods.baseline import Baseline
from load_tf.methods.class_constants import ClassConstants
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.descent_ascent import DescentAscent
from load_tf.methods.hung import HungEtAl
from load_tf.methods.load import LoAd
from load_tf.methods.lookahead_optimizer import LookaheadOptimizer
from load_tf.methods.luc import LucEtAl
from load_tf.methods.method import Method
from load_tf.methods.step_by_step import StepByStep
from load_tf.methods.untrained import UntrainedDiscriminator
from load_tf.methods.weight_averaging import EMA, SWA
from load_tf.segmentors.convention import Convention
from load_tf.segmentors.keras_model import keras_model
from load_tf.segmentors.official import official_deeplab
from load_tf.segmentors.segmentor import Segmentor
from load_tf.segmentors.small import small_deeplab
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne

DATASETS = (voc, folder, synthetic, cityscapes, keyed_partition, held_blocks)
SEGMENTORS = (official_deeplab, small_deeplab, keras_model)
GROUPS = gin.external_configurable(Groups, "groups")
STUDY = Study
"""Registered here as everything is, and used by `load_tf.study`."""
METHODS = (
    *(LoAd, DescentAscent, StepByStep, UntrainedDiscriminator, LucEtAl, HungEtAl, Baseline),
    *(CrossEntropyOnly, EMA, SWA, LookaheadOptimizer, ClassConstants),
)
PARAMETERS = (Lookahead, StageOne, Discriminator, DiscriminatorTraining, AdversarialTraining, Sampling, Evaluation)

_configured: dict[type, Callable[..., Any]] = {cls: gin.external_configurable(cls, cls.__name__) for cls in PARAMETERS}


@dataclasses.dataclass(frozen=True)
class Runtime:
    """How TensorFlow runs. Bit-for-bit repeatability holds for equal values of all of these.

    Attributes:
      intra_op_threads: threads inside an operation; 0: one for each core.
      inter_op_threads: operations at a time.
      deterministic: only deterministic kernels. On the CPU it costs nothing measurable.
      devices: "auto", "one", "mirrored", "multi_worker", "tpu" or "tpu:NAME": see `load_tf.devices.strategies`.
      logical_devices: divides the CPU into so many devices, to try several without GPUs; 0: it stays one.
      precision: "float32", "mixed_bfloat16" or "mixed_float16": see `load_tf.devices.precision`.
    """

    intra_op_threads: int = 0
    inter_op_threads: int = 2
    deterministic: bool = True
    devices: str = "auto"
    logical_devices: int = 0
    precision: str = "float32"

    def start(self) -> tf.distribute.Strategy:
        """Sets up TensorFlow, the devices and the precision; must come before anything that runs on it.

        Returns:
          The strategy of the chosen devices.

        Raises:
          UserError: if they are not there, or a value is none that is known.
        """
        self.set_up()
        precision.use(self.precision)
        return devices.strategy(self.devices, self.logical_devices)

    def set_up(self) -> None:
        """Sets up threads and determinism."""
        try:
            tf.config.threading.set_intra_op_parallelism_threads(self.intra_op_threads or (os.cpu_count() or 1))
            tf.config.threading.set_inter_op_parallelism_threads(self.inter_op_threads)
        except RuntimeError:
            # In a notebook or a test TensorFlow may be running already: then its counts stand, and are reported.
            pass
        if self.deterministic:
            tf.config.experimental.enable_op_determinism()

    def environment(self, strategy: tf.distribute.Strategy) -> dict[str, Any]:
        """What `environment.json` holds of the machine: all on which the bits of a result depend."""
        return {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "devices": [device.name for device in tf.config.list_logical_devices()],
            "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
            "deterministic": self.deterministic,
            "precision": keras.config.dtype_policy().name,
            **devices.describe(strategy),
        }


_configured[Runtime] = gin.external_configurable(Runtime, "Runtime")


@gin.configurable("experiment")
@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is run on what.

    Attributes:
      dataset: the data set.
      segmentor: a function from `num_classes` to a `Segmentor`.
      name: for the tables.
      crop: (height, width) images are padded to, as the segmentor's convention allows: 16 k + 1 each for the official
        networks; the paper's is 513 x 513.
      training_split: D_t.
      validation_split: what Table 1 is over; the hold-out is drawn from it.
      holdout_images: how many validation images decide on peaks (paper: 500 of 1,449); the rest stays untouched.
      holdout_split: a split that is the hold-out as a whole; `validation_split` then is untouched as a whole.
      watched_images: how many untouched images, drawn by the seed, are scored whenever the hold-out is; all of them if
        there are fewer, 0: none. They decide nothing, so they stay untouched: the journal and the report show whether
        the hold-out speaks for them. 100 beside the paper's 500 make a look a fifth longer.
      method: how the segmentor is trained after stage 1.
      start_from: a run directory whose baseline this run starts from, in place of a stage 1 of its own.
      evaluation_batch_size: images in a step of the evaluator.
      seed: of every draw.
      commit_every: adversarial iterations between two commits.
    """

    dataset: SegmentationDataset
    segmentor: Callable[..., Segmentor]
    name: str = "LoAd"
    crop: Size = (513, 513)
    training_split: str = "train"
    validation_split: str = "validation"
    holdout_images: int = 500
    holdout_split: str | None = None
    watched_images: int = 100
    method: Method = LoAd()  # noqa: RUF009 - immutable, without parameters
    start_from: str | None = None
    evaluation_batch_size: int = 4
    seed: int = 0
    commit_every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "crop", tuple(self.crop))
        # What else is asked of it, the segmentor knows.
        Convention().check_crop(self.crop, "experiment.crop")
        for name in ("holdout_images", "evaluation_batch_size", "commit_every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise UserError(f"experiment.{name} is {getattr(self, name)!r}; expected a whole number above 0.")
        if not isinstance(self.watched_images, int) or self.watched_images < 0:
            raise UserError(
                f"experiment.watched_images is {self.watched_images!r}; expected a whole number, 0 for none."
            )
        names = [n for n in (self.training_split, self.validation_split, self.holdout_split) if n is not None]
        if len(set(names)) < len(names):
            raise UserError(
                f"experiment.training_split, validation_split and holdout_split are {', '.join(map(repr, names))}; "
                "expected splits that differ: what was trained or chosen on says nothing of other images."
            )
        if not isinstance(self.method, Method):
            names = ", ".join(f"@{method.__name__}()" for method in METHODS)
            raise UserError(f"experiment.method is {self.method!r}; expected one of {names}.")
        if not isinstance(self.seed, int):
            raise UserError(f"experiment.seed is {self.seed!r}; expected a whole number.")


@dataclasses.dataclass(frozen=True)
class Plan:
    """An assembled experiment: everything is built, nothing is read."""

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

    def evaluator(self, split: Split, model: Callable[..., tf.Tensor] | None = None) -> Evaluator:
        """What scores the segmentor, or a model made of it, on a split, by the segmentor's convention."""
        experiment = self.experiment
        return Evaluator(
            model or self.segmentor.model,
            split,
            experiment.crop,
            experiment.dataset.num_classes,
            experiment.evaluation_batch_size,
            convention=self.segmentor.convention,
            largest=self.segmentor.largest,
            strategy=self.strategy,
        )


def assemble(beside: tuple[str, ...] = ()) -> Plan:
    """Assembles the experiment that the parsed gin files describe.

    Args:
      beside: names of configurables that may be bound beside the experiment's.

    Raises:
      UserError: if a binding is used by nothing, or a value is out of range.
    """
    runtime = _configured[Runtime]()
    strategy = runtime.start()
    experiment = make_experiment()
    parts = {cls: _configured[cls]() for cls in PARAMETERS}
    with strategy.scope():
        segmentor = make_segmentor(experiment)
    refuse_unused_bindings(beside)
    crop = segmentor.crop(experiment.crop)
    if crop != experiment.crop:
        experiment = dataclasses.replace(experiment, crop=crop)
    players = Players(parts[Discriminator], parts[DiscriminatorTraining], parts[AdversarialTraining], parts[Sampling])
    return Plan(experiment, runtime, parts[Lookahead], parts[StageOne], players, segmentor, parts[Evaluation], strategy)


def make_segmentor(experiment: Experiment) -> Segmentor:
    """The experiment's segmentor; its factory is told the crop if it asks for one.

    Raises:
      UserError: if it can't be made.
    """
    options: dict[str, Any] = {}
    if "crop" in inspect.signature(experiment.segmentor).parameters:
        options["crop"] = experiment.crop
    return experiment.segmentor(num_classes=experiment.dataset.num_classes, **options)


def make_experiment() -> Experiment:
    """What is run on what, of the parsed gin files, without building or reading any of it.

    Raises:
      UserError: if the data set or the segmentor is not bound, or a value is out of range.
    """
    for name in ("dataset", "segmentor"):
        try:
            gin.query_parameter(f"experiment.{name}")
        except ValueError:
            raise UserError(f"no gin file binds experiment.{name}; name one with --gin_file, e.g. demo.gin.") from None
    make: Callable[..., Experiment] = Experiment  # gin fills in the arguments
    return make()
