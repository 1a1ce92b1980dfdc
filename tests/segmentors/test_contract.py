"""What a user's model has to be: both ways in take the same models, and refuse others in the same sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from load_tf.errors import UserError
from load_tf.segmentors.keras_model import keras_model
from load_tf.segmentors.own import OwnModel
from load_tf.segmentors.segmentor import Segmentor
from tests import networks

K = 3
CROP = (48, 64)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """A network whose graph is not known, and what its `call` does with its logits."""

    def __init__(self, gives: str = "logits", **options: Any) -> None:
        super().__init__(**options)
        self.gives = gives
        self.first, self.last = layers.Conv2D(4, 3, padding="same"), layers.Conv2D(K, 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gives": self.gives}

    def call(self, images: Any, training: bool = False) -> Any:
        logits = self.last(self.first(images / 255.0))
        if self.gives == "fault":
            raise RuntimeError("a fault of the user's own")
        if self.gives == "odd":
            return tf.concat([logits, logits[:, 1:]], -1)
        return {
            "logits": logits,
            "list": [logits],
            "two": (logits, logits),
            "dictionary": {"logits": logits},
            "probabilities": tf.nn.softmax(logits),
        }[self.gives]


def subclassed(gives: str = "logits") -> keras.Model:
    model = Subclassed(gives, name="own")
    if gives not in ("fault", "odd"):
        model(np.zeros((1, *CROP, 3), np.float32))
    return model


def graph(end: Callable[[Any], Any] = lambda logits: logits, shape: tuple[int | None, ...] = (None, None, 3),
          **last: Any) -> keras.Model:  # fmt: skip
    """A convolution, and what is made of its logits."""
    images = keras.Input(shape)
    last = {"filters": K, "kernel_size": 3, "padding": "same", **last}
    return keras.Model(images, end(layers.Conv2D(**last)(layers.Rescaling(1 / 255)(images))), name="own")


def spoilt(value: float) -> keras.Model:
    model = graph()
    kernel = model.trainable_variables[0]
    numbers = kernel.numpy()
    numbers[0, 0, 0, :2] = value
    kernel.assign(numbers)
    return model


def two_inputs() -> keras.Model:
    one, two = keras.Input((None, None, 3), name="one"), keras.Input((None, None, 3), name="two")
    return keras.Model([one, two], layers.Conv2D(K, 1)(layers.Add()([one, two])), name="own")


def nested(end: layers.Layer) -> keras.Model:
    """The soft-max or sigmoid is in a model inside, and something behind it enlarges what it gives."""
    images = keras.Input((None, None, 3))
    inside = keras.Model(images, end(layers.Conv2D(K, 3, strides=2, padding="same")(images)))
    outer = keras.Input((None, None, 3))
    return keras.Model(outer, layers.UpSampling2D(2, interpolation="bilinear")(inside(outer)), name="own")


def both_ways(model: keras.Model, folder: Path) -> list[Segmentor | str]:
    """What `load_tf.run` and gin make of a model: a segmentor, or the sentence without the file's name."""
    file = folder / "own.keras"
    found: list[Segmentor | str] = []

    def by_gin() -> Segmentor:
        model.save(file)
        return keras_model(K, str(file), crop=CROP)

    for way in (lambda: OwnModel(model, CROP).segmentor(True, "own"), by_gin):
        try:
            found.append(way())
        except UserError as error:
            found.append(str(error).removeprefix(f"{file}: "))
    return found


LOGITS = "expected logits [B, h, w, K] alone"
REFUSED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "two outputs": (
        lambda: graph(lambda x: [x, layers.ReLU()(x)]),
        f"the model 'own' gives 2 outputs ([B, H, W, 3], [B, H, W, 3]); {LOGITS}: take one of them",
    ),
    "a dictionary": (
        lambda: graph(lambda x: {"logits": x}),
        f"the model 'own' gives a dictionary of outputs ('logits'); {LOGITS}",
    ),
    "two, subclassed": (lambda: subclassed("two"), "the model 'own' gives 2 outputs ("),
    "a dictionary, subclassed": (lambda: subclassed("dictionary"), "gives a dictionary of outputs ('logits'); "),
    "two inputs": (two_inputs, "the model 'own' takes 2 inputs ('one', 'two'); expected RGB images [B, H, W, 3]"),
    "grey images": (
        lambda: graph(shape=(None, None, 1)),
        "the model 'own' takes [B, H, W, 1], images of 1 channel; expected RGB images [B, H, W, 3]",
    ),
    "channels first": (
        lambda: graph(shape=(3, 64, 64)),
        "the model 'own' takes [B, 3, 64, 64], channels first; expected RGB images [B, H, W, 3]",
    ),
    "flat logits": (
        lambda: graph(layers.Reshape((64 * 64, K)), (64, 64, 3)),
        "the model 'own' gives [1, 4096, 3] for one image; expected logits [1, h, w, K].",
    ),
    "one channel": (lambda: graph(filters=1), "for one image, a single channel; expected logits [1, h, w, K], one for"),
    "a soft-max": (lambda: graph(layers.Softmax()), "the model gives probabilities; expected logits: take the soft"),
    "a soft-max, subclassed": (lambda: subclassed("probabilities"), "the model gives probabilities; expected logits"),
    "a soft-max inside": (lambda: nested(layers.Softmax()), "the model gives probabilities; expected logits"),
    "a sigmoid": (
        lambda: graph(activation="sigmoid"),
        "the model gives probabilities; expected logits: take the sigmoid at its end off.",
    ),
    "a sigmoid inside": (lambda: nested(layers.Activation("sigmoid")), "take the sigmoid at its end off."),
    "not a number": (
        lambda: spoilt(np.nan),
        "the weights of the model 'own' are not finite: 2 of the 81 values of '",
    ),
    "infinite": (lambda: spoilt(np.inf), "/kernel' are NaN or infinite; expected numbers: take weights from before"),
    "float64": (
        lambda: graph(dtype="float64"),
        "the model 'own' gives float64; expected logits of float32: make its last layer with dtype='float32'.",
    ),
    "a fault of its own": (
        lambda: subclassed("fault"),
        "the model 'own' can't label an image of 48 x 64 pixels (height x width): a fault of the user's own; expected",
    ),
    "shapes that don't fit": (
        lambda: subclassed("odd"),
        "the model 'own' can't label an image of 48 x 64 pixels (height x width): Dimension",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_both_ways_say_the_same_of_a_model_that_is_no_segmentor(name: str, tmp_path: Path) -> None:
    make, expected = REFUSED[name]
    by_run, by_gin = both_ways(make(), tmp_path)
    assert isinstance(by_run, str) and isinstance(by_gin, str)
    # Keras numbers the layers of a model that is loaded anew.
    assert expected in by_run and (by_gin == by_run or expected in by_gin)
    assert "\n" not in by_run + by_gin and "in user code" not in by_run + by_gin and by_run.endswith(".")


TAKEN: dict[str, Callable[[], keras.Model]] = {
    "a graph": graph,
    "a list of one": lambda: graph(lambda x: [x]),
    "lists of one in and out": lambda: keras.Model([(model := graph()).inputs[0]], [model.outputs[0]]),
    "a dictionary of one in": lambda: keras.Model({"image": (model := graph()).inputs[0]}, model.outputs[0]),
    "subclassed": subclassed,
    "a list of one, subclassed": lambda: subclassed("list"),
    "not built": lambda: keras.Sequential([layers.Rescaling(1 / 255), layers.Conv2D(K, 1)]),
    "of one size": lambda: graph(shape=(64, 64, 3)),
    "a U-Net that is bound to a size": lambda: networks.unet(K),
    "16 bits": lambda: graph(dtype="mixed_bfloat16"),
    "log-probabilities": lambda: graph(layers.Activation("log_softmax")),
}


@pytest.mark.parametrize("name", TAKEN)
def test_both_ways_take_the_same_models(name: str, tmp_path: Path) -> None:
    model = TAKEN[name]()
    found = both_ways(model, tmp_path)
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    expected = keras.tree.flatten(model(images if "dictionary" not in name else {"image": images}))[0]
    for segmentor in found:
        assert isinstance(segmentor, Segmentor), segmentor
        logits = segmentor.model(images)
        assert isinstance(logits, tf.Tensor), "no list"
        np.testing.assert_allclose(tf.cast(logits, tf.float32), tf.cast(expected, tf.float32), atol=1e-5)
        assert segmentor.model.count_params() == model.count_params()
    shared = {id(variable) for variable in model.variables}
    assert {id(variable) for variable in found[0].model.variables} == shared, "what is trained is the user's"  # type: ignore[union-attr]


def test_what_is_no_keras_model_is_named() -> None:
    for thing, expected in (("mine.keras", "the text 'mine.keras'"), (layers.Conv2D(3, 1), "of the type Conv2D")):
        with pytest.raises(UserError, match=f"the model is {expected}; expected a Keras 3 model"):
            OwnModel(thing)  # type: ignore[arg-type]


def test_a_network_that_pools_seven_times_is_padded() -> None:
    images = keras.Input((None, None, 3))
    fine = layers.Conv2D(4, 3, padding="same")(images)
    coarse = layers.UpSampling2D(128)(layers.MaxPooling2D(128)(fine))
    model = keras.Model(images, layers.Conv2D(K, 1)(layers.Concatenate()([fine, coarse])))
    assert OwnModel(model, CROP).segmentor(True, "own").crop(CROP) == (128, 128)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: graph(layers.Lambda(lambda x: x * 2)), "it has a Lambda layer, which is code"),
        (lambda: keras.Model((x := keras.Input((None, None, 3))), Stranger()(x)), "the code of its 'Stranger' is not"),
    ],
)
def test_code_in_a_file_is_sent_to_python(make: Callable[[], keras.Model], expected: str, tmp_path: Path) -> None:
    make().save(tmp_path / "own.keras")
    with pytest.raises(UserError) as refused:
        keras_model(K, str(tmp_path / "own.keras"))
    assert expected in str(refused.value) and "from Python with load_tf.run" in str(refused.value)


class Stranger(layers.Layer):
    """A layer that Keras can't find again."""

    def call(self, images: Any) -> Any:
        return images * 2
