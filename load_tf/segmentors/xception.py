"""The modified aligned Xception, DeepLab's large backbone: research/deeplab/core/xception.py."""

import dataclasses

import keras

from load_tf.segmentors.layers import BACKBONE_EPSILON, Blocks

_MOMENTUM = 0.9997
_STDDEV = 0.09


@dataclasses.dataclass(frozen=True)
class _Block:
    """A block of equal units of three separable convolutions.

    Args:
      scope: below the network's.
      depths: output channels of the three.
      skip: what is added to the third: "conv" (a 1x1 convolution of the input), "sum" (the input), "none".
      stride: of the third convolution of each unit.
      units: how many.
      low_level: whether the second convolution's output is the decoder's low-level feature.
    """

    scope: str
    depths: tuple[int, int, int]
    skip: str
    stride: int
    units: int = 1
    low_level: bool = False


def _blocks(entry: tuple[_Block, ...], middle_units: int) -> tuple[_Block, ...]:
    return (
        *entry,
        _Block("middle_flow/block1", (728, 728, 728), "sum", 1, middle_units),
        _Block("exit_flow/block1", (728, 1024, 1024), "conv", 2),
        _Block("exit_flow/block2", (1536, 1536, 2048), "none", 1),
    )


_ENTRY = (
    _Block("entry_flow/block1", (128, 128, 128), "conv", 2),
    _Block("entry_flow/block2", (256, 256, 256), "conv", 2, low_level=True),
    _Block("entry_flow/block3", (728, 728, 728), "conv", 2),
)
_ENTRY_71 = (
    _Block("entry_flow/block1", (128, 128, 128), "conv", 2),
    _Block("entry_flow/block2", (256, 256, 256), "conv", 1),
    _Block("entry_flow/block3", (256, 256, 256), "conv", 2, low_level=True),
    _Block("entry_flow/block4", (728, 728, 728), "conv", 1),
    _Block("entry_flow/block5", (728, 728, 728), "conv", 2),
)

VARIANTS = {
    "xception_41": _blocks(_ENTRY, middle_units=8),
    "xception_65": _blocks(_ENTRY, middle_units=16),
    "xception_71": _blocks(_ENTRY_71, middle_units=16),
}
"""The blocks of each network, by official scope."""


def xception(
    inputs: keras.KerasTensor,
    variant: str,
    output_stride: int,
    multi_grid: tuple[int, int, int] = (1, 1, 1),
    seed: int = 0,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The backbone.

    Once the output stride is reached, a strided unit runs with stride 1 at the present rate, and its stride multiplies
    the rate of the units after it.

    Args:
      inputs: [B, H, W, 3] in [-1, 1].
      variant: "xception_41", "xception_65" or "xception_71".
      output_stride: 8, 16 or 32.
      multi_grid: factors of the rate in the three convolutions of the last block.
      seed: of the initial weights.

    Returns:
      features: [B, ceil(H / output_stride), ceil(W / output_stride), 2048], after ReLU.
      low_level: [B, ceil(H / 4), ceil(W / 4), 256], after batch norm, not rectified.
    """
    blocks = Blocks(BACKBONE_EPSILON, _MOMENTUM, fixed_padding=True, seed=seed)
    features = blocks.conv(inputs, 32, f"{variant}/entry_flow/conv1_1", kernel_size=3, stride=2, stddev=_STDDEV)
    features = blocks.conv(features, 64, f"{variant}/entry_flow/conv1_2", kernel_size=3, stddev=_STDDEV)
    low_level, current_stride, rate = features, 2, 1
    for block in VARIANTS[variant]:
        last = block.skip == "none"
        for unit in range(1, block.units + 1):
            scope = f"{variant}/{block.scope}/unit_{unit}/xception_module"
            reached = current_stride == output_stride
            unit_rate = rate if reached else 1
            rates = tuple(unit_rate * factor for factor in (multi_grid if last else (1, 1, 1)))
            features, second = _unit(blocks, features, scope, block, 1 if reached else block.stride, rates)
            if reached:
                rate *= block.stride
            else:
                current_stride *= block.stride
            if block.low_level:
                low_level = second
    return features, low_level


def _unit(
    blocks: Blocks, inputs: keras.KerasTensor, scope: str, block: _Block, stride: int, rates: tuple[int, ...]
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """One Xception module; its output and its second separable convolution's.

    All but the last block rectify in front of each separable convolution and nowhere else; the skip connection takes
    the input as it is, and nothing follows the sum. The last block rectifies after each depthwise and pointwise
    convolution.
    """
    inside = block.skip == "none"
    residual, second = inputs, inputs
    for index, (depth, rate) in enumerate(zip(block.depths, rates, strict=True), 1):
        if not inside:
            residual = blocks.relu(residual, f"{scope}/Relu_{index}")
        name = f"{scope}/separable_conv{index}"
        residual = blocks.depthwise(
            residual, f"{name}_depthwise", stride if index == 3 else 1, rate, relu=inside, stddev=_STDDEV
        )
        residual = blocks.conv(residual, depth, f"{name}_pointwise", relu=inside, stddev=_STDDEV)
        second = residual if index == 2 else second
    if block.skip == "none":
        return residual, second
    shortcut = inputs
    if block.skip == "conv":
        shortcut = blocks.conv(inputs, block.depths[-1], f"{scope}/shortcut", stride=stride, relu=False, stddev=_STDDEV)
    return keras.layers.Add(name=f"{scope}/add".replace("/", "."))([residual, shortcut]), second
