"""Mixed precision: what computes in 16 bits, what stays in 32, and what an overflow costs."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.devices import precision
from load_tf.devices.precision import LossScale
from load_tf.discriminator.conditioning import Sampling
from load_tf.errors import UserError
from load_tf.training.adversarial import AdversarialTrainer
from load_tf.training.segmentor import AdversarialTraining
from tests.devices.replica_steps import CROP, K, batch, discriminator, segmentor
from tests.processor import use_precision


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    keras.config.set_dtype_policy("float32")


def trainer(name: str, kind: str = "small") -> AdversarialTrainer:
    use_precision(name)
    model = segmentor()
    settings = AdversarialTraining(batch_size=5, learning_rate=0.05)
    strategy = tf.distribute.get_strategy()
    return AdversarialTrainer(model, discriminator(kind), settings, Sampling(temperature=2.0), CROP, K, strategy)


def step(one: AdversarialTrainer) -> dict[str, float | bool]:
    one.train_dataset = tf.data.Dataset.from_tensors(batch(5)).repeat()
    return one.train(tf.constant(1))


def weights(one: AdversarialTrainer) -> np.ndarray:
    return np.concatenate([v.numpy().ravel() for v in one.trained])


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(UserError, match=r"Runtime.precision is 'float8'; expected one of 'float32', 'mixed_bfloat16'"):
        precision.use("float8")


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_a_processor_without_16_bits_is_told_at_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def missing(*_: object) -> tf.Tensor:
        raise tf.errors.AbortedError(None, None, "could not create a primitive descriptor")

    monkeypatch.setattr(tf.nn, "conv2d", missing)
    with pytest.raises(UserError, match=rf"'{name}', but TensorFlow has no convolution in b?float16 here .*'float32'"):
        precision.use(name)
    assert keras.config.dtype_policy().name == "float32"
    precision.use("float32")


@pytest.mark.parametrize(("name", "compute"), [("mixed_bfloat16", tf.bfloat16), ("mixed_float16", tf.float16)])
def test_a_step_in_16_bits_is_near_that_in_32(name: str, compute: tf.DType) -> None:
    exact, rough = trainer("float32"), trainer(name)
    assert exact.loss_scale is None and (rough.loss_scale is not None) == (name == "mixed_float16")
    layers = {layer.name: layer for layer in rough.segmentor.layers}
    assert layers["conv"].compute_dtype == compute.name
    assert layers["logits"].compute_dtype == "float32"
    assert {v.dtype for v in rough.segmentor.variables} == {"float32"}
    before = weights(exact)
    np.testing.assert_array_equal(weights(rough), before)
    one, other = step(exact), step(rough)
    assert other["finite"] and other["loss"] == pytest.approx(one["loss"], rel=0.05)
    moved, expected = weights(rough) - before, weights(exact) - before
    # bfloat16 has 8 bits; at these sizes samples near a tie also fall the other way.
    similarity = moved @ expected / np.linalg.norm(moved) / np.linalg.norm(expected)
    assert similarity > 0.8 and np.linalg.norm(moved - expected) > 1e-6 * np.linalg.norm(expected)


def test_an_overflow_costs_an_update_and_half_the_scale() -> None:
    one = trainer("mixed_float16")
    assert one.loss_scale is not None
    scale, good = one.loss_scale.variables
    scale.assign(2.0**100)
    before = weights(one)
    measured = step(one)
    assert measured["finite"] and np.isfinite(measured["loss"])
    np.testing.assert_array_equal(weights(one), before)
    assert float(scale) == 2.0**99 and int(good) == 0
    scale.assign(2.0**10)
    assert step(one)["finite"]
    assert np.any(weights(one) != before) and float(scale) == 2.0**10 and int(good) == 1
    assert [v.path for v in one.momentum_variables[-2:]] == [scale.path, good.path]


def test_what_is_not_finite_at_the_lowest_scale_is_no_overflow() -> None:
    one = trainer("mixed_float16")
    assert one.loss_scale is not None
    one.loss_scale.variables[0].assign(1.0)
    one.segmentor.get_layer("logits").bias.assign(np.full(K, np.nan))
    assert not step(one)["finite"]
    assert float(one.loss_scale.variables[0]) == 1.0


def test_the_scale_is_doubled_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "DOUBLE_AFTER", 3)
    scale = LossScale("test")
    scale.variables[0].assign(8.0)
    seen = []
    for finite in (True, True, True, True, False, False, True, True, True):
        scale.adapt(tf.constant(finite))
        seen.append(float(scale.variables[0]))
    assert seen == [8, 8, 16, 16, 8, 4, 4, 4, 8]
    scale.variables[0].assign(1.0)
    scale.adapt(tf.constant(False))
    assert float(scale.variables[0]) == 1.0 and bool(scale.is_lowest())
