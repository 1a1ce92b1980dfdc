"""DeepLabv3+ on MobileNet (v1) with ImageNet's weights: a start for a small data set, where no segmentor is at hand.

The head is that of `small_deeplab`. Howard et al. 2017, table 1, without the last pooling and the classifier.
"""

import keras

from load_tf.downloads import imagenet
from load_tf.errors import UserError
from load_tf.segmentors.deeplab import aspp, decoder
from load_tf.segmentors.layers import BACKBONE_EPSILON, Blocks, initializer, input_scaling
from load_tf.segmentors.segmentor import Segmentor

# Filters at width 1, and stride, of the 13 separable convolutions.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
    (1024, 2), (1024, 1),
)  # fmt: skip
_LOW_LEVEL_BLOCK = 3
# As Keras' own network; its averages have seen ImageNet.
_BACKBONE_MOMENTUM, _HEAD_MOMENTUM = 0.99, 0.9
_HEAD_FILTERS, _LOW_LEVEL_FILTERS = 128, 24


def mobilenet_deeplab(
    num_classes: int, weights: str | None = "imagenet", alpha: float = 1.0, output_stride: int = 16, seed: int = 0
) -> Segmentor:
    """A DeepLabv3+ whose backbone knows ImageNet; stage 1 trains it.

    Args:
      num_classes: K.
      weights: of the backbone: "imagenet", which Keras downloads; the path of a file that
        keras.applications.MobileNet(include_top=False) takes; None: drawn.
      alpha: multiplies the channels of the backbone, 0.25, 0.5, 0.75 or 1.
      output_stride: 8 or 16.
      seed: of the initial weights.

    Raises:
      UserError: for another output stride or width, or if the weights can't be had.
    """
    if output_stride not in (8, 16):
        raise UserError(f"mobilenet_deeplab.output_stride is {output_stride!r}; expected 8 or 16.")
    if alpha not in (0.25, 0.5, 0.75, 1.0):
        raise UserError(f"mobilenet_deeplab.alpha is {alpha!r}; expected 0.25, 0.5, 0.75 or 1.")
    images = keras.Input((None, None, 3), name="images")
    features, low_level = _backbone(input_scaling()(images), alpha, output_stride, seed)
    blocks = Blocks(BACKBONE_EPSILON, _HEAD_MOMENTUM, seed=seed)
    rate = 16 // output_stride
    features = aspp(blocks, features, (3 * rate, 6 * rate), image_pooling=True, filters=_HEAD_FILTERS)
    features = decoder(blocks, features, low_level, _HEAD_FILTERS, _LOW_LEVEL_FILTERS)
    logits = keras.layers.Conv2D(
        num_classes, 1, kernel_initializer=initializer(0.01, seed, "logits"), name="logits.semantic", dtype="float32"
    )(features)
    model = keras.Model(images, logits, name="mobilenet_deeplab")
    if weights is not None:
        _take(model, imagenet.mobilenet(weights, alpha, "mobilenet_deeplab.weights"))
    description = f"DeepLabv3+ on MobileNet ({model.count_params():,} parameters), output stride {output_stride}"
    return Segmentor(model, False, description, output_stride)


def _backbone(
    inputs: keras.KerasTensor, alpha: float, output_stride: int, seed: int
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Features at the output stride and at stride 4, [B, H, W, 3] in [-1, 1] given; layers by Keras' names."""
    blocks = Blocks(BACKBONE_EPSILON, _BACKBONE_MOMENTUM, relu_cap=6, seed=seed)
    low_level = features = blocks.conv(inputs, int(32 * alpha), "conv1", kernel_size=3, stride=2)
    current_stride, rate = 2, 1
    for number, (filters, stride) in enumerate(_BLOCKS, 1):
        reached = current_stride == output_stride
        features = blocks.depthwise(features, f"conv_dw_{number}", 1 if reached else stride, rate if reached else 1)
        features = blocks.conv(features, int(filters * alpha), f"conv_pw_{number}")
        if reached:
            rate *= stride
        else:
            current_stride *= stride
        if number == _LOW_LEVEL_BLOCK:
            low_level = features
    return features, low_level


def _take(model: keras.Model, source: keras.Model) -> None:
    """Gives the backbone's layers the weights of Keras' layers."""
    for layer in source.layers:
        if layer.weights:
            ours = model.get_layer(layer.name.removesuffix("_bn") + ".BatchNorm" * layer.name.endswith("_bn"))
            for variable, value in zip(ours.weights, layer.weights, strict=True):
                variable.assign(value)
