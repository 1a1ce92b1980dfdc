"""From images to label maps: the one way, shared by evaluation, aggregation, `predict` and the SavedModel.

As the official evaluation: the image is padded with grey at the bottom and right to the crop, the logits are
up-sampled bilinearly to the padded size, the arg-max is cut back to the image. Which sizes are padded to, and where the
logits lie on the pixels, is the network's `Convention`; the official one's are 16 k + 1 and aligned corners.
"""

import tensorflow as tf

from load_tf.segmentors.convention import OFFICIAL, Convention

PADDING_VALUE = 127.5
"""Mid-grey in every channel; the official input scaling turns it into exactly 0."""

MAX_PIXELS = 2**24
"""Largest image, height * width, that is evaluated or that an exported model takes: 1.4 GB of logits at 21 classes."""

Size = tuple[int, int]
"""(height, width) in pixels."""


def padded_size(height: int, width: int, crop: Size, convention: Convention = OFFICIAL) -> Size:
    """The size an image is padded to: the crop, or along an axis where it is larger the next that the network takes."""
    return convention.padded_size(height, width, crop)


def pad_image(image: tf.Tensor, size: tf.Tensor | Size) -> tf.Tensor:
    """Pads an image at the bottom and right with `PADDING_VALUE`.

    Args:
      image: [H, W, 3] uint8 or float, RGB in [0, 255].
      size: height and width to pad to, at least (H, W).

    Returns:
      float32 [*size, 3].
    """
    image = tf.cast(image, tf.float32)
    missing = tf.convert_to_tensor(size, tf.int32) - tf.shape(image)[:2]
    return tf.pad(image, [[0, missing[0]], [0, missing[1]], [0, 0]], constant_values=PADDING_VALUE)


def upsample(logits: tf.Tensor, size: tf.Tensor | Size, convention: Convention = OFFICIAL) -> tf.Tensor:
    """Bilinear resizing: with aligned corners, as the official graph's, or half-pixel centres, as `tf.image.resize`.

    Args:
      logits: [B, h, w, K] float.
      size: (H, W).
      convention: the network's.

    Returns:
      float32 [B, H, W, K].
    """
    aligned = convention.upsampling == "aligned"
    return tf.raw_ops.ResizeBilinear(
        images=logits, size=tf.convert_to_tensor(size, tf.int32), align_corners=aligned, half_pixel_centers=not aligned
    )


def label_maps(logits: tf.Tensor, size: tf.Tensor | Size, convention: Convention = OFFICIAL) -> tf.Tensor:
    """Label maps of the padded images.

    Args:
      logits: [B, h, w, K] float, a segmentor's output.
      size: the padded images' height and width.
      convention: the network's.

    Returns:
      uint8 [B, H, W], values in [0, K).
    """
    return tf.cast(tf.argmax(upsample(logits, size, convention), axis=-1, output_type=tf.int32), tf.uint8)
