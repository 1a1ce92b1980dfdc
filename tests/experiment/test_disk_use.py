"""What a run is said to take: the discriminator counted without building it equals the one that is built."""

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from load_tf.algorithm.lookahead import Lookahead
from load_tf.discriminator.build import build, numbers
from load_tf.discriminator.settings import Discriminator
from load_tf.experiment.disk_use import expected_bytes
from load_tf.methods.baseline import Baseline
from load_tf.methods.class_constants import ClassConstants
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.methods.hung import HungEtAl
from load_tf.methods.load import LoAd
from load_tf.methods.lookahead_optimizer import LookaheadOptimizer
from load_tf.methods.method import Method
from load_tf.methods.weight_averaging import EMA, SWA
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining


@pytest.mark.parametrize("architecture", ["mobilenet", "convolutional"])
@pytest.mark.parametrize(("alpha", "classes", "sees"), [(0.25, 8, "split"), (0.5, 3, "masks"), (0.01, 2, "both")])
def test_the_discriminator_is_counted_right(architecture: Any, alpha: float, classes: int, sees: Any) -> None:
    if architecture == "mobilenet":
        alpha = max(alpha, 0.25)  # below, it has layers without channels
    settings = Discriminator(alpha=alpha, input_size=32, architecture=architecture, sees=sees)
    built = build(settings, classes, seed=0)
    trained = sum(int(np.prod(v.shape)) for v in built.trainable_variables)
    whole = sum(int(np.prod(v.shape)) for v in built.variables)
    assert numbers(settings, classes) == (trained, whole - trained)


def test_the_papers_discriminator() -> None:
    """MobileNet's 3,228,864 numbers of keras.applications, 60 channels more, and a last layer of 1,025."""
    trained, others = numbers(Discriminator(), 21)
    assert trained + others == 3_228_864 + 60 * 9 * 32 + 1025


def during(method: Method, discriminator: Discriminator, average: float = 0.0, optimizer: Any = "adam") -> int:
    """Bytes while a run of a segmentor of 10 float32 goes on, on 2 + 3 images of 3 classes."""
    model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(1)])
    plan: Any = SimpleNamespace(
        experiment=SimpleNamespace(dataset=SimpleNamespace(num_classes=3), method=method),
        segmentor=SimpleNamespace(model=model),
        players=SimpleNamespace(
            discriminator=discriminator,
            discriminator_training=DiscriminatorTraining(optimizer=optimizer),
            adversarial=AdversarialTraining(average=average),
        ),
        lookahead=Lookahead(max_buffer_sets=4),
    )
    return expected_bytes(plan, training=2, holdout=3, validation=6)[0]


def test_a_method_pays_for_the_discriminator_it_has() -> None:
    """Three commits; in each 40 bytes of weights three times and their momentum, two int64 [3, 3] of each of three
    hold-out images, and what is the discriminator's."""
    paper = Discriminator(input_size=32)
    alone = 40 + 3 * (4 * 40 + 2 * 3 * 8 * 3 * 3)
    assert during(CrossEntropyOnly(), paper) == during(Baseline(), paper) == alone
    for method in (EMA(), SWA(), LookaheadOptimizer()):
        assert during(method, paper) == alone + 3 * 40
    assert during(CrossEntropyOnly(), paper, average=0.5) == alone + 3 * 40
    assert during(ClassConstants(), paper, average=0.5) == alone
    maps = 4 * 5 * 32**2
    hung, _ = numbers(Discriminator(architecture="convolutional", sees="masks"), 3)
    # Adam of its own, whatever the experiment's is.
    for optimizer in ("adam", "adagrad"):
        assert during(HungEtAl(), paper, optimizer=optimizer) == alone + 3 * (2 * 4 * 3 * hung + maps)
    trained, others = numbers(paper, 3)
    assert during(LoAd(), paper) == alone + 3 * (2 * 4 * (3 * trained + others) + maps)
    assert during(LoAd(), paper, optimizer="adagrad") == alone + 3 * (2 * 4 * (2 * trained + others) + maps)
