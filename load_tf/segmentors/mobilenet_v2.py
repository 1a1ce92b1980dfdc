"""MobileNetV2 as DeepLab's backbone, with any depth multiplier.

research/slim/nets/mobilenet/mobilenet_v2.py up to `layer_18`; Sandler et al. 2018, table 2,
without the last 1x1 convolution to 1280 channels.
"""

import keras

from load_tf.segmentors.layers import BACKBONE_EPSILON, Blocks

SCOPE = "MobilenetV2"

# Output channels at multiplier 1 and stride: first of the 3x3 convolution, then of the 17 expanded convolutions.
_CHANNELS = (32, 16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)
_STRIDES = (2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)

_EXPANSION = 6
_MOMENTUM = 0.997
# The decoder's low-level feature is taken from inside this block (`layer_4/depthwise_output`), at stride 4.
_LOW_LEVEL_BLOCK = 2


def make_divisible(channels: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to `channels`, at least one of it, and not below 90 % of `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def channels_of(depth_multiplier: float, divisor: int | None = None) -> tuple[int, ...]:
    """Output channels of the first convolution and the 17 blocks.

    Args:
      depth_multiplier: of all of them.
      divisor: they are multiples of it. None: 8 at multiplier 1 and 1 elsewhere, as DeepLab's `feature_extractor.py`
        has it; slim's own default, and the first release's, is 8.

    Returns:
      18 numbers.
    """
    divisor = divisor or (8 if depth_multiplier == 1.0 else 1)
    return tuple(make_divisible(channels * depth_multiplier, divisor) for channels in _CHANNELS)


def block_scope(block: int) -> str:
    """The official scope of the expanded convolution 0 to 16."""
    return f"{SCOPE}/expanded_conv" + (f"_{block}" if block else "")


def mobilenet_v2(
    inputs: keras.KerasTensor, channels: tuple[int, ...], output_stride: int, seed: int = 0
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The backbone.

    Once the output stride is reached, a strided block runs with stride 1 at the present rate, and its stride multiplies
    the rate of the blocks after it.

    Args:
      inputs: [B, H, W, 3] in [-1, 1].
      channels: the 18 of `channels_of`.
      output_stride: 8, 16 or 32.
      seed: of the initial weights.

    Returns:
      features: [B, ceil(H / output_stride), ceil(W / output_stride), channels[-1]], linear.
      low_level: [B, ceil(H / 4), ceil(W / 4), 6 * channels[2]], after ReLU6.
    """
    blocks = Blocks(BACKBONE_EPSILON, _MOMENTUM, relu_cap=6, seed=seed)
    features = blocks.conv(inputs, channels[0], f"{SCOPE}/Conv", kernel_size=3, stride=2, stddev=0.09)
    low_level, current_stride, rate = features, 2, 1
    for block, (filters, stride) in enumerate(zip(channels[1:], _STRIDES[1:], strict=True)):
        reached = current_stride == output_stride
        features, depthwise = _expanded_conv(
            blocks, features, block, filters, 1 if reached else stride, rate if reached else 1
        )
        if reached:
            rate *= stride
        else:
            current_stride *= stride
        if block == _LOW_LEVEL_BLOCK:
            low_level = depthwise
    return features, low_level


def _expanded_conv(
    blocks: Blocks, inputs: keras.KerasTensor, block: int, filters: int, stride: int, rate: int
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Expansion, depthwise convolution and linear projection; the output and the depthwise convolution's."""
    scope = block_scope(block)
    features = inputs
    if block:
        # The expansion is a multiple of 8 whatever the multiplier.
        expanded = make_divisible(inputs.shape[-1] * _EXPANSION, 8)
        features = blocks.conv(features, expanded, f"{scope}/expand", stddev=0.09)
    depthwise = blocks.depthwise(features, f"{scope}/depthwise", stride, rate)
    features = blocks.conv(depthwise, filters, f"{scope}/project", relu=False, stddev=0.09)
    if stride == 1 and filters == inputs.shape[-1]:
        # Whether a block has a skip connection depends on the stride it runs with, so on the output stride too.
        features = keras.layers.Add(name=f"{scope}/output".replace("/", "."))([features, inputs])
    return features, depthwise
