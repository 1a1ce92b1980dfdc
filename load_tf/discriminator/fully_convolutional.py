"""The fully convolutional discriminator of Hung et al. 2018: a verdict on every place of a label map.

Five convolutions of 4 x 4 and stride 2 with 64, 128, 256, 512 and 1 channels, leaky ReLU of slope 0.2 between them. In
Hung et al. it sees label maps alone, not the image (`Discriminator.sees = "masks"`). Its logits stay at the resolution
of its last layer: up-sampling them to the map's would repeat every verdict, and the loss is a mean.
"""

import keras
import tensorflow as tf

from load_tf.discriminator.conditional import ConditionalDiscriminator, Dropped
from load_tf.discriminator.settings import Discriminator
from load_tf.randomness import key

FILTERS = (64, 128, 256, 512, 1)


def build(settings: Discriminator, num_classes: int, seed: int) -> "FullyConvolutionalDiscriminator":
    """Makes the network, its weights drawn by key; the channels are multiplied by `settings.alpha`."""
    x = inputs = keras.Input((settings.input_size, settings.input_size, settings.channels(num_classes)))
    for number, filters in enumerate(FILTERS):
        last = filters == FILTERS[-1]
        x = keras.layers.Conv2D(
            filters if last else max(1, round(filters * settings.alpha)),
            4,
            strides=2,
            padding="same",
            kernel_initializer=keras.initializers.HeNormal(seed=int(key(seed, "discriminator", number).view("<u4")[0])),
            name=f"conv{number + 1}",
            # The verdicts themselves stay float32 under any precision.
            dtype="float32" if last else None,
        )(x)
        if not last:
            # Not the layer: the graph optimizer fails to fuse its gradient with the bias, and says so each time.
            x = keras.ops.maximum(x, 0.2 * x)
    return FullyConvolutionalDiscriminator(keras.Model(inputs, x, name="fully_convolutional"), settings)


def numbers(settings: Discriminator, num_classes: int) -> tuple[int, int]:
    """How many trainable and other numbers it has, kernels of 4 x 4 and biases, counted without building it."""
    channels, trained = settings.channels(num_classes), 0
    for filters in (*(max(1, round(width * settings.alpha)) for width in FILTERS[:-1]), FILTERS[-1]):
        trained += 16 * channels * filters + filters
        channels = filters
    return trained, 0


def place_size(settings: Discriminator) -> int | None:
    """Points of the grid along each axis of the places that it judges."""
    return 2 ** len(FILTERS)


class FullyConvolutionalDiscriminator(ConditionalDiscriminator):
    """Logits [B, G / 32, G / 32]: above 0 it takes the place for one of ground truth."""

    def __init__(self, network: keras.Model, settings: Discriminator) -> None:
        self.network = network
        self.settings = settings

    @property
    def networks(self) -> list[keras.Layer]:
        return [self.network]

    @property
    def variables(self) -> list[keras.Variable]:
        return list(self.network.variables)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        return list(self.network.trainable_variables)

    def verdict(self, inputs: tf.Tensor, training: bool, dropped: Dropped) -> tf.Tensor:
        """float32 [B, G / 32, G / 32], rounded up; it has neither dropout nor batch norm."""
        return self.network(inputs, training=training)[..., 0]
