"""The networks the benchmarks time, freshly initialised: no time depends on the weights."""

import keras
import numpy as np
import tensorflow as tf

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


def multiply_adds(model: keras.Model, size: int) -> int:
    """Multiply-adds of the convolutions for one image of size x size pixels."""

    concrete = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec([1, size, size, 3], tf.float32)
    )
    total = 0
    for operation in concrete.graph.get_operations():
        if operation.type in ("Conv2D", "DepthwiseConv2dNative"):
            kernel = operation.inputs[1].shape
            per_output = np.prod(kernel[:3]) if operation.type == "Conv2D" else np.prod(kernel[:2])
            total += int(np.prod(operation.outputs[0].shape) * per_output)
    return total
