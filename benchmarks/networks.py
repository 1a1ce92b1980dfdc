"""The networks the benchmarks time, freshly initialised: no time depends on the weights."""

import keras

from load_tf.segmentors import mobilenet_v2
from load_tf.segmentors.deeplab import Architecture, deeplab

CLASSES = 21


def network(backbone: str, output_stride: int) -> keras.Model:
    """DeepLab as its published checkpoints are: MobileNetV2 without atrous branches and decoder.

    Args:
      backbone: "xception_65" or "MobilenetV2".
      output_stride: 8 or 16.
    """
    small = backbone == mobilenet_v2.SCOPE
    channels = mobilenet_v2.channels_of(1.0) if small else ()
    return deeplab(Architecture(backbone, CLASSES, channels, atrous=not small, decoder=not small), output_stride)
