"""A SavedModel as a TFLite file, for phones and boards: one image of one size in, its label map out."""

import tensorflow as tf

from load_tf.errors import UserError
from load_tf.segmentors import labelling
from load_tf.serving.loaded import LoadedSegmentor


def convert(segmentor: LoadedSegmentor, size: labelling.Size | None = None) -> bytes:
    """Converts a model; the file takes TensorFlow Lite's own operations only.

    The graph is traced anew for the one size: the exported signatures take images of any size, whose loops and checks
    have no counterpart in TFLite.

    Args:
      segmentor: the model, from `load_tf.serving.loaded.load`.
      size: (height, width) of the images; None: the crop.

    Returns:
      A TFLite file: `images` uint8 [1, H, W, 3], RGB -> `label_maps` uint8 [1, H, W], with the label maps of
      `serving_default`.

    Raises:
      UserError: if the size is out of range, or the model is not one that load_tf exported.
    """
    height, width = size or segmentor.crop
    if min(height, width) < 1 or height * width > segmentor.max_pixels:
        raise UserError(
            f"the size is {height} x {width} (height x width); expected at least 1 x 1 and at most "
            f"{segmentor.max_pixels} pixels."
        )
    logits = getattr(segmentor.module, "_logits", None)
    if logits is None:
        raise UserError(f"the SavedModel {segmentor.folder} has no logits; expected one that load_tf exported.")
    padded = labelling.padded_size(height, width, segmentor.crop)

    @tf.function(input_signature=[tf.TensorSpec([1, height, width, 3], tf.uint8, name="images")])
    def label_maps(images: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = labelling.pad_image(images[0], padded)[tf.newaxis]
        batch = tf.ensure_shape(batch, [1, *padded, 3])
        return {"label_maps": labelling.label_maps(logits(batch), padded)[:, :height, :width]}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([label_maps.get_concrete_function()], segmentor.module)
    return bytes(converter.convert())
