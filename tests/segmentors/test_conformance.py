"""What every registered segmentor has to do; a segmentor that is registered and has no case here fails."""

import contextlib
import functools
import importlib
import inspect
import pkgutil
import sys
import typing
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf1_checkpoint

import load_tf.segmentors
from load_tf.errors import UserError
from load_tf.experiment import registry
from load_tf.segmentors.deeplab import Architecture
from load_tf.segmentors.mobilenet_v2 import channels_of
from load_tf.segmentors.segmentor import Segmentor
from tests import networks
from tests.processor import use_precision

# Keras's own on every save: numpy 2 asks its variables for a copy keyword that they do not have.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CLASSES = 5
SEGMENTORS = {factory.__name__: factory for factory in registry.SEGMENTORS}
Make = Callable[[], Segmentor]


def _official(folder: Path) -> dict[str, typing.Any]:
    architecture = Architecture("MobilenetV2", CLASSES, channels_of(0.35), atrous=False)
    prefix = folder / "official/model.ckpt"
    if not prefix.parent.is_dir():
        tf1_checkpoint.write(prefix, tf1_checkpoint.random_weights(architecture))
    return {"checkpoint": str(prefix.parent)}


def _keras(folder: Path) -> dict[str, typing.Any]:
    path = folder / "mine.keras"
    networks.strided(CLASSES, (8, 4), last=1).save(path)
    return {"path": str(path)}


ARGUMENTS: dict[str, Callable[[Path], dict[str, typing.Any]]] = {
    "official_deeplab": _official,
    "small_deeplab": lambda folder: {"width": 8},
    "mobilenet_deeplab": lambda folder: {"alpha": 0.25, "weights": None},
    "keras_model": _keras,
}


@pytest.fixture(params=sorted(SEGMENTORS))
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.getbasetemp() / "segmentors"
    folder.mkdir(exist_ok=True)
    arguments = ARGUMENTS[request.param](folder)
    return lambda: SEGMENTORS[request.param](num_classes=CLASSES, **arguments)


@functools.cache
def _made(name: str, folder: Path) -> Segmentor:
    return SEGMENTORS[name](num_classes=CLASSES, **ARGUMENTS[name](folder))


@pytest.fixture(params=sorted(SEGMENTORS))
def segmentor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Segmentor:
    """The same object in all tests that only look at it."""
    folder = tmp_path_factory.getbasetemp() / "segmentors"
    folder.mkdir(exist_ok=True)
    return _made(request.param, folder)


def _images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (*shape, 3)).astype(np.float32)


def test_every_factory_is_registered_and_has_a_case() -> None:
    found = set()
    for module_info in pkgutil.iter_modules(load_tf.segmentors.__path__):
        module = importlib.import_module(f"load_tf.segmentors.{module_info.name}")
        for name, value in vars(module).items():
            if (
                callable(value)
                and getattr(value, "__module__", None) == module.__name__
                and not isinstance(value, type)
            ):
                returns = typing.get_type_hints(value).get("return")
                found |= {name} if returns is Segmentor else set()
    assert found == set(SEGMENTORS) == set(ARGUMENTS)


def test_logits_of_odd_sizes_and_batches(segmentor: Segmentor) -> None:
    assert segmentor.description
    assert segmentor.output_stride in (4, 8, 16, 32)
    call = tf.function(
        lambda images: segmentor.model(images, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
    )
    for shape in [(1, 33, 49), (3, 47, 34), (2, 16, 80), (1, 1, 1)]:
        images = _images(*shape)
        logits = call(images)
        assert logits.dtype == tf.float32
        assert logits.shape[0] == shape[0] and logits.shape[3] == CLASSES
        assert logits.shape[1:3] == (-(-shape[1] // 4), -(-shape[2] // 4))
        assert np.isfinite(logits.numpy()).all()
        assert np.ptp(logits.numpy()) > 0
        # Sums of another batch are taken in another order, so a logit near 0 is off by what the largest one rounds to.
        off = 1e-5 * float(np.abs(logits).max())
        for index in range(shape[0]):
            np.testing.assert_allclose(
                call(images[index : index + 1])[0], logits[index], atol=max(off, 1e-5), rtol=1e-5
            )
    assert call.experimental_get_tracing_count() == 1


def test_made_twice_is_the_same(make: Make) -> None:
    first, second = make().model, make().model
    for one, other in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_weights_are_saved_and_restored(make: Make, tmp_path: Path) -> None:
    model, images = make().model, _images(2, 33, 49)
    for index, variable in enumerate(model.variables):
        variable.assign(variable.value * (1.01 + 0.001 * index))
    expected = model(images, training=False).numpy()
    model.save_weights(tmp_path / "all.weights.h5")
    model.save(tmp_path / "whole.keras")
    other = make().model
    assert np.abs(other(images, training=False).numpy() - expected).max() > 1e-5
    other.load_weights(tmp_path / "all.weights.h5")
    whole = keras.saving.load_model(tmp_path / "whole.keras", compile=False)
    for restored in (other, whole):
        for one, two in zip(model.variables, restored.variables, strict=True):
            np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=one.path)
        np.testing.assert_allclose(restored(images, training=False), expected, rtol=1e-6, atol=1e-6)


def test_saved_model_needs_no_code_of_ours(segmentor: Segmentor, tmp_path: Path) -> None:
    model, images = segmentor.model, _images(2, 33, 49)
    module = tf.Module()
    module.kept = [variable.value for variable in model.variables]
    signature = [tf.TensorSpec((None, None, None, 3), tf.float32)]
    module.logits = tf.function(lambda batch: model(batch, training=False), input_signature=signature)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(loaded.logits(images), model(images, training=False), rtol=1e-4, atol=1e-4)


def test_no_random_state(segmentor: Segmentor) -> None:
    model = segmentor.model
    for layer in [model, *model._flatten_layers(include_self=False)]:
        held = [name for name, value in vars(layer).items() if isinstance(value, keras.random.SeedGenerator)]
        assert not held, f"{layer.name} holds {held}"
    assert not [variable.path for variable in model.variables if "seed_generator" in variable.path]


@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_every_weight(make: Make, training: bool) -> None:
    model = make().model
    before = [variable.numpy() for variable in model.non_trainable_variables]
    factors = np.random.default_rng(1).normal(size=(2, 17, 21, CLASSES)).astype(np.float32)
    with tf.GradientTape() as tape:
        # No linear function of the logits: batch norm in training would make most of its gradient vanish.
        loss = tf.reduce_sum(tf.sin(model(_images(2, 65, 81), training=training) * 20.0) * factors)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient.numpy()).all(), variable.path
        assert np.abs(gradient.numpy()).max() > 0, variable.path
    moved = [
        not np.array_equal(old, variable.numpy())
        for old, variable in zip(before, model.non_trainable_variables, strict=True)
    ]
    # Moving averages move in training and stay put in inference.
    assert all(moved) if training else not any(moved)


def test_mixed_precision_gives_float32_logits_near_the_exact_ones(make: Make) -> None:
    images = _images(2, 65, 81)
    exact = make().model(images, training=False).numpy()
    policy = keras.config.dtype_policy()
    use_precision("mixed_float16")
    try:
        model = make().model
    finally:
        keras.config.set_dtype_policy(policy)
    mixed = model(images, training=False)
    assert mixed.dtype == tf.float32
    # Random weights carry rounding on further than trained ones: on a real image the official network differs by 1 %.
    assert np.sqrt(np.mean((mixed.numpy() - exact) ** 2)) < 0.2 * exact.std()


def test_variables_are_made_under_a_strategy(make: Make) -> None:
    images = _images(2, 33, 49)
    expected = make().model(images, training=False).numpy()
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        model = make().model
    assert all(isinstance(variable.value, tf.distribute.DistributedValues) for variable in model.variables)
    replicated = strategy.run(lambda batch: model(batch, training=False), args=(tf.constant(images),))
    np.testing.assert_allclose(replicated, expected, rtol=1e-4, atol=1e-4)


def test_small_deeplab_is_small() -> None:
    model = SEGMENTORS["small_deeplab"](num_classes=21).model
    assert 300_000 < model.count_params() < 500_000
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert layer.momentum == 0.9
    with pytest.raises(UserError, match=r"output_stride is 4"):
        SEGMENTORS["small_deeplab"](num_classes=21, output_stride=4)


def test_official_deeplab_with_other_classes_is_not_pretrained(tmp_path: Path) -> None:
    arguments = _official(tmp_path)
    factory = SEGMENTORS["official_deeplab"]
    assert factory(num_classes=CLASSES, **arguments).pretrained
    other = factory(num_classes=9, **arguments)
    assert not other.pretrained and other.model.output_shape[-1] == 9
    assert "new logits for 9 classes" in other.description


def test_keras_model_is_refused_by_name(tmp_path: Path) -> None:
    arguments = _keras(tmp_path)
    with pytest.raises(UserError, match=r"mine\.keras: has 5 output channels; the data set has 7 classes"):
        SEGMENTORS["keras_model"](num_classes=7, **arguments)
    with pytest.raises(UserError, match=r"absent\.keras: no such file"):
        SEGMENTORS["keras_model"](num_classes=5, path=str(tmp_path / "absent.keras"))
    (tmp_path / "junk.keras").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"junk\.keras is not in the \.keras format"):
        SEGMENTORS["keras_model"](num_classes=5, path=str(tmp_path / "junk.keras"))
    with zipfile.ZipFile(tmp_path / "zip.keras", "w") as archive:
        archive.writestr("config.json", "junk")
    with pytest.raises(UserError, match=r"zip\.keras: Keras cannot load it"):
        SEGMENTORS["keras_model"](num_classes=5, path=str(tmp_path / "zip.keras"))
    inputs = keras.Input((None, None, 1))
    keras.Model(inputs, keras.layers.Conv2D(5, 1)(inputs)).save(tmp_path / "grey.keras")
    with pytest.raises(UserError, match=r"grey\.keras: the model .* takes \[B, H, W, 1\], images of 1 channel"):
        SEGMENTORS["keras_model"](num_classes=5, path=str(tmp_path / "grey.keras"))


@gin.configurable
def _assemble(segmentor: Callable[..., Segmentor]) -> Segmentor:
    return segmentor(num_classes=CLASSES)


@pytest.mark.parametrize("name", sorted(SEGMENTORS))
def test_gin_knows_the_factories(name: str, tmp_path: Path) -> None:
    bindings = [f"_assemble.segmentor = @{name}"]
    bindings += [f"{name}.{key} = {value!r}" for key, value in ARGUMENTS[name](tmp_path).items()]
    with gin.unlock_config():
        gin.parse_config(bindings)
    try:
        assert _assemble().model.output_shape[-1] == CLASSES
    finally:
        gin.clear_config()


NEWCOMER = '''
"""What a newcomer writes: a file in load_tf/segmentors/."""

import keras

from load_tf.segmentors.segmentor import Segmentor


def newcomer(num_classes: int, width: int = 8) -> Segmentor:
    """A convolution at stride 4, and one to the logits."""
    normal = keras.initializers.HeNormal
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(width, 5, 4, "same", use_bias=False, kernel_initializer=normal(1))(images)
    features = keras.layers.ReLU()(keras.layers.BatchNormalization()(features))
    logits = keras.layers.Conv2D(num_classes, 1, kernel_initializer=normal(2), dtype="float32")(features)
    return Segmentor(keras.Model(images, logits), pretrained=False, description="a newcomer", output_stride=4)
'''


@contextlib.contextmanager
def _beside_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Segmentor]]:
    """A file in the folder of the segmentors, as far as Python and gin can tell; the factory in it."""
    (folder / "newcomer.py").write_text(NEWCOMER)
    monkeypatch.setattr(load_tf.segmentors, "__path__", [*load_tf.segmentors.__path__, str(folder)])
    name = "load_tf.segmentors.newcomer"
    module = importlib.import_module(name)
    with gin.unlock_config():
        registry.register(module.newcomer)
    try:
        yield module.newcomer
    finally:
        gin.config._REGISTRY.pop(f"{name}.newcomer")
        del sys.modules[name], load_tf.segmentors.newcomer


def test_a_newcomer_is_found_and_held_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file, a line in the registry and a case here: then every test above is the newcomer's, too."""
    with _beside_the_others(tmp_path, monkeypatch) as newcomer:
        with pytest.raises(AssertionError, match="newcomer"):
            test_every_factory_is_registered_and_has_a_case()
        monkeypatch.setitem(SEGMENTORS, "newcomer", newcomer)
        with pytest.raises(AssertionError, match="newcomer"):
            test_every_factory_is_registered_and_has_a_case()
        monkeypatch.setitem(ARGUMENTS, "newcomer", lambda folder: {"width": 6})
        test_every_factory_is_registered_and_has_a_case()
        made = newcomer(num_classes=CLASSES, width=6)
        given = {"make": lambda: newcomer(num_classes=CLASSES, width=6), "segmentor": made, "tmp_path": tmp_path}
        held_to = [test for test in map(globals().get, list(globals())) if {"make", "segmentor"} & set(_asks_for(test))]
        assert len(held_to) == 8
        for test in held_to:
            for training in [False, True] if "training" in _asks_for(test) else [None]:
                # One that this processor can't compute skips for the others, too.
                with contextlib.suppress(pytest.skip.Exception):
                    test(**{name: {**given, "training": training}[name] for name in _asks_for(test)})
        test_gin_knows_the_factories("newcomer", tmp_path)


def _asks_for(test: object) -> tuple[str, ...]:
    """The names of a test's fixtures."""
    is_test = inspect.isfunction(test) and test.__name__.startswith("test_")
    return tuple(inspect.signature(test).parameters) if is_test else ()
