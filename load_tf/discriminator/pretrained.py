"""ImageNet's MobileNet as a discriminator's first weights, its first convolution inflated to the discriminator's input.

The class-split images of a label map add up to the image, so that a network whose first kernel stands once for every
class computes of them what it computed of the image. The paper is silent on initialisation (docs/reproduction.md).
"""

import keras
import numpy as np

from load_tf.data.colours import voc_palette
from load_tf.discriminator.settings import Discriminator
from load_tf.downloads import imagenet


def imagenet_mobilenet(settings: Discriminator) -> keras.Model:
    """The network whose weights the settings name. Raises UserError as `imagenet.mobilenet`."""
    assert settings.weights is not None
    return imagenet.mobilenet(settings.weights, settings.alpha, "Discriminator.weights")


def inflate(body: keras.Model, settings: Discriminator, num_classes: int) -> None:
    """Gives a discriminator's body the weights of ImageNet's network; it may end earlier.

    Args:
      body: MobileNet on `settings.channels(num_classes)` channels, by Keras' names of its layers.
      settings: whose `weights` are taken, and `sees` and `image_range` fitted to.
      num_classes: K.

    Raises:
      UserError: as `imagenet_mobilenet`.
    """
    source = imagenet_mobilenet(settings)
    for layer in body.layers:
        if layer.weights and layer.name != "conv1":
            for variable, value in zip(layer.weights, source.get_layer(layer.name).weights, strict=True):
                variable.assign(value)
    kernel = source.get_layer("conv1").kernel.numpy()
    if settings.sees == "masks":
        # A class is the colour that it has in figures, in ImageNet's scale; void is mid-grey.
        colours = np.asarray(voc_palette(num_classes), np.float32) / 127.5 - 1
        body.get_layer("conv1").kernel.assign(np.einsum("hwcf,kc->hwkf", kernel, colours))
        return
    low, high = settings.image_range
    # What comes in is low + (high - low) p, with p in [0, 1]; ImageNet's network expects 2 p - 1 = scale * in + shift.
    scale, shift = 2 / (high - low), -1 - 2 * low / (high - low)
    inflated = np.tile(scale * kernel, (1, 1, num_classes, 1))
    if settings.sees == "both":
        inflated = np.concatenate([inflated, np.zeros((3, 3, num_classes, kernel.shape[-1]), np.float32)], axis=2)
    body.get_layer("conv1").kernel.assign(inflated)
    mean = body.get_layer("conv1_bn").moving_mean
    mean.assign(mean - shift * kernel.sum(axis=(0, 1, 2)))
