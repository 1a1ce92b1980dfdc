"""LoAd against a discriminator that knows nothing: what the control and the selection give by themselves."""

import dataclasses

from load_tf.methods.load import LoAd


@dataclasses.dataclass(frozen=True)
class UntrainedDiscriminator(LoAd):
    """Algorithm 1 as it is, but the discriminator keeps its initial weights to the end.

    Of the two architectures the convolutional one has a gradient from the start; MobileNet's, whose batch norm has seen
    no map yet, is next to none.
    """

    title = "untrained discriminator"
    trains_discriminator = False
