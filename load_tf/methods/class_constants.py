"""Class constants: is the gain more than class proportion? One number per class, fitted on D_t, no adversary."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from load_tf.algorithm import alternating
from load_tf.algorithm.lookahead import Game, Lookahead, State
from load_tf.data.dataset import Split
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.errors import check, check_whole
from load_tf.methods.method import Arena, Supervised, Trainer
from load_tf.training.calibration import GAIN, Calibrator
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.stage_one import StageOne


@dataclasses.dataclass(frozen=True)
class ClassConstants(Supervised):
    """Adds constants to the logits until the classes of D_t are predicted as often as they are there.

    A step of the fit is an iteration, after which the hold-out is evaluated as after any other; the best is the result.
    The segmentor's other weights stay as they are.

    Attributes:
      steps: of the fit.
      gain: share of the log ratio of true to predicted proportions that a step takes.
    """

    steps: int = 6
    gain: float = GAIN
    title = "class constants"
    trains_variables = False

    def __post_init__(self) -> None:
        check_whole(self, "steps")
        check(self, "gain", allowed=lambda value: 0 < value <= 1, expected="a number in (0, 1]")

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        images = (arena.training, arena.unlabelled)
        return _Fit(Calibrator(arena.segmentor, arena.evaluator, self.gain, arena.crop, *images, alone=True))

    def averaging(self, settings: AdversarialTraining) -> Callable[[int], float] | None:
        return None

    def play(self, game: Game, settings: Lookahead, state: State | None) -> State:
        all_steps = dataclasses.replace(settings, max_iterations=self.steps, patience=self.steps)
        return alternating.play(game, all_steps, state, turns=None)


class _Fit:
    """Steps of a calibrator in place of updates by gradients."""

    needs_truth = False
    augmentation: StageOne | None = None
    trains_discriminator = False
    beside: Split | None = None
    train_dataset: Any = None
    """Nothing is read of it."""

    def __init__(self, calibrator: Calibrator) -> None:
        self._calibrator = calibrator

    @property
    def momentum_variables(self) -> Sequence[keras.Variable]:
        return ()

    def reset_momentum(self) -> None:
        pass

    def train(self, num_steps: tf.Tensor) -> dict[str, float | bool]:
        """One step, however many updates an iteration has."""
        return {**self._calibrator.step(), "finite": True}
