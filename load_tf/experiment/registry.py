"""Everything that a gin file can name; no other module registers anything.

A new data set, segmentor or method is one file of its own, and here its import and its name in a list. Layers, losses
and the algorithm take plain arguments, and what is called in Python directly is not changed by a config.
"""

from collections.abc import Callable
from typing import Any

import gin

from load_tf.algorithm.lookahead import Lookahead
from load_tf.data.cityscapes import cityscapes
from load_tf.data.folder import folder
from load_tf.data.groups import Groups
from load_tf.data.partition import held_blocks, keyed_partition
from load_tf.data.synthetic import synthetic
from load_tf.data.voc import voc
from load_tf.devices.runtime import Runtime
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.settings import Discriminator
from load_tf.evaluation.multi_scale import Evaluation
from load_tf.experiment.settings import Experiment
from load_tf.experiment.study_plan import Study
from load_tf.methods.baseline import Baseline
from load_tf.methods.class_constants import ClassConstants
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.descent_ascent import DescentAscent
from load_tf.methods.hung import HungEtAl
from load_tf.methods.load import LoAd
from load_tf.methods.lookahead_optimizer import LookaheadOptimizer
from load_tf.methods.luc import LucEtAl
from load_tf.methods.step_by_step import StepByStep
from load_tf.methods.untrained import UntrainedDiscriminator
from load_tf.methods.weight_averaging import EMA, SWA
from load_tf.segmentors.keras_model import keras_model
from load_tf.segmentors.official import official_deeplab
from load_tf.segmentors.small import small_deeplab
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne

DATASETS = (voc, folder, synthetic, cityscapes, keyed_partition, held_blocks)
SEGMENTORS = (official_deeplab, small_deeplab, keras_model)
METHODS = (
    *(LoAd, DescentAscent, StepByStep, UntrainedDiscriminator, LucEtAl, HungEtAl, Baseline),
    *(CrossEntropyOnly, EMA, SWA, LookaheadOptimizer, ClassConstants),
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
