"""The hybrid of Hung et al. 2018: cross-entropy plus a fully convolutional discriminator's verdict on every place."""

import dataclasses

import gin

from load_tf.discriminator import Discriminator
from load_tf.methods.luc import LucHybrid


@gin.configurable
@dataclasses.dataclass(frozen=True)
class HungHybrid(LucHybrid):
    """Its supervised part; the semi-supervised one needs images without labels.

    Attributes:
      weight: of the adversarial term; Hung et al. have 0.01.
    """

    weight: float = 0.01
    title = "Hung hybrid"

    def discriminator_settings(self, settings: Discriminator) -> Discriminator | None:
        return dataclasses.replace(settings, architecture="convolutional", sees="masks")
