import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.errors import UserError
from load_tf.segmentors import mobilenet_v2
from load_tf.segmentors.deeplab import Architecture, deeplab
from load_tf.segmentors.folding import differentiable
from load_tf.segmentors.small import small_network
from load_tf.training.checkpointing import CheckpointedNetwork

K, SIZE = 5, (33, 49)


def images(batch: int = 2) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).uniform(0, 255, (batch, *SIZE, 3)), tf.float32)


def objective(logits: tf.Tensor) -> tuple[tf.Tensor, str]:
    return tf.reduce_mean(tf.nn.softplus(-logits) ** 2), "beside it"


def plain(model: keras.Model, pixels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss, _ = objective(model(pixels, training=False))
    return loss, tape.gradient(loss, variables)


NETWORKS = {
    "small": lambda: small_network(K, 8, 8, 0),
    "mobilenet_v2 with decoder": lambda: deeplab(Architecture("MobilenetV2", K, mobilenet_v2.channels_of(0.25)), 8),
}


@pytest.fixture(name="differentiated", scope="module", params=NETWORKS)
def _differentiated(request: pytest.FixtureRequest) -> tuple[str, keras.Model, tf.Tensor, list[tf.Tensor]]:
    """A network by name, its loss and its gradients."""
    keras.utils.set_random_seed(0)
    model = NETWORKS[request.param]()
    return request.param, model, *plain(model, images())


@pytest.mark.parametrize("folded", [False, True])
def test_gradients_are_those_of_the_plain_backward_pass(
    differentiated: tuple[str, keras.Model, tf.Tensor, list[tf.Tensor]], folded: bool
) -> None:
    """Folded, as the adversarial step has it: MobileNetV2 adds what its blocks are given to what they make.

    The small one in a graph; to trace the large one would take longer than all else.
    """
    name, model, expected_loss, expected = differentiated
    network = CheckpointedNetwork(differentiable(model) if folded else model, SIZE)
    assert len(network) >= 3

    def checkpointed(pixels: tf.Tensor):
        return network.gradients(pixels, objective, [v.value for v in model.trainable_variables])

    loss, measured, gradients = (tf.function(checkpointed) if name == "small" else checkpointed)(images())
    assert measured == "beside it"
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    largest = max(np.linalg.norm(wanted) for wanted in expected)
    for found, wanted in zip(gradients, expected, strict=True):
        # Not by element: where an activation is at the kink of its ReLU, rounding decides whether it passes a gradient.
        assert np.linalg.norm(found - wanted) <= 0.01 * np.linalg.norm(wanted) + 1e-5 * largest
    assert largest > 1e-3


def test_every_layer_is_computed_twice_and_only_what_crosses_is_kept() -> None:
    model = small_network(K, 8, 8, 0)
    network = CheckpointedNetwork(model, SIZE)

    def convolutions(function) -> int:
        graph = tf.function(function).get_concrete_function(tf.TensorSpec([2, *SIZE, 3])).graph
        return sum(op.type in ("Conv2D", "DepthwiseConv2dNative") for op in graph.get_operations())

    forward = convolutions(lambda pixels: model(pixels, training=False))
    variables = [v.value for v in model.trainable_variables]
    both = convolutions(lambda pixels: network.gradients(pixels, objective, variables)[2])
    assert both == 2 * forward > 20
    assert convolutions(lambda pixels: plain(model, pixels)[1]) == forward


def test_a_frozen_part_gets_no_gradient() -> None:
    model = small_network(K, 8, 8, 0)
    network = CheckpointedNetwork(model, SIZE)
    head = [v.value for v in model.trainable_variables if "logits" in v.path]
    _, _, gradients = network.gradients(images(), objective, [*head, tf.Variable(1.0)])
    expected = dict(zip((v.path for v in model.trainable_variables), plain(model, images())[1], strict=True))
    assert gradients[-1] is None
    for gradient, path in zip(gradients, (path for path in expected if "logits" in path), strict=False):
        np.testing.assert_allclose(gradient, expected[path], rtol=1e-3, atol=1e-6)


def test_a_model_without_a_graph_is_refused_by_name() -> None:
    class Subclassed(keras.Model):
        def call(self, pixels: tf.Tensor, training: bool = False) -> tf.Tensor:
            return pixels

    with pytest.raises(UserError, match=r"checkpointing is True.*'mine'.*functional"):
        CheckpointedNetwork(Subclassed(name="mine"), SIZE)
