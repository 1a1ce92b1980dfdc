"""How the settings of the algorithm, the training and the methods refuse a value: every sentence, word for word."""

import math
from typing import Any

import numpy as np
import pytest

from load_tf.algorithm.lookahead import Lookahead
from load_tf.devices.runtime import Runtime
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.experiment.settings import Experiment
from load_tf.methods.class_constants import ClassConstants
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.hung import HungEtAl
from load_tf.methods.lookahead_optimizer import LookaheadOptimizer
from load_tf.methods.luc import LucEtAl
from load_tf.methods.weight_averaging import EMA
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne

FRACTION = "an mIoU as a fraction"
LOWER = (
    f"{FRACTION}, in (0, 1): a cycle goes on while mIoU is above the start model's less this, so with 0 it would end "
    "before its first update"
)

REFUSED: list[tuple[type, str, tuple[Any, ...], str]] = [
    *((Lookahead, n, (0, 1.0, "2"), "a whole number of at least 1") for n in ("max_fruitless_cycles", "patience")),
    (Lookahead, "max_buffer_sets", (0, None), "a whole number of at least 1"),
    *((Lookahead, n, (0, 2.5), "None or a whole number of at least 1") for n in ("max_cycles", "max_iterations")),
    (Lookahead, "upper", (-0.1, 1, "0", math.nan), f"{FRACTION}, in [0, 1)"),
    (Lookahead, "lower", (0, 1, None), LOWER),
    (Lookahead, "peak_test", (0.4, 1), "None or a share in [0.5, 1)"),
    *((StageOne, name, (0, 1.0), "a whole number above 0") for name in ("epochs", "batch_size")),
    (Runtime, "intra_op_threads", (-1, 1.5), "a whole number of at least 0"),
    (StageOne, "shift", (-1, 0.5), "a whole number of pixels, at least 0"),
    (StageOne, "learning_rate", (0, -1.0, "1", math.nan), "a number above 0"),
    (StageOne, "momentum", (-0.1, 1, math.nan), "a number in [0, 1)"),
    (StageOne, "clip_norm", (0, -1.0, None, math.nan), "a number above 0"),
    (Discriminator, "alpha", (0, -1.0, "1", math.nan), "a number above 0"),
    *((Discriminator, name, (-0.1, 1, math.nan), "a rate in [0, 1)") for name in ("dropout", "batch_norm_momentum")),
    (DiscriminatorTraining, "first_max_epochs", (0, -3, 1.0), "None or a whole number above 0"),
    (DiscriminatorTraining, "sufficient_accuracy", (-0.1, "0.9", None, math.nan), "a number of at least 0"),
    (DiscriminatorTraining, "optimizer", ("sgd", None), "'adagrad' or 'adam'"),
    (DiscriminatorTraining, "monitor", ("accuracy",), "'loss' or 'pair_accuracy'"),
    (DiscriminatorTraining, "learning_rate", (0, None), "a number above 0"),
    (DiscriminatorTraining, "initial_accumulator", (-0.1, math.inf, "0"), "a finite number of at least 0"),
    *((DiscriminatorTraining, n, (0, 1.5), "a whole number above 0") for n in ("batch_size", "patience", "max_epochs")),
    *((AdversarialTraining, name, (0, 2.0), "a whole number above 0") for name in ("batch_size", "accumulate")),
    (AdversarialTraining, "updates_per_iteration", (0,), "a whole number above 0"),
    (AdversarialTraining, "learning_rate", (0, "1"), "a number above 0"),
    (AdversarialTraining, "trainable", ("conv(", "*"), "a regular expression"),
    (AdversarialTraining, "clip_norm", (0, -1, math.nan), "None or a number above 0"),
    *((AdversarialTraining, name, (-0.1, 1, math.nan), "a number in [0, 1)") for name in ("momentum", "average")),
    (Sampling, "temperature", (0, -1, math.nan), "a number above 0"),
    (ClassConstants, "steps", (0, 1.0), "a whole number above 0"),
    (ClassConstants, "gain", (0, 1.1, math.nan), "a number in (0, 1]"),
    *((cls, "schedule", ("linear",), "'constant' or 'decay'") for cls in (CrossEntropyOnly, EMA, LookaheadOptimizer)),
    (EMA, "decay", (-0.1, 1), "a number in [0, 1)"),
    (LookaheadOptimizer, "k", (0, 5.0), "a whole number above 0"),
    (LookaheadOptimizer, "alpha", (0, 1.1), "a number in (0, 1]"),
    *((HungEtAl, name, (-1, "1", math.nan), "a number of at least 0") for name in ("weight", "weight_decay")),
    *((HungEtAl, name, (0, None), "a number above 0") for name in ("learning_rate", "discriminator_learning_rate")),
    (HungEtAl, "momentum", (-0.1, 1, math.nan), "a number in [0, 1)"),
    (LucEtAl, "weight", (-1,), "a number of at least 0"),
    (LucEtAl, "discriminator_learning_rate", (0,), "a number above 0"),
]

TAKEN: list[tuple[type, dict[str, Any]]] = [
    (Lookahead, {"patience": 1, "max_cycles": None, "max_iterations": 1, "upper": 0, "lower": 1e-9, "peak_test": 0.5}),
    (Runtime, {"intra_op_threads": 0, "inter_op_threads": 1}),
    (StageOne, {"momentum": 0, "clip_norm": 1e-3}),
    (StageOne, {"epochs": 1, "batch_size": 1, "shift": 0, "learning_rate": 1}),
    (DiscriminatorTraining, {"optimizer": "adam", "monitor": "pair_accuracy", "initial_accumulator": 0, "patience": 1}),
    (DiscriminatorTraining, {"first_max_epochs": 1, "sufficient_accuracy": 1.1}),
    (Discriminator, {"alpha": 0.1, "dropout": 0, "batch_norm_momentum": 0}),
    (AdversarialTraining, {"clip_norm": None, "momentum": 0, "average": 0.999, "learning_rate": 1e-30}),
    (AdversarialTraining, {"clip_norm": np.float32(1), "momentum": np.float32(0.5)}),
    (Sampling, {"temperature": np.float64(1e-3)}),
    (ClassConstants, {"steps": 1, "gain": 1}),
    (EMA, {"decay": 0, "schedule": "decay"}),
    (LookaheadOptimizer, {"k": 1, "alpha": 1}),
    (HungEtAl, {"weight": 0, "weight_decay": 0, "momentum": 0}),
]
"""What is just within."""


@pytest.mark.parametrize(("settings", "name", "values", "expected"), REFUSED)
def test_a_value_out_of_range_is_refused(settings: type, name: str, values: tuple[Any, ...], expected: str) -> None:
    for value in values:
        with pytest.raises(UserError) as refused:
            settings(**{name: value})
        # gin adds a line to what is raised in one of its configurables.
        assert str(refused.value).splitlines()[0] == f"{settings.__name__}.{name} is {value!r}; expected {expected}."


@pytest.mark.parametrize(("settings", "values"), TAKEN)
def test_a_value_just_within_is_taken(settings: type, values: dict[str, Any]) -> None:
    made = settings(**values)
    assert {name: getattr(made, name) for name in values} == values


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        *((name, (0, 1.0, "2"), "a whole number above 0") for name in ("holdout_images", "evaluation_batch_size")),
        ("commit_every", (0, None), "a whole number above 0"),
        ("watched_images", (-1, 0.5), "a whole number, 0 for none"),
        ("seed", ("0", 1.5), "a whole number"),
    ],
)
def test_the_experiment_is_called_what_gin_calls_it(name: str, values: tuple[Any, ...], expected: str) -> None:
    for value in values:
        with pytest.raises(UserError) as refused:
            Experiment(**{"dataset": None, "segmentor": None, "crop": (49, 65), name: value})
        assert str(refused.value).splitlines()[0] == f"experiment.{name} is {value!r}; expected {expected}."
