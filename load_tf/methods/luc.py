"""The hybrid loss of Luc et al. 2016: cross-entropy plus an adversarial term (equation 2), alternating."""

import dataclasses
import functools

import gin

from load_tf.discriminator import ConditionalDiscriminator
from load_tf.errors import UserError
from load_tf.methods.method import Arena, Method, Trainer
from load_tf.training.supervised import HybridTrainer


@gin.configurable
@dataclasses.dataclass(frozen=True)
class LucHybrid(Method):
    """Both terms at once.

    Attributes:
      weight: `lambda` of equation (2); 0 trains by cross-entropy only, whatever the discriminator says.
    """

    weight: float = 1.0
    title = "Luc hybrid"

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise UserError(f"{type(self).__name__}.weight is {self.weight!r}; expected a number of at least 0.")

    def trainer(self, arena: Arena, discriminator: ConditionalDiscriminator | None) -> Trainer:
        return arena.adversary(functools.partial(HybridTrainer, weight=self.weight), discriminator)
