"""DeepLabv3 and DeepLabv3+ with the numerics of the official graph (research/deeplab/model.py).

Chen et al. 2018, with separable convolutions in ASPP and decoder. Any number of classes, any input size: the
image-level feature is pooled over the whole feature map, which is the official pooling where the input has the crop's
size.
"""

import dataclasses

import keras

from load_tf.errors import UserError
from load_tf.segmentors import mobilenet_v2, xception
from load_tf.segmentors.layers import HEAD_EPSILON, AlignedResize, Blocks, initializer, input_scaling

_FILTERS = 256
_LOW_LEVEL_FILTERS = 48
_MOMENTUM = 0.9997


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Which network a checkpoint holds; the output stride is no part of it, since it changes no variable.

    Args:
      backbone: "xception_41", "xception_65", "xception_71" or "MobilenetV2": the official scope.
      num_classes: K.
      channels: of MobileNetV2, see `mobilenet_v2.channels_of`; empty for Xception.
      image_pooling: whether there is an image-level feature.
      atrous: whether there are three atrous branches in ASPP.
      decoder: whether there is a decoder at stride 4.
    """

    backbone: str
    num_classes: int
    channels: tuple[int, ...] = ()
    image_pooling: bool = True
    atrous: bool = True
    decoder: bool = True

    def __str__(self) -> str:
        """One line for people."""
        if self.backbone == mobilenet_v2.SCOPE:
            backbone = f"MobileNetV2 (depth multiplier {round(self.channels[-1] / 320, 2):g})"
        else:
            backbone = self.backbone.replace("xception_", "Xception-")
        parts = ["DeepLabv3+" if self.decoder else "DeepLabv3", f"with {backbone},"]
        parts += ["ASPP," if self.atrous else "no atrous branches,", f"{self.num_classes} classes"]
        return " ".join(parts)


def atrous_rates(output_stride: int) -> tuple[int, int, int]:
    """The rates that belong to an output stride: 6, 12, 18 at 16, twice that at 8, half of it at 32."""
    return (96 // output_stride, 192 // output_stride, 288 // output_stride)


def deeplab(
    architecture: Architecture,
    output_stride: int = 16,
    rates: tuple[int, int, int] | None = None,
    multi_grid: tuple[int, int, int] = (1, 1, 1),
    seed: int = 0,
) -> keras.Model:
    """Builds the network, freshly initialised as the official code does it.

    There is no dropout layer. The official graph drops a tenth of `concat_projection`'s output in training only; a
    Keras dropout layer would bring a random state that checkpoints do not hold, and the adversarial steps run the
    network in inference mode, since the discriminator must see what the evaluation sees.

    Args:
      architecture: which network.
      output_stride: 8, 16 or 32: of the backbone's features.
      rates: of the three atrous branches; None for those that belong to the output stride.
      multi_grid: factors of the rate in the three convolutions of Xception's last block.
      seed: of the initial weights.

    Returns:
      A functional model from RGB [B, H, W, 3] in [0, 255], any H and W, to float32 logits [B, ceil(H / s), ceil(W / s),
      K], where s is 4 with a decoder, otherwise the output stride. Layers have the official scopes as names, with "."
      for "/".

    Raises:
      UserError: the output stride is none of the three.
    """
    if output_stride not in (8, 16, 32):
        raise UserError(f"output_stride is {output_stride!r}; expected 8, 16 or 32")
    images = keras.Input((None, None, 3), name="images")
    scaled = input_scaling()(images)
    if architecture.backbone == mobilenet_v2.SCOPE:
        features, low_level = mobilenet_v2.mobilenet_v2(scaled, architecture.channels, output_stride, seed)
    else:
        features, low_level = xception.xception(scaled, architecture.backbone, output_stride, multi_grid, seed)
    blocks = Blocks(HEAD_EPSILON, _MOMENTUM, seed=seed)
    branch_rates = (rates or atrous_rates(output_stride)) if architecture.atrous else ()
    features = aspp(blocks, features, branch_rates, architecture.image_pooling)
    if architecture.decoder:
        features = decoder(blocks, features, low_level)
    logits = keras.layers.Conv2D(
        architecture.num_classes,
        1,
        kernel_initializer=initializer(0.01, seed, "logits/semantic"),
        name="logits.semantic",
        # Arg-max, softmax and losses need float32 under any precision policy.
        dtype="float32",
    )(features)
    return keras.Model(images, logits, name="deeplab")


def aspp(
    blocks: Blocks, features: keras.KerasTensor, rates: tuple[int, ...], image_pooling: bool, filters: int = _FILTERS
) -> keras.KerasTensor:
    """Atrous spatial pyramid pooling: the branches, joined in the official order, and their projection.

    Args:
      blocks: the head's settings.
      features: [B, h, w, C].
      rates: of the atrous branches; empty for none.
      image_pooling: whether to add the image-level feature.
      filters: F, of every branch.

    Returns:
      [B, h, w, F].
    """
    branches = []
    if image_pooling:
        pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="image_pooling.AvgPool")(features)
        pooled = blocks.conv(pooled, filters, "image_pooling")
        branches.append(AlignedResize(name="image_pooling.ResizeBilinear")([pooled, features]))
    branches.append(blocks.conv(features, filters, "aspp0"))
    branches += [
        _split_separable(blocks, features, filters, f"aspp{branch}", rate) for branch, rate in enumerate(rates, 1)
    ]
    joined = keras.layers.Concatenate(name="aspp.concat")(branches) if len(branches) > 1 else branches[0]
    return blocks.conv(joined, filters, "concat_projection")


def decoder(
    blocks: Blocks,
    features: keras.KerasTensor,
    low_level: keras.KerasTensor,
    filters: int = _FILTERS,
    low_level_filters: int = _LOW_LEVEL_FILTERS,
) -> keras.KerasTensor:
    """The decoder of DeepLabv3+: up-sampled features beside projected low-level ones, then two separable convolutions.

    Args:
      blocks: the head's settings.
      features: [B, h, w, C], ASPP's output.
      low_level: [B, H, W, C'] at stride 4. Its size is the decoder's, `int((crop - 1) / 4 + 1)`, so only the features
        are resized.
      filters: F, of the two convolutions.
      low_level_filters: of the low-level projection.

    Returns:
      [B, H, W, F].
    """
    low_level = blocks.conv(low_level, low_level_filters, "decoder/feature_projection0")
    features = AlignedResize(name="decoder.ResizeBilinear")([features, low_level])
    features = keras.layers.Concatenate(name="decoder.concat")([features, low_level])
    for scope in ("decoder/decoder_conv0", "decoder/decoder_conv1"):
        features = _split_separable(blocks, features, filters, scope)
    return features


def _split_separable(
    blocks: Blocks, features: keras.KerasTensor, filters: int, scope: str, rate: int = 1
) -> keras.KerasTensor:
    """Depthwise and pointwise convolution, each with batch norm and ReLU (`split_separable_conv2d`)."""
    features = blocks.depthwise(features, f"{scope}_depthwise", rate=rate, stddev=0.33)
    return blocks.conv(features, filters, f"{scope}_pointwise", stddev=0.06)
