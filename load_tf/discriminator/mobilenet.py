"""The paper's discriminator: MobileNet-224 on `3 K` channels (Figure 2 and section 4), one verdict on a whole map.

Cut where its features are still places, it gives a verdict on each.
"""

import warnings

import keras
import tensorflow as tf

from load_tf.discriminator.conditional import ConditionalDiscriminator, Dropped
from load_tf.discriminator.pretrained import inflate
from load_tf.discriminator.settings import Discriminator
from load_tf.randomness import key
from load_tf.segmentors.folding import differentiable

_WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Channels behind each of MobileNet's blocks, at alpha 1."""

_BLOCKS = {4: 3, 8: 5, 16: 11}
"""By stride the last of these blocks that has it."""


def build(settings: Discriminator, num_classes: int, seed: int) -> "MobileNetDiscriminator":
    """Makes the network; its weights are drawn by key, or those that the settings name and a head of zeros.

    Raises:
      UserError: if the weights that the settings name can't be had.
    """
    # keras.applications takes no initializers, so the one global seed there is set just before.
    keras.utils.set_random_seed(int(key(seed, "discriminator", "weights").view("<u4")[0]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
        body = keras.applications.MobileNet(
            input_shape=(settings.input_size, settings.input_size, settings.channels(num_classes)),
            alpha=settings.alpha,
            include_top=False,
            weights=None,
            pooling="avg",
        )
    if settings.verdict == "place":
        body = keras.Model(
            body.input, body.get_layer(f"conv_pw_{_BLOCKS[settings.stride]}_relu").output, name=body.name
        )
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.batch_norm_momentum
    head = keras.layers.Dense(1, name="real", dtype="float32")
    head.build(body.output.shape)
    if settings.weights is not None:
        inflate(body, settings, num_classes)
        head.kernel.assign(keras.ops.zeros_like(head.kernel))
    return MobileNetDiscriminator(body, head, settings)


def numbers(settings: Discriminator, num_classes: int) -> tuple[int, int]:
    """How many trainable and other numbers it has, counted without building it."""
    channels = int(32 * settings.alpha)
    trained, others = 9 * settings.channels(num_classes) * channels + 2 * channels, 2 * channels
    for width in _WIDTHS if settings.verdict == "map" else _WIDTHS[: _BLOCKS[settings.stride]]:
        after = int(width * settings.alpha)
        trained += 9 * channels + 2 * channels + channels * after + 2 * after
        others += 2 * channels + 2 * after
        channels = after
    return trained + channels + 1, others


def place_size(settings: Discriminator) -> int | None:
    """Points of the grid along each axis of the places that it judges; None: it judges whole maps."""
    return settings.stride if settings.verdict == "place" else None


class MobileNetDiscriminator(ConditionalDiscriminator):
    """Logits [B] of maps, or [B, G / stride, G / stride] of places in them: above 0 it takes them for ground truth."""

    def __init__(self, body: keras.Model, head: keras.layers.Dense, settings: Discriminator) -> None:
        self.body = body
        self.head = head
        self.settings = settings
        self._at_inference = differentiable(body)

    @property
    def networks(self) -> list[keras.Layer]:
        return [self.body, self.head]

    @property
    def variables(self) -> list[keras.Variable]:
        return [*self.body.variables, *self.head.variables]

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        return [*self.body.trainable_variables, *self.head.trainable_variables]

    def verdict(self, inputs: tf.Tensor, training: bool, dropped: Dropped) -> tf.Tensor:
        body = self.body if training else self._at_inference
        return self.head(dropped(tf.cast(body(inputs, training=training), tf.float32)))[..., 0]
