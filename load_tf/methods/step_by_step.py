"""Gradient descent-ascent step by step, without cross-entropy: both networks learn in every update."""

import dataclasses

from load_tf.algorithm import alternating
from load_tf.algorithm.lookahead import Game, Lookahead, State
from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.settings import Discriminator
from load_tf.methods.method import Arena, Method, Trainer
from load_tf.training.step_by_step import StepByStepTrainer


@dataclasses.dataclass(frozen=True)
class StepByStep(Method):
    """LoAd's objective, discriminator and optimizers; one step of the discriminator, then one of the segmentor.

    The discriminator is asked whether maps are real, whatever `Discriminator.asks` says.
    """

    title = "step by step"

    def discriminator_settings(self, settings: Discriminator) -> Discriminator | None:
        return dataclasses.replace(settings, asks="real")

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        return arena.step_by_step(StepByStepTrainer, discriminator)

    def play(self, game: Game, settings: Lookahead, state: State | None) -> State:
        return alternating.play(game, settings, state, turns="steps")
