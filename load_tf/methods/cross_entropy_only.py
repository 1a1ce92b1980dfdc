"""Cross-entropy only: what anyone would try first."""

import dataclasses
from typing import Any, Literal

from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.errors import UserError, check_choice
from load_tf.methods.method import Arena, Supervised, Trainer
from load_tf.training.supervised import SupervisedTrainer


@dataclasses.dataclass(frozen=True)
class CrossEntropyOnly(Supervised):
    """As many updates by the pixel-wise loss, in the same order of images, with the same optimizer and selection.

    As it stands it differs from LoAd by the loss alone; a decaying rate and augmented images are what one would train
    with (Chen et al. 2018).

    Attributes:
      schedule: of the learning rate: "constant", or "decay": it falls to 0 over the run as `(1 - update / updates) **
        0.9`, which takes a budget (`Lookahead.max_iterations`).
      augment: flip, shift and scale the images as stage 1 does, by `StageOne.flip`, `shift` and `scale`, drawn by key
        for every update; the crop is the experiment's.
    """

    schedule: Literal["constant", "decay"] = "constant"
    augment: bool = False
    title = "cross-entropy only"

    def __post_init__(self) -> None:
        check_choice(self, "schedule", "constant", "decay")

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        return SupervisedTrainer(*self.training_arguments(arena))

    def training_arguments(self, arena: Arena) -> tuple[Any, ...]:
        """What `SupervisedTrainer` is made with.

        Raises:
          UserError: if the rate is to fall over a run that has no budget.
        """
        if self.schedule == "decay" and arena.updates is None:
            raise UserError(
                f"{type(self).__name__}.schedule is 'decay' and Lookahead.max_iterations None; a rate that falls to 0 "
                "needs a number of iterations to fall over."
            )
        return (
            arena.segmentor,
            arena.settings,
            arena.crop,
            arena.num_classes,
            arena.strategy,
            arena.convention,
            arena.updates if self.schedule == "decay" else None,
            arena.stage_one if self.augment else None,
        )
