"""ImageNet's MobileNet as a discriminator's first weights, its first convolution inflated to the discriminator's input.

The class-split images of a label map add up to the image, so that a network whose first kernel stands once for every
class computes of them what it computed of the image. The paper is silent on initialisation (docs/reproduction.md).
"""

import warnings
from pathlib import Path

import keras
import numpy as np

from load_tf.data.colours import voc_palette
from load_tf.discriminator.settings import IMAGENET, Discriminator
from load_tf.errors import UserError

_NORMS = {"conv1": 5.7851, "conv_pw_13": 34.2167}
"""Of two kernels of the published weights at alpha 1, which a download is checked by: Keras gives no checksum."""


def imagenet_mobilenet(settings: Discriminator) -> keras.Model:
    """MobileNet for three channels, in [-1, 1], with the weights that the settings name.

    Raises:
      UserError: if they can't be had, or are not MobileNet's of this width.
    """
    named = f"Discriminator.weights is {settings.weights!r}"
    weights = settings.weights if settings.weights == IMAGENET else str(Path(settings.weights or "").expanduser())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = keras.applications.MobileNet(
                input_shape=(224, 224, 3), alpha=settings.alpha, include_top=False, weights=weights
            )
    except Exception as error:  # Keras raises a bare one if a download fails, and h5py many kinds.
        reason = " ".join(str(error).split())[:300]
        if settings.weights == IMAGENET:
            raise UserError(
                f"{named}, but Keras can't download them ({reason}); expected a way to the internet, or the path of "
                "mobilenet_1_0_224_tf_no_top.h5 (docs/discriminator.md)."
            ) from None
        raise UserError(
            f"{named}, which does not hold the weights of keras.applications.MobileNet(alpha={settings.alpha}, "
            f"include_top=False): {reason}"
        ) from None
    found = [variable.path for variable in network.variables if not np.isfinite(variable.numpy()).all()]
    if found:
        raise UserError(f"{named}, whose {found[0]!r} holds what is no finite number.")
    if settings.weights == IMAGENET and settings.alpha == 1.0:
        for name, norm in _NORMS.items():
            kernel = network.get_layer(name).kernel.numpy()
            if not np.isclose(np.linalg.norm(kernel), norm, rtol=1e-3):
                raise UserError(
                    f"{named}, but the norm of {name!r} is {np.linalg.norm(kernel):.4f}, not {norm}: the download is "
                    "damaged; remove it from ~/.keras/models."
                )
    return network


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
