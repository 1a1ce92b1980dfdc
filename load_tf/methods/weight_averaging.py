"""Weight averaging: cross-entropy goes on, and the average of the weights it passes is what is evaluated and kept.

Batch norm's statistics do not move in stage 2, so they are the same in all the weights that are averaged, and none have
to be computed again for the average, as SWA otherwise has to.
"""

import dataclasses
from collections.abc import Callable

from load_tf.errors import check
from load_tf.methods.cross_entropy_only import CrossEntropyOnly
from load_tf.training.segmentor import AdversarialTraining


@dataclasses.dataclass(frozen=True)
class EMA(CrossEntropyOnly):
    """Exponential moving average: after every iteration `a <- decay * a + (1 - decay) * w`, from the start model on.

    Attributes:
      decay: of an iteration, not of an update; in [0, 1). `AdversarialTraining.average` has no meaning here.
    """

    decay: float = 0.9
    title = "EMA"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "decay", allowed=lambda value: 0 <= value < 1, expected="a number in [0, 1)")

    def averaging(self, settings: AdversarialTraining) -> Callable[[int], float] | None:
        return lambda iterations: 1 - self.decay


@dataclasses.dataclass(frozen=True)
class SWA(CrossEntropyOnly):
    """Stochastic weight averaging (Izmailov et al. 2018): the equal average of the weights at the iterations' ends.

    The start model is not one of them.
    """

    title = "SWA"

    def averaging(self, settings: AdversarialTraining) -> Callable[[int], float] | None:
        return lambda iterations: 1 / iterations
