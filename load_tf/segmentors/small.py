"""A small DeepLabv3+ that two processor cores train in minutes."""

import keras

from load_tf.errors import UserError
from load_tf.segmentors.deeplab import aspp, decoder
from load_tf.segmentors.layers import BACKBONE_EPSILON, Blocks, initializer, input_scaling
from load_tf.segmentors.segmentor import Segmentor

# Moving averages with a momentum of the official 0.9997 would need tens of thousands of steps to be of use.
_MOMENTUM = 0.9
_HEAD_FILTERS = 128
_LOW_LEVEL_FILTERS = 24


def small_deeplab(num_classes: int, width: int = 24, output_stride: int = 8, seed: int = 0) -> Segmentor:
    """A small DeepLabv3+, not pre-trained: about 0.3 million parameters at the default width.

    Args:
      num_classes: K.
      width: channels of the first convolution; the later ones are multiples of it.
      output_stride: 8 or 16.
      seed: of the initial weights.

    Raises:
      UserError: the output stride is neither.
    """
    if output_stride not in (8, 16):
        raise UserError(f"small_deeplab.output_stride is {output_stride!r}; expected 8 or 16")
    model = small_network(num_classes, width, output_stride, seed)
    description = f"small DeepLabv3+ ({model.count_params():,} parameters), output stride {output_stride}"
    return Segmentor(model, False, description, output_stride)


def small_network(num_classes: int, width: int, output_stride: int, seed: int) -> keras.Model:
    """The network of `small_deeplab`: logits [B, ceil(H / 4), ceil(W / 4), K] for images [B, H, W, 3]."""
    blocks = Blocks(BACKBONE_EPSILON, _MOMENTUM, fixed_padding=True, seed=seed)
    images = keras.Input((None, None, 3), name="images")
    features = blocks.conv(input_scaling()(images), width, "entry/conv", kernel_size=3, stride=2)
    features = _separable(blocks, features, 2 * width, "entry/stride4", stride=2)
    low_level = features = _residual(blocks, features, "entry/residual4")
    features = _separable(blocks, features, 4 * width, "middle/stride8", stride=2)
    features = _residual(blocks, features, "middle/residual8")
    last_stride = output_stride // 8
    features = _separable(blocks, features, 8 * width, "exit/stride16", stride=last_stride)
    rate = 16 // output_stride
    for unit in (1, 2):
        features = _residual(blocks, features, f"exit/residual{unit}", rate)
    features = aspp(blocks, features, (2 * rate, 4 * rate), image_pooling=True, filters=_HEAD_FILTERS)
    features = decoder(blocks, features, low_level, _HEAD_FILTERS, _LOW_LEVEL_FILTERS)
    logits = keras.layers.Conv2D(
        num_classes, 1, kernel_initializer=initializer(0.01, seed, "logits"), name="logits.semantic", dtype="float32"
    )(features)
    return keras.Model(images, logits, name="small_deeplab")


def _separable(
    blocks: Blocks, features: keras.KerasTensor, filters: int, scope: str, stride: int = 1, rate: int = 1
) -> keras.KerasTensor:
    features = blocks.depthwise(features, f"{scope}_depthwise", stride, rate, stddev=0.33)
    return blocks.conv(features, filters, f"{scope}_pointwise")


def _residual(blocks: Blocks, features: keras.KerasTensor, scope: str, rate: int = 1) -> keras.KerasTensor:
    """A separable convolution beside the identity."""
    residual = _separable(blocks, features, features.shape[-1], scope, rate=rate)
    return keras.layers.Add(name=f"{scope}/add".replace("/", "."))([features, residual])
