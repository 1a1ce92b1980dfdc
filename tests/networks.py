"""Small networks for tests that need some segmentor and are not about which; every weight is drawn by key."""

import functools
from pathlib import Path

import keras
import numpy as np

from load_tf.randomness import generator


def keyed(model: keras.Model, seed: int) -> keras.Model:
    """The model, with weights drawn by key; those of batch norm are not those it begins with."""
    for number, variable in enumerate(model.variables):
        random = generator(seed, "networks", number)
        if variable.path.endswith(("variance", "gamma")):
            variable.assign(random.uniform(0.5, 2, variable.shape))
        else:
            inputs = np.prod(variable.shape[:-1]) if len(variable.shape) == 4 else 16
            variable.assign(random.normal(0, 1.5 / inputs**0.5, variable.shape))
    return model


def one_convolution(classes: int, stride: int = 4, kernel: int = 3, seed: int = 0) -> keras.Model:
    """A strided convolution with SAME padding: it labels every block by its colours.

    Args:
      classes: K.
      stride: of its logits.
      kernel: height and width of the convolution.
      seed: of the weights.
    """
    images = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    logits = keras.layers.Conv2D(classes, kernel, stride, padding="same", name="logits")(scaled)
    return keyed(keras.Model(images, logits, name="one_convolution"), seed)


def strided(classes: int, *hidden: tuple[int, int], last: int = 3, seed: int = 0) -> keras.Model:
    """Convolutions with batch norm and ReLU, then one to the logits.

    Args:
      classes: K.
      *hidden: (filters, stride) of the 3 x 3 convolutions before the last; none: one of 6 filters at stride 4.
      last: height and width of the last convolution.
      seed: of the weights.
    """
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    for number, (filters, stride) in enumerate(hidden or ((6, 4),)):
        x = keras.layers.Conv2D(filters, 3, stride, padding="same", name=f"conv{number}")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(name=f"norm{number}")(x))
    logits = keras.layers.Conv2D(classes, last, padding="same", name="logits")(x)
    return keyed(keras.Model(images, logits, name="strided"), seed)


def trainable(classes: int = 8, deep: bool = True) -> keras.Model:
    """A network at stride 4 that learns something in a few steps: for whole runs.

    Args:
      classes: K.
      deep: with a dilated convolution in the middle.
    """

    def conv(filters: int, size: int, seed: int, **options: object) -> keras.layers.Layer:
        initializer = keras.initializers.HeNormal(seed=seed)
        name = f"conv{seed}"
        return keras.layers.Conv2D(filters, size, padding="same", kernel_initializer=initializer, name=name, **options)

    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    x = conv(12, 5, 1, strides=4, activation="relu")(x)
    if deep:
        x = conv(16, 3, 2, dilation_rate=2, activation="relu")(x)
    x = keras.layers.BatchNormalization(momentum=0.8, name="norm")(x)
    return keras.Model(images, conv(classes, 1, 3)(x), name="tiny")


def untrained(classes: int) -> keras.Model:
    """Two convolutions at stride 4 as Keras begins with them, and batch norm, whose statistics may not move."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    seeds = [keras.initializers.HeNormal(seed=number) for number in (0, 1)]
    x = keras.layers.Conv2D(6, 3, 4, padding="same", kernel_initializer=seeds[0], name="conv0")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="bn")(x))
    x = keras.layers.Conv2D(classes, 3, padding="same", kernel_initializer=seeds[1], name="conv1")(x)
    return keras.Model(images, x)


def unet(classes: int = 8, last: str | None = None, up: str = "bilinear") -> keras.Model:
    """The plain one: it pools twice and only takes multiples of 4; where it is bilinear, its graph is bound to a size.

    Args:
      classes: K.
      last: an activation at the end.
      up: how it up-samples: "transposed", or an interpolation of `UpSampling2D`.
    """
    keras.utils.set_random_seed(1)

    def larger(features: keras.KerasTensor) -> keras.KerasTensor:
        if up == "transposed":
            return keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same")(features)
        return keras.layers.UpSampling2D(interpolation=up)(features)

    images = keras.Input((None, None, 3))
    conv = functools.partial(keras.layers.Conv2D, kernel_size=3, padding="same", activation="relu")
    one = conv(8)(keras.layers.Rescaling(1 / 127.5, offset=-1)(images))
    two = conv(12)(keras.layers.MaxPooling2D()(one))
    features = conv(16)(keras.layers.MaxPooling2D()(two))
    features = conv(12)(keras.layers.Concatenate()([two, larger(features)]))
    features = conv(8)(keras.layers.Concatenate()([one, larger(features)]))
    return keras.Model(images, keras.layers.Conv2D(classes, 1, activation=last)(features), name="unet")


def narrow_mobilenet(folder: Path) -> str:
    """The path of a file with drawn weights of Keras' MobileNet at a quarter of its width."""
    keras.utils.set_random_seed(4)
    network = keras.applications.MobileNet(input_shape=(224, 224, 3), alpha=0.25, include_top=False, weights=None)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            random = np.random.default_rng(len(layer.name))
            layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    network.save_weights(folder / "narrow.weights.h5")
    return str(folder / "narrow.weights.h5")
