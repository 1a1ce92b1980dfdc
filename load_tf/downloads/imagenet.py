"""MobileNet's ImageNet weights, as `keras.applications` publishes them: checked, and refused in a sentence."""

import warnings
from pathlib import Path

import keras
import numpy as np

from load_tf.errors import UserError

IMAGENET = "imagenet"
"""Keras' word for a download."""

_NORMS = {"conv1": 5.7851, "conv_pw_13": 34.2167}
"""Of two kernels of the published weights at alpha 1, which a download is checked by: Keras gives no checksum."""


def mobilenet(weights: str, alpha: float, parameter: str) -> keras.Model:
    """MobileNet (v1) for three channels, in [-1, 1], without its last layers.

    Args:
      weights: "imagenet", or the path of a file.
      alpha: the width.
      parameter: that named the weights, for messages.

    Raises:
      UserError: if they can't be had, or are not MobileNet's of this width.
    """
    named = f"{parameter} is {weights!r}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = keras.applications.MobileNet(
                input_shape=(224, 224, 3),
                alpha=alpha,
                include_top=False,
                weights=weights if weights == IMAGENET else str(Path(weights).expanduser()),
            )
    except Exception as error:  # Keras raises a bare one if a download fails, and h5py many kinds.
        reason = " ".join(str(error).split())[:300]
        if weights == IMAGENET:
            raise UserError(
                f"{named}, but Keras can't download them ({reason}); expected a way to the internet, or the path of "
                "mobilenet_1_0_224_tf_no_top.h5 (docs/discriminator.md)."
            ) from None
        raise UserError(
            f"{named}, which does not hold the weights of keras.applications.MobileNet(alpha={alpha}, "
            f"include_top=False): {reason}"
        ) from None
    found = [variable.path for variable in network.variables if not np.isfinite(variable.numpy()).all()]
    if found:
        raise UserError(f"{named}, whose {found[0]!r} holds what is no finite number.")
    if weights == IMAGENET and alpha == 1.0:
        for name, norm in _NORMS.items():
            kernel = network.get_layer(name).kernel.numpy()
            if not np.isclose(np.linalg.norm(kernel), norm, rtol=1e-3):
                raise UserError(
                    f"{named}, but the norm of {name!r} is {np.linalg.norm(kernel):.4f}, not {norm}: the download is "
                    "damaged; remove it from ~/.keras/models."
                )
    return network
