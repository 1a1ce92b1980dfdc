"""Models that only take sizes their pooling divides, such as a U-Net, as segmentors that take any."""

from typing import Any

import keras
import tensorflow as tf

from load_tf.segmentors.labelling import PADDING_VALUE, Size


@keras.saving.register_keras_serializable("load_tf")
class PadToMultiple(keras.layers.Layer):
    """Pads images at the bottom and right with `PADDING_VALUE` to the next multiple of some pixels, or to one size."""

    def __init__(self, multiple: int, size: Size | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.multiple, self.size = multiple, size

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """[B, H, W, 3] -> [B, ceil(H / m) m, ceil(W / m) m, 3]."""
        present = tf.shape(images)[1:3]
        missing = -present % self.multiple if self.size is None else tf.constant(self.size) - present
        padded = tf.pad(images, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]], constant_values=PADDING_VALUE)
        # What is known of the size while the graph is traced must not get lost: others build constants of it.
        return tf.ensure_shape(padded, self.compute_output_shape(tuple(images.shape)))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if self.size is not None:
            return (shape[0], *self.size, shape[3])
        height, width = (None if side is None else -(-side // self.multiple) * self.multiple for side in shape[1:3])
        return (shape[0], height, width, shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multiple": self.multiple, "size": self.size}


@keras.saving.register_keras_serializable("load_tf")
class CutToImages(keras.layers.Layer):
    """Brings the logits of padded images to their size, half-pixel centres as Keras' own up-sampling, and cuts them."""

    def call(self, logits: tf.Tensor, padded: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """[B, h, w, K], [B, H', W', 3], [B, H, W, 3] -> float32 [B, H, W, K]."""
        size, full = tf.shape(images)[1:3], tf.shape(padded)[1:3]
        # Of equal sizes the resizing is exactly the identity.
        cut = tf.image.resize(tf.cast(logits, tf.float32), full)[:, : size[0], : size[1]]
        return tf.ensure_shape(cut, (*images.shape[:3], logits.shape[-1]))

    def compute_output_shape(
        self,
        logits_shape: tuple[int | None, ...],
        padded_shape: tuple[int | None, ...],
        images_shape: tuple[int | None, ...],
    ) -> tuple[int | None, ...]:
        return (*images_shape[:3], logits_shape[-1])


def any_size(model: keras.Model, multiple: int = 32, largest: Size | None = None) -> keras.Model:
    """Wraps a segmentor that takes multiples of some pixels, so that it takes images of any size; weights are shared.

    >>> unet = keras.saving.load_model("unet.keras")  # pools four times: height and width are multiples of 16
    >>> load_tf.any_size(unet, multiple=16)(np.zeros((1, 375, 500, 3), np.float32)).shape
    TensorShape([1, 375, 500, 21])

    Args:
      model: [B, H, W, 3] -> logits [B, h, w, K], where H and W are multiples of `multiple`.
      multiple: pixels, e.g. 16 for a U-Net that pools four times.
      largest: height and width of the largest images, for networks that can't be traced with an unknown size, such as
        those with bilinear `UpSampling2D` layers. All images then are padded to it (to the multiple above it), and
        larger ones are an error.

    Returns:
      [B, H, W, 3] -> float32 logits [B, H, W, K].
    """
    images = keras.Input((None, None, 3), name="images")
    size = None if largest is None else (-(-largest[0] // multiple) * multiple, -(-largest[1] // multiple) * multiple)
    padded = PadToMultiple(multiple, size, name="pad_to_multiple")(images)
    return keras.Model(images, CutToImages(name="cut_to_images")(model(padded), padded, images), name=model.name)
