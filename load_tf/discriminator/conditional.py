"""What every discriminator is: `D(Y|X)`, a logit of "this map is ground truth" for maps or for places in them."""

import abc
from collections.abc import Callable

import keras
import tensorflow as tf

from load_tf.discriminator.conditioning import BatchSlice, split_by_class
from load_tf.discriminator.settings import Discriminator

Dropped = Callable[[tf.Tensor], tf.Tensor]
"""Features [B, ..., C] with a share of them dropped in training, untouched otherwise."""


class ConditionalDiscriminator(abc.ABC):
    """A discriminator of the class-split image, the maps, or both; each kind says how it is made and judges.

    The dropout is stateless and keyed, so it is no layer (Keras' own keeps a seed generator that no restart restores).
    """

    settings: Discriminator

    @property
    @abc.abstractmethod
    def networks(self) -> list[keras.Layer]:
        """What it is made of."""

    @property
    @abc.abstractmethod
    def variables(self) -> list[keras.Variable]:
        """All that a restart needs of it."""

    @property
    @abc.abstractmethod
    def trainable_variables(self) -> list[keras.Variable]:
        """What its training moves."""

    @abc.abstractmethod
    def verdict(self, inputs: tf.Tensor, training: bool, dropped: Dropped) -> tf.Tensor:
        """Logits of "this is ground truth", above 0 if it takes it for that.

        Args:
          inputs: from `inputs`.
          training: batch statistics, or moving averages.
          dropped: the dropout, to be put on features [B, ..., C] in front of the last layer.

        Returns:
          float32 [B, ...], of whole maps or of places in them.
        """

    # No control flow of tensors: AutoGraph would rewrite each function, which is seconds of every start.
    @tf.autograph.experimental.do_not_convert
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

    @tf.autograph.experimental.do_not_convert
    def __call__(
        self,
        inputs: tf.Tensor,
        training: bool,
        dropout_key: tf.Tensor | None = None,
        place: BatchSlice | None = None,
    ) -> tf.Tensor:
        """The verdict on some maps.

        Args:
          inputs: from `inputs`.
          training: batch statistics and dropout, or moving averages and none.
          dropout_key: int32 [2]; needed in training, where there is dropout.
          place: of these maps in the batch the dropout is drawn for; None: they are all of it.

        Returns:
          As `verdict`.
        """
        rate = self.settings.dropout if training else 0.0
        return self.verdict(inputs, training, lambda x: _dropout(x, rate, dropout_key, place) if rate else x)


def _dropout(features: tf.Tensor, rate: float, key: tf.Tensor, place: BatchSlice | None) -> tf.Tensor:
    """Keyed dropout; of a part of a batch what the whole batch's is there."""
    if place is None:
        return tf.nn.experimental.stateless_dropout(features, rate, seed=key)
    own = tf.shape(features)[0]
    around = [[place.first, place.rows - place.first - own], *[[0, 0]] * (len(features.shape) - 1)]
    whole = tf.pad(features, around)
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
