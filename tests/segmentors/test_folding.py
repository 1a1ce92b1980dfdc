import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.devices.processor import has_bfloat16
from load_tf.segmentors import folding, mobilenet_v2
from load_tf.segmentors.deeplab import Architecture, deeplab
from load_tf.segmentors.folding import FoldedSegmentor, LiveSegmentor, differentiable, forward
from load_tf.segmentors.layers import DepthwiseConv
from load_tf.segmentors.small import small_network

K = 5


def shake(model: keras.Model, seed: int = 0) -> keras.Model:
    """Statistics and parameters as after training: a fresh batch norm is nearly the identity and would prove little."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.path.rpartition("/")[2]
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return model


def picture(size: tuple[int, int] = (33, 49), batch: int = 2) -> tf.Tensor:
    return tf.constant(np.random.default_rng(1).uniform(0, 255, (batch, *size, 3)), tf.float32)


def assert_equal_logits(found: tf.Tensor, expected: tf.Tensor) -> None:
    largest = float(tf.reduce_max(tf.abs(expected)))
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(largest, 0.1))


def own_network() -> keras.Model:
    """What a user's model may hold: biases, groups, a norm that follows no convolution, a nested and a shared part."""
    layers = keras.layers
    inside = keras.Input((None, None, 8))
    nested = keras.Model(inside, layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(inside)), name="nest")
    images = keras.Input((None, None, 3))
    first = layers.Conv2D(8, 3, strides=2, padding="same")(images)
    normed = layers.BatchNormalization(epsilon=0.01, center=False)(first)
    seen_twice = layers.Add()([first, normed])
    shared, norm = layers.Conv2D(8, 1, groups=2), layers.BatchNormalization(scale=False)
    again = norm(shared(layers.ReLU()(norm(shared(seen_twice)))))
    deep = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(again))
    joined = layers.BatchNormalization()(layers.Concatenate()([deep, nested(again)]))
    return keras.Model(images, layers.Conv2D(K, 1)(joined))


def deeplab_of(backbone: str, output_stride: int) -> keras.Model:
    if backbone == mobilenet_v2.SCOPE:
        return deeplab(Architecture(backbone, K, mobilenet_v2.channels_of(0.25)), output_stride)
    return deeplab(Architecture(backbone, K), output_stride)


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize(
    ("make", "folded"),
    [
        # One convolution, 16 blocks of three and one of two, image pooling, five of ASPP's own pairs, decoder.
        (lambda: deeplab_of(mobilenet_v2.SCOPE, 8), 1 + 16 * 3 + 2 + 1 + 1 + 6 + 1 + 1 + 4),
        (lambda: small_network(K, 8, 8, 0), None),
        (own_network, 4),
    ],
    ids=["mobilenet_v2", "small", "own"],
)
def test_folded_equals_the_model(make, folded: int | None, portable: bool) -> None:
    model = shake(make())
    fast = FoldedSegmentor(model, portable)
    expected = model(picture(), training=False)
    assert float(tf.reduce_max(tf.abs(expected))) > 0.1
    assert_equal_logits(fast(picture()), expected)
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    assert fast.convolutions == (norms if folded is None else folded)


def test_xception_in_the_sizes_of_the_paper_at_a_smaller_crop() -> None:
    model = shake(deeplab_of("xception_41", 16))
    fast = FoldedSegmentor(model)
    expected = model(picture((65, 65), 1), training=False)
    assert_equal_logits(fast(picture((65, 65), 1)), expected)
    assert fast.convolutions == sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)


def test_changes_arrive_with_a_refresh_and_not_before_without_a_new_trace() -> None:
    model = shake(small_network(K, 8, 8, 0))
    fast, traces = FoldedSegmentor(model), []

    @tf.function
    def logits(images: tf.Tensor) -> tf.Tensor:
        traces.append(1)
        return fast(images)

    before = logits(picture())
    shake(model, seed=7)
    after = model(picture(), training=False)
    assert float(tf.reduce_max(tf.abs(after - before))) > 0.1
    assert float(tf.reduce_max(tf.abs(after - logits(picture())))) > 0.01
    fast.refresh()
    assert_equal_logits(logits(picture()), after)
    assert len(traces) == 1


def test_layers_that_are_not_folded_are_the_models_own() -> None:
    model = shake(own_network())
    fast = FoldedSegmentor(model)
    last = model.layers[-1]
    last.kernel.assign(2 * last.kernel)
    assert_equal_logits(fast(picture()), model(picture(), training=False))


@pytest.mark.parametrize("make", [lambda: deeplab_of(mobilenet_v2.SCOPE, 8), own_network], ids=["mobilenet_v2", "own"])
def test_gradients_are_those_of_the_model_and_of_its_present_values(make) -> None:
    model = shake(make())
    fast, images = differentiable(model), picture()
    variables = [v.value for v in model.trainable_variables]
    assert fast is not model and {id(v) for v in fast.variables} == {id(v) for v in model.variables}

    @tf.function
    def gradients(network: keras.Model) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            logits = network(images, training=False)
            loss = tf.reduce_sum(tf.nn.log_softmax(logits)[..., 0])
        return logits, tape.gradient(loss, variables)

    for seed in (0, 7):
        shake(model, seed)
        expected_logits, expected = gradients(model)
        logits, found = gradients(fast)
        assert_equal_logits(logits, expected_logits)
        for variable, a, b in zip(model.trainable_variables, expected, found, strict=True):
            size = float(tf.norm(a))
            # A bias in front of a batch norm of its own channels may have none.
            assert size > 0 or variable.path.endswith("bias")
            assert float(tf.norm(a - b)) <= 1e-4 * size, variable.path


def test_the_gradients_graph_has_neither_products_nor_sums_of_batch_norm() -> None:
    model = shake(deeplab_of(mobilenet_v2.SCOPE, 16))
    variables = [v.value for v in model.trainable_variables]

    def large_products(network: keras.Model) -> int:
        @tf.function
        def gradients(images: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                loss = tf.reduce_sum(network(images, training=False))
            return tape.gradient(loss, variables)

        graph = gradients.get_concrete_function(tf.TensorSpec([2, 33, 49, 3])).graph
        found = [operation.outputs[0].shape for operation in graph.get_operations() if operation.type == "Mul"]
        return sum(len(shape) == 4 and shape[0] == 2 for shape in found)

    assert large_products(model) > 90
    assert large_products(differentiable(model)) < 10


def test_what_computes_in_16_bits_or_has_no_graph_is_differentiated_as_it_is() -> None:
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(4, 3, dtype=policy)(images)
    model = keras.Model(images, keras.layers.BatchNormalization(dtype=policy)(features))
    norms = [type(layer) for layer in differentiable(model).layers]
    assert keras.layers.BatchNormalization in norms

    class Own(keras.Model):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return inputs

    own = Own()
    assert differentiable(own) is own


def test_the_model_stays_what_it_was(tmp_path) -> None:
    model = shake(own_network())
    model.compile(optimizer="sgd", loss=lambda truth, logits: tf.reduce_mean(logits))
    weights, config = model.get_weights(), model.get_config()
    fast = FoldedSegmentor(model)
    assert model.get_config() == config and not fast.model.compiled
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(picture()), model(picture()))


def test_a_norm_behind_an_activation_is_left_alone() -> None:
    images = keras.Input((None, None, 3))
    active = keras.layers.Conv2D(4, 3, activation="relu")(images)
    model = shake(keras.Model(images, keras.layers.BatchNormalization()(active)))
    assert FoldedSegmentor(model).convolutions == 0


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.inner = own_network()

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return 3 * self.inner(images, training=training)


class OwnCall(keras.Model):
    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return 3 * super().call(images, training=training)


def test_a_model_with_a_call_of_its_own_runs_as_it_is() -> None:
    inner = own_network()
    for model in (Subclassed(), OwnCall(inner.inputs, inner.outputs)):
        shake(model)
        live = forward(model)
        assert isinstance(live, LiveSegmentor)
        np.testing.assert_array_equal(live(picture()), model(picture(), training=False))


def test_training_is_refused() -> None:
    with pytest.raises(ValueError, match="train the model itself"):
        FoldedSegmentor(own_network())(picture(), training=True)


def test_native_dilation_is_used_only_where_the_kernel_honours_it(monkeypatch) -> None:
    layer = DepthwiseConv(rate=2)
    images = keras.Input((None, None, 3))
    model = shake(keras.Model(images, keras.layers.BatchNormalization()(layer(images))))

    def operations(portable: bool) -> set[str]:
        fast = FoldedSegmentor(model, portable)
        graph = tf.function(fast).get_concrete_function(tf.TensorSpec([1, 33, 33, 3])).graph
        return {node.op for node in graph.as_graph_def().node} | {
            node.op for function in graph.as_graph_def().library.function for node in function.node_def
        }

    assert "SpaceToBatchND" in operations(portable=True)
    monkeypatch.setattr(folding, "has_native_dilation", lambda: False)
    assert "SpaceToBatchND" in operations(portable=False)
    monkeypatch.setattr(folding, "has_native_dilation", lambda: True)
    assert "SpaceToBatchND" not in operations(portable=False)


def small_unet() -> keras.Model:
    """Without batch norm, activations inside the convolutions, and a layer without weights that nobody can copy."""

    class Own(keras.layers.Layer):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return self.factor * inputs

    layers = keras.layers
    images = keras.Input((None, None, 3))
    fine = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Rescaling(1 / 127.5, -1)(images))
    coarse = layers.Conv2D(8, 3, padding="same", activation="swish", use_bias=False)(layers.MaxPooling2D()(fine))
    up = layers.UpSampling2D()(Own(0.5)(coarse))
    joined = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Concatenate()([fine, up]))
    return keras.Model(images, layers.UpSampling2D(2)(layers.Conv2D(K, 1, name="logits")(joined)))


needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this processor has no instructions for bfloat16")


@needs_bfloat16
@pytest.mark.parametrize(
    ("make", "narrow_ones", "others", "size"),
    [
        (lambda: deeplab_of(mobilenet_v2.SCOPE, 16), 54, 1, (33, 49)),
        # Of its first one what is before the norm is asked for, too.
        (own_network, 5, 2, (32, 48)),
        (small_unet, 3, 1, (32, 48)),
    ],
    ids=["mobilenet_v2", "own", "unet"],
)
def test_in_bfloat16_all_convolutions_but_that_of_the_logits(
    make, narrow_ones: int, others: int, size: tuple[int, int]
) -> None:
    model = shake(make())
    exact, narrow = forward(model), forward(model, bfloat16=True)
    images = picture(size)
    graph = tf.function(narrow).get_concrete_function(images).graph
    kinds = [
        node.attr["T"].type for node in graph.as_graph_def().node if node.op in ("Conv2D", "DepthwiseConv2dNative")
    ] + [
        node.attr["T"].type
        for function in graph.as_graph_def().library.function
        for node in function.node_def
        if node.op in ("Conv2D", "DepthwiseConv2dNative")
    ]
    assert kinds.count(tf.bfloat16.as_datatype_enum) >= narrow_ones
    assert kinds.count(tf.float32.as_datatype_enum) == others
    expected, found = np.asarray(exact(images)), np.asarray(narrow(images))
    assert found.dtype == np.float32
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert 1e-4 < error < 0.06
    # It follows the model, of which it has no copy.
    for variable in model.trainable_variables:
        variable.assign(variable * 1.5)
    for one in (exact, narrow):
        one.refresh()
    changed = np.asarray(narrow(images))
    assert np.sqrt(np.mean((changed - exact(images)) ** 2) / np.mean(changed**2)) < 0.06
    assert np.abs(changed - found).max() > 10 * np.abs(expected - found).max()


def test_who_computes_in_bfloat16_is_the_processors_to_say(tmp_path) -> None:
    for number, (text, expected) in enumerate(
        (
            ("processor: 0\nflags\t\t: fpu avx512_bf16 sse\n", True),
            ("flags : fpu amx_bf16\n", True),
            ("flags : fpu avx512f amx_int8\nbugs : amx_bf16\n", False),
            ("Features : bf16\n", False),
        )
    ):
        (tmp_path / str(number)).write_text(text)
        assert has_bfloat16(tmp_path / str(number)) is expected
    assert not has_bfloat16(tmp_path / "nowhere")
