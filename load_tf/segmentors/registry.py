"""Every segmentor an experiment can be assembled from.

A new one is a file with a `@gin.configurable` factory `(num_classes: int, ...) -> Segmentor`, and a line here.
Importing this module makes all of them known to gin.
"""

from collections.abc import Callable

from load_tf.segmentors.keras_model import keras_model
from load_tf.segmentors.official import official_deeplab
from load_tf.segmentors.segmentor import Segmentor
from load_tf.segmentors.small import small_deeplab

SEGMENTORS: dict[str, Callable[..., Segmentor]] = {
    "official_deeplab": official_deeplab,
    "small_deeplab": small_deeplab,
    "keras_model": keras_model,
}
"""Factories by gin name."""
