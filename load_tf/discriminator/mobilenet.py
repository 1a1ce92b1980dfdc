"""The discriminator: MobileNet-224 on `3 K` channels (paper, Figure 2 and section 4)."""

import dataclasses
import warnings
from typing import Literal

import keras
import tensorflow as tf

from load_tf.discriminator.conditioning import IMAGE_RANGE, RowsOf, split_by_class
from load_tf.errors import UserError
from load_tf.randomness import key
from load_tf.segmentors.folding import differentiable


@dataclasses.dataclass(frozen=True)
class Discriminator:
    """Its architecture; the defaults are the paper's, or where it is silent those of docs/reproduction.md.

    Attributes:
      alpha: width multiplier of MobileNet.
      input_size: points of the grid along each axis; 224 in the paper.
      dropout: rate in front of the last layer, in training only.
      image_range: what the values 0 and 255 of the image become.
      architecture: "mobilenet", the paper's, one verdict on a whole map; "convolutional", Hung et al.'s, a verdict on
        every place (`fully_convolutional`).
      sees: "split", the paper's `3 K` channels of the class-split image; "masks", the label map's K channels alone, as
        in Hung et al.; "both".
      batch_norm_momentum: of the moving averages that are used at inference. Keras' 0.99 is stale after the few steps
        of a short training: 43 steps (350 images) would leave 65 % of the initial values in them.
    """

    alpha: float = 1.0
    input_size: int = 224
    dropout: float = 0.01
    image_range: tuple[float, float] = IMAGE_RANGE
    batch_norm_momentum: float = 0.9
    architecture: Literal["mobilenet", "convolutional"] = "mobilenet"
    sees: Literal["split", "masks", "both"] = "split"

    def __post_init__(self) -> None:
        if self.input_size < 32:
            raise UserError(f"Discriminator.input_size is {self.input_size}; MobileNet needs at least 32.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"Discriminator.dropout is {self.dropout}; expected a rate in [0, 1).")
        object.__setattr__(self, "image_range", tuple(self.image_range))
        for name, choices in (("architecture", ("mobilenet", "convolutional")), ("sees", ("split", "masks", "both"))):
            if getattr(self, name) not in choices:
                found, expected = getattr(self, name), ", ".join(map(repr, choices))
                raise UserError(f"Discriminator.{name} is {found!r}; expected one of {expected}.")

    def channels(self, num_classes: int) -> int:
        """Of the input."""
        return {"split": 3, "masks": 1, "both": 4}[self.sees] * num_classes

    def build(self, num_classes: int, seed: int) -> "ConditionalDiscriminator":
        """Makes the network, its weights drawn by key."""
        if self.architecture == "convolutional":
            from load_tf.discriminator.fully_convolutional import (
                FullyConvolutionalDiscriminator,  # it is a subclass of what is here
            )

            return FullyConvolutionalDiscriminator.build(self, num_classes, seed)
        # keras.applications takes no initializers, so the one global seed there is set just before.
        keras.utils.set_random_seed(int(key(seed, "discriminator", "weights").view("<u4")[0]))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
            body = keras.applications.MobileNet(
                input_shape=(self.input_size, self.input_size, self.channels(num_classes)),
                alpha=self.alpha,
                include_top=False,
                weights=None,
                pooling="avg",
            )
        for layer in body.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = self.batch_norm_momentum
        head = keras.layers.Dense(1, name="real", dtype="float32")
        head.build(body.output.shape)
        return ConditionalDiscriminator(body, head, self)


class ConditionalDiscriminator:
    """`D(Y|X)` as a logit: above 0 it takes the map for ground truth.

    The dropout is stateless and keyed, so it is no layer (Keras' own keeps a seed generator that no restart restores).
    """

    def __init__(self, body: keras.Model, head: keras.layers.Dense, settings: Discriminator) -> None:
        self.body = body
        self.head = head
        self.settings = settings
        self._at_inference = differentiable(body)

    @property
    def networks(self) -> list[keras.Layer]:
        """What it is made of."""
        return [self.body, self.head]

    @property
    def variables(self) -> list[keras.Variable]:
        return [*self.body.variables, *self.head.variables]

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        return [*self.body.trainable_variables, *self.head.trainable_variables]

    def inputs(self, images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
        """What it looks at, of an image and a label map of it.

        Args:
          images: [B, G, G, 3] uint8.
          maps: [B, G, G, K] float32, one-hot or soft, all zero where void.

        Returns:
          float32 [B, G, G, `settings.channels(K)`]: the class-split image, the maps, or both, in this order.
        """
        if self.settings.sees == "masks":
            return maps
        split = split_by_class(images, maps, self.settings.image_range)
        return split if self.settings.sees == "split" else tf.concat([split, maps], axis=-1)

    def __call__(
        self,
        inputs: tf.Tensor,
        training: bool,
        dropout_key: tf.Tensor | None = None,
        place: RowsOf | None = None,
    ) -> tf.Tensor:
        """Logits of "this map is ground truth".

        Args:
          inputs: from `inputs`.
          training: batch statistics and dropout, or moving averages and none.
          dropout_key: int32 [2]; needed in training.
          place: of these maps in the batch the dropout is drawn for; None: they are all of it.

        Returns:
          float32 [B].
        """
        body = self.body if training else self._at_inference
        features = tf.cast(body(inputs, training=training), tf.float32)
        if training and self.settings.dropout:
            features = _dropout(features, self.settings.dropout, dropout_key, place)
        return self.head(features)[:, 0]


def _dropout(features: tf.Tensor, rate: float, key: tf.Tensor, place: RowsOf | None) -> tf.Tensor:
    """Keyed dropout; of a part of a batch what the whole batch's is there."""
    if place is None:
        return tf.nn.experimental.stateless_dropout(features, rate, seed=key)
    own = tf.shape(features)[0]
    whole = tf.pad(features, [[place.first, place.rows - place.first - own], [0, 0]])
    dropped = tf.nn.experimental.stateless_dropout(whole, rate, seed=key)
    return tf.ensure_shape(dropped[place.first : place.first + own], features.shape)


def per_map(values: tf.Tensor) -> tf.Tensor:
    """One number for every map: a discriminator may judge places in it, whose mean counts.

    Args:
      values: [B, ...] float32.

    Returns:
      float32 [B].
    """
    return tf.reduce_mean(values, axis=list(range(1, len(values.shape)))) if len(values.shape) > 1 else values
