"""Several scales and flips against the same written out in numpy."""

import keras
import numpy as np
import pytest

from load_tf.data.dataset import Example, ExampleList
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.multi_scale import Evaluation, MultiScaleSegmentor
from tests import networks

K, STRIDE = 3, 4


def resize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[H, W, C] bilinearly with aligned corners, in float64."""
    for axis, length in enumerate(size):
        moved = np.moveaxis(values, axis, 0)
        position = np.linspace(0, len(moved) - 1, length)
        low = np.clip(position.astype(int), 0, len(moved) - 2)
        part = (position - low)[:, None, None]
        values = np.moveaxis(moved[low] * (1 - part) + moved[low + 1] * part, 0, axis)
    return values


def segmentor() -> keras.Model:
    return networks.one_convolution(K, STRIDE, kernel=5)


def expected_probabilities(model: keras.Model, image: np.ndarray, scales: list[float], flip: bool) -> np.ndarray:
    height, width = image.shape[:2]
    views = []
    for scale in scales:
        for mirrored in [False, True] if flip else [False]:
            view = resize(
                image[:, ::-1] if mirrored else image, (int((height - 1) * scale + 1), int((width - 1) * scale + 1))
            )
            logits = np.asarray(model(view[None].astype(np.float32)))[0].astype(np.float64)
            if scale < 1:
                logits = resize(logits, (int((height - 1) / STRIDE + 1), int((width - 1) / STRIDE + 1)))
            logits = resize(logits[:, ::-1] if mirrored else logits, (height, width))
            exponentials = np.exp(logits - logits.max(-1, keepdims=True))
            views.append(exponentials / exponentials.sum(-1, keepdims=True))
    return np.mean(views, axis=0)


def image() -> np.ndarray:
    coarse = np.random.default_rng(0).uniform(0, 255, (9, 7, 3))
    return resize(coarse, (33, 49)).astype(np.float32)


@pytest.mark.parametrize(
    ("scales", "flip"), [([1.0], False), ([1.0], True), ([0.75], False), ([0.5, 0.75, 1.0, 1.25], True)]
)
def test_equals_numpy(scales: list[float], flip: bool) -> None:
    model = segmentor()
    found = np.asarray(MultiScaleSegmentor(model, STRIDE, scales, flip)(image()[None], training=False))[0]
    np.testing.assert_allclose(found, expected_probabilities(model, image(), scales, flip), atol=2e-5)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_scales_and_flips_matter() -> None:
    model = segmentor()
    base, scaled, flipped = (
        np.asarray(MultiScaleSegmentor(model, STRIDE, scales, flip)(image()[None]))
        for scales, flip in (([1.0], False), ([0.5, 1.0], False), ([1.0], True))
    )
    assert np.abs(base - scaled).max() > 1e-3 and np.abs(base - flipped).max() > 1e-3


def test_the_evaluator_takes_it_as_a_segmentor() -> None:
    model, picture = segmentor(), image().astype(np.uint8)
    label = np.random.default_rng(2).integers(0, K, (33, 49), dtype=np.uint8)
    wrapped = MultiScaleSegmentor(model, STRIDE, [0.75, 1.0], flip=True)
    evaluator = Evaluator(wrapped, ExampleList([Example(picture, label, "a")]), (33, 49), K, 1)
    (label_map,) = evaluator.predictions([0])
    expected = expected_probabilities(model, picture.astype(np.float32), [0.75, 1.0], True).argmax(-1)
    assert (label_map != expected).sum() <= 2
    assert evaluator.evaluate()[0].trace() == (label_map == label).sum()
    assert [v.path for v in wrapped.trainable_variables] == [v.path for v in model.trainable_variables]


def test_refusals() -> None:
    for scales in ([], [0.0, 1.0]):
        with pytest.raises(UserError, match="scales"):
            MultiScaleSegmentor(segmentor(), STRIDE, scales)
    with pytest.raises(UserError, match="logits_stride"):
        MultiScaleSegmentor(segmentor(), 0)
    with pytest.raises(ValueError, match="inference"):
        MultiScaleSegmentor(segmentor(), STRIDE)(image()[None], training=True)


def test_an_evaluation_wraps_only_where_it_is_asked_to() -> None:
    model = segmentor()
    assert Evaluation().wrap(model, (33, 33)) is model
    image = np.random.default_rng(2).uniform(0, 255, (33, 33, 3))
    wrapped = Evaluation(scales=(0.5, 1.0), flip=True).wrap(model, (33, 33))
    found = np.asarray(wrapped(image[None].astype(np.float32), training=False))[0]
    np.testing.assert_allclose(found, expected_probabilities(model, image, [0.5, 1.0], True), atol=1e-5)
    with pytest.raises(UserError, match="scales"):
        Evaluation(scales=(0.0,))
