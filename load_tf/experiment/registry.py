"""Everything that a gin file can name; no other module registers anything.

A new data set, segmentor or method is one file of its own, and its name in a list here, `module.name` in its package.
Layers, losses and the algorithm take plain arguments, and what is called in Python directly is not changed by a config.
"""

import importlib
from collections.abc import Callable
from typing import Any

import gin

from load_tf.algorithm.lookahead import Lookahead
from load_tf.data.groups import Groups
from load_tf.devices.runtime import Runtime
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.settings import Discriminator
from load_tf.evaluation.multi_scale import Evaluation
from load_tf.experiment.settings import Experiment
from load_tf.experiment.study_plan import Study
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne


def _named(package: str, *names: str) -> tuple[Any, ...]:
    """Functions or classes of a package by `module.name`."""
    places = (name.split(".") for name in names)
    return tuple(getattr(importlib.import_module(f"load_tf.{package}.{module}"), thing) for module, thing in places)


DATASETS = _named(
    "data",
    "voc.voc",
    "folder.folder",
    "synthetic.synthetic",
    "cityscapes.cityscapes",
    "partition.keyed_partition",
    "cross_fit.cross_fit",
    "partition.held_blocks",
    "unlabelled.few_labels",
)
SEGMENTORS = _named(
    "segmentors",
    "official.official_deeplab",
    "small.small_deeplab",
    "mobilenet.mobilenet_deeplab",
    "keras_model.keras_model",
)
METHODS = _named(
    "methods",
    "load.LoAd",
    "descent_ascent.DescentAscent",
    "step_by_step.StepByStep",
    "untrained.UntrainedDiscriminator",
    "luc.LucEtAl",
    "hung.HungEtAl",
    "hung.HungSemiSupervised",
    "baseline.Baseline",
    "cross_entropy_only.CrossEntropyOnly",
    "weight_averaging.EMA",
    "weight_averaging.SWA",
    "lookahead_optimizer.LookaheadOptimizer",
    "class_constants.ClassConstants",
    "self_training.SelfTraining",
    "mean_teacher.MeanTeacher",
)
PARAMETERS = (Lookahead, StageOne, Discriminator, DiscriminatorTraining, AdversarialTraining, Sampling, Evaluation)

_NAMED: dict[Any, str] = {Experiment: "experiment", Study: "study", Groups: "groups"}
"""What has another name in gin than in Python."""

_configured: dict[Any, Callable[..., Any]] = {}


def register(thing: Any) -> None:
    """Makes a function or class known to gin, under its own name or that of `_NAMED`; before a config is parsed."""
    _configured[thing] = gin.external_configurable(thing, _NAMED.get(thing, thing.__name__))


for _thing in (*DATASETS, *SEGMENTORS, *METHODS, *PARAMETERS, *_NAMED, Runtime):
    register(_thing)


def configured(thing: Any) -> Callable[..., Any]:
    """A registered function or class as gin calls it, which fills in the arguments that the config binds."""
    return _configured[thing]


def is_bound(parameter: str) -> bool:
    """Whether the parsed config binds a parameter, such as "experiment.dataset"."""
    try:
        gin.query_parameter(parameter)
    except ValueError:
        return False
    return True


def operative_config() -> str:
    """Every parameter that was used, with its value, as gin writes it."""
    return str(gin.operative_config_str())
