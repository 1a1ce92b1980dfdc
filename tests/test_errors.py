"""The one line that counts of what Keras and TensorFlow raise."""

import keras
import pytest
import tensorflow as tf

from load_tf.errors import LONGEST_REASON, reason


def of(function: object) -> str:
    with pytest.raises(Exception) as raised:
        function()  # type: ignore[operator]
    return reason(raised.value)


def test_what_autograph_puts_pages_around() -> None:
    @tf.function
    def traced() -> tf.Tensor:
        raise ValueError("too small\nand more")

    assert of(traced) == "too small"


def test_what_a_layer_puts_its_name_around() -> None:
    dense = keras.layers.Dense(3)
    dense.build((None, 4))
    assert of(lambda: dense(tf.zeros((1, 5)))).endswith("but received input with shape (1, 5)")
    pool = keras.layers.Concatenate()
    said = of(lambda: pool([tf.zeros((1, 2, 2, 1)), tf.zeros((1, 3, 2, 1))]))
    assert "A `Concatenate` layer requires inputs with matching shapes" in said and "\x1b" not in said


def test_what_a_graph_puts_its_node_around() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None]), tf.TensorSpec([None])])
    def traced(one: tf.Tensor, two: tf.Tensor) -> tf.Tensor:
        return one + two

    for call in (lambda: traced(tf.zeros(2), tf.zeros(3)), lambda: tf.zeros(2) + tf.zeros(3)):
        said = of(call)
        assert said.startswith(("Incompatible shapes", "required broadcastable shapes")), said
        assert "{{" not in said and "[Op:" not in said


def test_what_says_nothing_and_what_says_too_much() -> None:
    assert reason(KeyError()) == "KeyError" and reason(None) == "NoneType"
    said = reason(ValueError("x" * 1000))
    assert len(said) == LONGEST_REASON and said.endswith("x...")
