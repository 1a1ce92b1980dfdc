"""The fit of class constants on models whose class proportions are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL, Example, ExampleList
from load_tf.data.unlabelled import Withheld
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.kept import KeptLogits
from load_tf.evaluation.miou import mean_iou
from load_tf.segmentors.any_size import any_size
from load_tf.training.calibration import Calibrator, class_gap, constants_step, logits_bias

CROP, K = (33, 33), 3


def colour_model(bias: list[float]) -> keras.Model:
    """Logits are the colour channels, 0 to 4, and a bias."""
    images = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(K, 1, name="logits", kernel_initializer="zeros")
    model = keras.Model(images, layer(keras.layers.Rescaling(4 / 255)(images)))
    layer.kernel.assign(np.eye(3)[None, None])
    layer.bias.assign(bias)
    return model


def scene(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and which of its channels is the largest: [N, H, W, 3] and [N, H, W]."""
    pixels = np.random.default_rng(seed).integers(0, 256, (images, *CROP, 3), np.uint8)
    return pixels, pixels.argmax(-1).astype(np.uint8)


def examples_of(pixels: np.ndarray, labels: np.ndarray) -> ExampleList:
    return ExampleList([Example(p, label, str(i)) for i, (p, label) in enumerate(zip(pixels, labels, strict=True))])


def evaluator_of(model: keras.Model, pixels: np.ndarray, labels: np.ndarray) -> Evaluator:
    return Evaluator(model, examples_of(pixels, labels), CROP, K, 2)


def fit_on(model: keras.Model, pixels: np.ndarray, labels: np.ndarray) -> Calibrator:
    examples = examples_of(pixels, labels)
    return Calibrator(model, Evaluator(model, examples, CROP, K, 2), 0.5, CROP, examples)


def test_a_step_by_hand() -> None:
    """Predicted 50, 40, 10, 0 of 100; true 25, 40, 35, 0: half the logarithm of the ratio; absent: unchanged."""
    confusion = np.array([[20, 5, 0, 0], [10, 30, 0, 0], [20, 5, 10, 0], [0, 0, 0, 0]])
    expected = [0.5 * np.log(25 / 50), 0.0, 0.5 * np.log(3.5), 0.0]
    np.testing.assert_allclose(constants_step(confusion.sum(1), confusion.sum(0), 0.5), expected, atol=1e-12)
    assert class_gap(confusion.sum(1), confusion.sum(0)) == pytest.approx((25 + 25) / 2 / 100)


def test_what_is_absent_makes_no_infinite_constant() -> None:
    """Never predicted: as if ten times too rarely. Never there, but predicted: as it is. Of 1,000: the bound again."""
    confusion = np.array([[0, 0, 7, 1000], [0, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(
        constants_step(confusion.sum(1), confusion.sum(0), 1.0), [np.log(10), 0.0, np.log(0.3), -np.log(10)], atol=1e-12
    )
    confusion = np.array([[5, 4], [0, 0]])
    np.testing.assert_allclose(constants_step(confusion.sum(1), confusion.sum(0), 1.0), [np.log(9 / 5), 0.0])
    assert not constants_step(np.zeros(2), np.zeros(2), 1.0).any() and class_gap(np.zeros(2), np.zeros(2)) == 0


def test_the_fit_finds_the_constants_that_were_taken_away() -> None:
    """The truth is the model without its bias: the fit has to undo the bias, up to a constant for all classes."""
    pixels, labels = scene(6, 0)
    labels[:, :4] = IGNORE_LABEL
    model = colour_model([0.8, 0.0, -0.6])
    evaluator = evaluator_of(model, pixels, labels)
    fit = fit_on(model, pixels, labels.astype(np.uint8))
    before = mean_iou(evaluator.evaluate())
    gaps = [fit.step()["class_gap"] for _ in range(12)]
    shifted = np.where(labels == IGNORE_LABEL, 0, (pixels / 63.75 + [0.8, 0.0, -0.6]).argmax(-1))[:, 4:]
    counts = [(np.bincount(a.ravel(), minlength=3) / a.size) for a in (labels[:, 4:], shifted)]
    assert gaps[0] == pytest.approx(np.abs(counts[0] - counts[1]).sum() / 2, abs=1e-3)
    assert gaps[-1] < 0.003 < 0.2 < gaps[0] and gaps[6] < gaps[0] / 10
    bias = model.get_layer("logits").bias.numpy()
    np.testing.assert_allclose(bias - bias.mean(), 0, atol=0.05)
    assert mean_iou(evaluator.evaluate()) > 0.97 > 0.6 > before


def test_where_proportions_are_right_nothing_is_gained() -> None:
    """Control: as many errors, a third of the pixels, but as often of every class for every other."""
    pixels, labels = scene(6, 1)
    wrong = np.random.default_rng(2).random(labels.shape) < 1 / 3
    labels = np.where(wrong, (labels + np.random.default_rng(3).integers(1, 3, labels.shape)) % 3, labels)
    model = colour_model([0.0, 0.0, 0.0])
    evaluator = evaluator_of(model, pixels, labels.astype(np.uint8))
    before = mean_iou(evaluator.evaluate())
    fit = fit_on(model, pixels, labels.astype(np.uint8))
    for _ in range(6):
        fit.step()
    assert np.abs(model.get_layer("logits").bias.numpy()).max() < 0.2
    assert mean_iou(evaluator.evaluate()) - before == pytest.approx(0, abs=0.01) and before < 0.6


def test_other_proportions_are_no_help() -> None:
    """Control: the same constants for the wrong classes. Their truth has the proportions of class 2 and 0 exchanged."""
    pixels, _ = scene(4, 4)
    skewed = (pixels / 63.75 + [0.8, 0.0, -0.6]).argmax(-1).astype(np.uint8)
    right, wrong = colour_model([0.0, 0.0, 0.0]), colour_model([0.0, 0.0, 0.0])
    judge = evaluator_of(right, pixels, skewed)
    before = mean_iou(judge.evaluate())
    fits = [fit_on(right, pixels, skewed), fit_on(wrong, pixels, 2 - skewed)]
    for fit in fits:
        for _ in range(6):
            fit.step()
    assert mean_iou(judge.evaluate()) > 0.9 > before > mean_iou(evaluator_of(wrong, pixels, skewed).evaluate()) + 0.1


def test_images_without_labels_are_fitted_to_the_labelled_ones_proportions() -> None:
    """The labelled image is known by heart: its proportions are right. On the others the network is biased."""
    pixels, labels = scene(5, 0)
    bias = np.array([0.8, 0.0, -0.6])
    known = np.zeros_like(pixels[:1])
    known[..., 0] = 255 * (labels[0] == 0)
    known[..., 1] = 255 * (labels[0] == 1)
    known[..., 2] = 255 * (labels[0] == 2)
    without = Withheld(examples_of(pixels[1:], labels[1:]))
    model = colour_model(list(bias))
    evaluator = evaluator_of(model, pixels[1:], labels[1:])
    before = mean_iou(evaluator.evaluate())
    labelled = examples_of(known, labels[:1])
    alone = Calibrator(model, evaluator, 0.5, CROP, labelled)
    assert alone.step()["class_gap"] == 0 and np.array_equal(alone.bias.numpy(), np.float32(bias))
    fit = Calibrator(model, evaluator, 0.5, CROP, labelled, without)
    gap = fit.step()["class_gap"]
    # By hand: what the biased network says of the four others against the truth of the first.
    predicted = np.bincount((pixels[1:] / 63.75 + bias).argmax(-1).ravel(), minlength=3) / labels[1:].size
    true = np.bincount(labels[0].ravel(), minlength=3) / labels[0].size
    assert gap == pytest.approx(np.abs(true - predicted).sum() / 2, abs=1e-3) and gap > 0.2
    np.testing.assert_allclose(fit.bias.numpy() - bias, 0.5 * np.log(true / predicted), atol=0.01)
    for _ in range(10):
        fit.step()
    assert mean_iou(evaluator.evaluate()) > 0.9 > 0.6 > before


def test_fewer_images_than_have_labels_say_nothing() -> None:
    """Two photos without labels beside three with: the fit is as without them. And a step looks at few of many."""
    pixels, labels = scene(5, 0)
    models = [colour_model([0.8, 0.0, -0.6]) for _ in range(2)]
    labelled, without = examples_of(pixels[:3], labels[:3]), Withheld(examples_of(pixels[3:], labels[3:]))
    for model, unlabelled in zip(models, (None, without), strict=True):
        fit = Calibrator(model, evaluator_of(model, pixels, labels), 0.5, CROP, labelled, unlabelled)
        assert fit.images == 3
        fit.step()
    np.testing.assert_array_equal(*(model.get_layer("logits").bias.numpy() for model in models))
    many = examples_of(np.repeat(pixels, 2, 0), np.repeat(labels, 2, 0))
    for most, images in ((100, 10), (10, 10), (9, 5), (4, 4), (3, 3)):
        assert (
            Calibrator(models[0], evaluator_of(models[0], pixels, labels), 0.5, CROP, many, most=most).images == images
        )


def features(images: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.Conv2D(4, 3, strides=4, padding="same", activation="relu", name="features")(images)


def test_the_bias_is_found_behind_what_only_resizes() -> None:
    images = keras.Input((None, None, 3))
    logits = keras.layers.Conv2D(K, 1, name="logits")(features(keras.layers.Rescaling(0.01)(images)))
    plain = keras.Model(images, logits)
    up = keras.Model(images, keras.layers.UpSampling2D(4, interpolation="bilinear")(logits))
    nested = any_size(plain, multiple=8)
    sequential = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(K, 1, name="logits")])
    for model in (plain, up, nested):
        before = plain.get_layer("logits").bias.numpy()
        assert logits_bias(model, (32, 32)) is plain.get_layer("logits").bias
        np.testing.assert_array_equal(plain.get_layer("logits").bias.numpy(), before)
    assert logits_bias(sequential, CROP) is sequential.get_layer("logits").bias


def test_a_model_without_such_a_bias_is_refused() -> None:
    images = keras.Input((None, None, 3))
    deep = features(keras.layers.Rescaling(0.01)(images))
    no_bias = keras.layers.Conv2D(K, 1, use_bias=False, name="bare")(deep)
    normed = keras.layers.BatchNormalization(name="norm")(no_bias)
    logits = keras.layers.Conv2D(K, 1, name="logits")(deep)
    for output, message in (
        (no_bias, "'bare' without such a bias"),
        (normed, "'norm' without such a bias"),
        (deep, "ends with 'features'|changes what 'features'"),
        (keras.layers.Softmax()(logits), "changes what 'logits' adds"),
        (keras.layers.Concatenate()([logits[..., :1], logits[..., 1:] * 2.0]), "changes what 'logits' adds|no layer"),
    ):
        with pytest.raises(UserError, match=message):
            logits_bias(keras.Model(images, output), CROP)

    class Opaque(keras.Model):
        output_shape = (None, None, None, K)

        def call(self, x: tf.Tensor) -> tf.Tensor:
            return x

    with pytest.raises(UserError, match="no layer with weights"):
        logits_bias(Opaque(), CROP)


def strided_model() -> keras.Model:
    """Logits at an eighth of the image, of features that are drawn."""
    keras.utils.set_random_seed(3)
    images = keras.Input((None, None, 3))
    return keras.Model(images, keras.layers.Conv2D(K, 1, name="logits")(features(keras.layers.Rescaling(0.01)(images))))


@pytest.mark.parametrize("most_bytes", [2**30, 9000, 0])
def test_kept_logits_count_as_the_network_does(most_bytes: int) -> None:
    """Images of two sizes, one of them larger than the crop; with room for all of them, for some and for none."""
    rng = np.random.default_rng(5)
    sizes = [(33, 33), (20, 33), (49, 65), (33, 20), (49, 65)]
    examples = ExampleList(
        [
            Example(rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, K, size).astype(np.uint8), str(i))
            for i, size in enumerate(sizes)
        ]
    )
    model = strided_model()
    bias = logits_bias(model, CROP)
    bias.assign([0.4, 0.0, -0.2])
    evaluator = Evaluator(model, examples, CROP, K, 2)
    kept = KeptLogits(evaluator, bias, most_bytes)
    np.testing.assert_array_equal(bias.numpy(), np.float32([0.4, 0.0, -0.2]))
    assert {2**30: 0, 9000: 3, 0: 5}[most_bytes] == len(kept.others)
    counts = []
    for constants in ([0.4, 0.0, -0.2], [-0.3, 0.1, 0.2], [0.0, 2.0, 0.0]):
        bias.assign(constants)
        expected = evaluator.evaluate().sum(0)
        counts.append(kept.count())
        np.testing.assert_allclose(counts[-1], expected, atol=3)  # a pixel on the edge may round to either side
        assert counts[-1].sum() == sum(height * width for height, width in sizes)
    assert np.abs(counts[0] - counts[2]).sum() > 1000  # the constants act
    bias.assign([0.4, 0.0, -0.2])
    np.testing.assert_array_equal(KeptLogits(evaluator, bias, most_bytes).count(), counts[0])


def test_a_fit_of_constants_alone_asks_the_network_once() -> None:
    """As many steps, the same constants; and it goes on from the middle as if it had not been made anew there."""
    pixels, labels = scene(6, 0)
    biases = []
    for alone, restarted in ((False, False), (True, False), (True, True)):
        model, asked = colour_model([0.8, 0.0, -0.6]), []
        evaluator = evaluator_of(model, pixels, labels)
        # The network is read anew whenever it is asked.
        evaluator.forward.refresh = lambda asked=asked, refresh=evaluator.forward.refresh: (asked.append(1), refresh())
        fit = Calibrator(model, evaluator, 0.5, CROP, examples_of(pixels, labels), alone=alone)
        for step in range(4):
            if restarted and step == 2:
                fit = Calibrator(model, evaluator, 0.5, CROP, examples_of(pixels, labels), alone=alone)
            fit.step()
        assert len(asked) == (1 + restarted if alone else 4)
        biases.append(fit.bias.numpy())
    np.testing.assert_allclose(biases[1], biases[0], atol=1e-3)
    np.testing.assert_array_equal(biases[2], biases[1])
