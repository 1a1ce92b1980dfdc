"""The evaluator against an evaluation in plain numpy that shares no code with it."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from load_tf.data.dataset import Example, ExampleList
from load_tf.errors import UserError
from load_tf.evaluation import evaluator as evaluator_module
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import confusion_matrix, mean_iou
from load_tf.evaluation.shapes import shapes
from tests import networks

K, CROP = 5, (33, 49)
SIZES = [(20, 30), (33, 49), (40, 33), (1, 1), (50, 17), (40, 40), (33, 20), (12, 49)]


def examples(sizes: list[tuple[int, int]] = SIZES, seed: int = 0) -> list[Example]:
    """Random images; the third is nothing but void, class K - 1 is in none."""
    generator = np.random.default_rng(seed)
    found = []
    for i, (height, width) in enumerate(sizes):
        label = generator.integers(0, K - 1, (height, width), dtype=np.uint8)
        label[generator.random(label.shape) < (1.0 if i == 2 else 0.1)] = 255
        image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found.append(Example(image, label, f"image{i}"))
    return found


def segmentor(seed: int = 0) -> keras.Model:
    return networks.one_convolution(K, 16, seed=seed)


def interpolate(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Linear interpolation with aligned corners along an axis, in float64."""
    values = np.moveaxis(values, axis, 0)
    if len(values) == 1:
        result = np.repeat(values, size, axis=0)
    else:
        position = np.linspace(0, len(values) - 1, size)
        low = np.minimum(position.astype(int), len(values) - 2)
        part = (position - low).reshape(-1, *[1] * (values.ndim - 1))
        result = values[low] * (1 - part) + values[low + 1] * part
    return np.moveaxis(result, 0, axis)


def plain_label_map(model: keras.Model, image: np.ndarray, crop: tuple[int, int] = CROP) -> np.ndarray:
    """Padding, up-sampling and arg-max, one image at a time."""
    height, width = image.shape[:2]
    padded = [side if have <= side else int(np.ceil((have - 1) / 16)) * 16 + 1
              for have, side in zip((height, width), crop, strict=True)]  # fmt: skip
    canvas = np.full((*padded, 3), 127.5, np.float32)
    canvas[:height, :width] = image
    logits = np.asarray(model(canvas[None]))[0].astype(np.float64)
    upsampled = interpolate(interpolate(logits, padded[0], 0), padded[1], 1)
    return upsampled.argmax(-1)[:height, :width].astype(np.uint8)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_equals_an_independent_evaluation(batch_size: int) -> None:
    model, data = segmentor(), examples()
    evaluator = Evaluator(model, ExampleList(data), CROP, K, batch_size)
    confusion = evaluator.evaluate()
    assert confusion.dtype == np.int64 and confusion.shape == (len(data), K, K)
    maps = evaluator.predictions(range(len(data)))
    for example, matrix, label_map in zip(data, confusion, maps, strict=True):
        expected = plain_label_map(model, example.image)
        assert label_map.dtype == np.uint8 and label_map.shape == expected.shape
        assert (label_map != expected).sum() <= max(1, 1e-3 * expected.size)  # ties of float32
        np.testing.assert_array_equal(matrix, confusion_matrix(example.label, label_map, K))
    assert confusion[2].sum() == 0 and 0 < mean_iou(confusion) < 1
    assert len(np.unique(np.concatenate([m.ravel() for m in maps]))) >= 3, "a constant map would prove little"


def test_shapes_are_those_of_the_label_maps_that_are_counted() -> None:
    model, data = segmentor(), examples()
    evaluator = Evaluator(model, ExampleList(data), CROP, K, 3)
    confusion, found = evaluator.evaluate_shapes()
    np.testing.assert_array_equal(confusion, evaluator.evaluate())
    maps = evaluator.predictions(range(len(data)))
    for i, (example, label_map) in enumerate(zip(data, maps, strict=True)):
        for counts, expected in zip(found, shapes(example.label, label_map, K), strict=True):
            np.testing.assert_array_equal(counts[i], expected)
    assert all(counts.any() for counts in found) and not any(counts[2].any() for counts in found)
    assert evaluator.trace_count() == 1


def test_one_trace_for_all_sizes_and_calls_and_weights_read_anew() -> None:
    model = segmentor()
    evaluator = Evaluator(model, ExampleList(examples()), CROP, K, 3)
    first = evaluator.evaluate()
    np.testing.assert_array_equal(evaluator.evaluate(), first)
    model.layers[-1].set_weights(segmentor(seed=1).layers[-1].get_weights())
    changed = evaluator.evaluate()
    assert (changed != first).any()
    np.testing.assert_array_equal(changed, Evaluator(model, ExampleList(examples()), CROP, K, 3).evaluate())
    evaluator.predictions([4, 1])
    np.testing.assert_array_equal(evaluator.evaluate_some([4, 1, 5]), changed[[4, 1, 5]])
    assert evaluator.evaluate_some([]).shape == (0, K, K)
    assert evaluator.trace_count() == 1


def test_an_image_counts_the_same_in_any_batch() -> None:
    model, data = segmentor(), examples()
    whole = Evaluator(model, ExampleList(data), CROP, K, 4)
    alone = [Evaluator(model, ExampleList([example]), CROP, K, 4).evaluate()[0] for example in data]
    np.testing.assert_array_equal(whole.evaluate(), alone)
    maps = whole.predictions(range(len(data)))
    for i, label_map in zip([6, 0, 6], whole.predictions([6, 0, 6]), strict=True):
        np.testing.assert_array_equal(label_map, maps[i])
    assert whole.predictions([]) == []


def test_padding_is_grey_and_at_the_bottom_and_right() -> None:
    seen = []

    def model(images: tf.Tensor, training: bool) -> tf.Tensor:
        assert training is False
        tf.numpy_function(lambda x: seen.append(x.copy()) or np.int64(0), [images], tf.int64)
        return tf.reduce_mean(images, -1, keepdims=True) * tf.ones([K])

    example = examples([(20, 30)])[0]
    Evaluator(model, ExampleList([example]), CROP, K, 1).evaluate()
    (batch,) = seen
    expected = np.full((1, *CROP, 3), 127.5, np.float32)
    expected[0, :20, :30] = example.image
    np.testing.assert_array_equal(batch, expected)


def test_larger_images_share_a_step_only_as_far_as_the_crop_allows() -> None:
    shapes = []

    def model(images: tf.Tensor, training: bool) -> tf.Tensor:
        tf.numpy_function(lambda x: shapes.append(x.shape) or np.int64(0), [images], tf.int64)
        return images[..., :1] * tf.ones([K])

    sizes = [(65, 97), (10, 10), (64, 90), (49, 65), (20, 20)]
    Evaluator(model, ExampleList(examples(sizes)), CROP, K, 4).evaluate()
    # 4 x 33 x 49 = 6,468 pixels a step: one of 65x97 = 6,305, two of 49x65 = 3,185 (one of them filled in).
    assert sorted(shapes) == [(1, 65, 97, 3), (1, 65, 97, 3), (2, 49, 65, 3), (4, 33, 49, 3)]


def test_in_graph_confusion_equals_numpy() -> None:
    generator = np.random.default_rng(4)
    label, prediction = generator.integers(0, K, (2, 3, 40, 31), dtype=np.uint8)
    label[generator.random(label.shape) < 0.3] = 255
    found = evaluator_module.confusion_matrices(tf.constant(label), tf.constant(prediction), K).numpy()
    np.testing.assert_array_equal(found, [confusion_matrix(a, b, K) for a, b in zip(label, prediction, strict=True)])
    assert found.dtype == np.int64


def faulty(**changes: object) -> ExampleList:
    good = examples([(20, 30), (12, 9)])
    return ExampleList([good[0], good[1]._replace(**changes)])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (faulty(label=np.full((12, 9), 7, np.uint8)), r"'image1' holds \[7\]; expected 0 to 4, or 255"),
        (faulty(label=np.zeros((9, 12), np.uint8)), r"'image1' is 12x9 .* \(9, 12\); expected equal"),
        (ExampleList(examples([(20, 30), (60, 60)])), r"'image1' is 60x60 .*; expected at most 2000 pixels"),
    ],
)
def test_bad_images_are_refused_by_name(split: ExampleList, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Evaluator(segmentor(), split, CROP, K, 2, max_pixels=2000).evaluate()


def test_a_failed_pass_leaves_the_evaluator_usable() -> None:
    split = faulty(label=np.full((12, 9), 7, np.uint8))
    evaluator = Evaluator(segmentor(), split, CROP, K, 2)
    with pytest.raises(UserError):
        evaluator.evaluate()
    assert evaluator.predictions([0])[0].shape == (20, 30)


@pytest.mark.parametrize("crop", [(32, 33), (33, 48), (1, 33)])
def test_crops_are_of_16_k_plus_1(crop: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"16 k \+ 1"):
        Evaluator(segmentor(), ExampleList(examples()), crop, K)


def test_a_strategy_splits_the_batches_and_changes_nothing() -> None:
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        model = segmentor()
    evaluator = Evaluator(model, ExampleList(examples()), CROP, K, 3, strategy=strategy)
    expected = Evaluator(segmentor(), ExampleList(examples()), CROP, K, 3).evaluate()
    np.testing.assert_array_equal(evaluator.evaluate(), expected)
    np.testing.assert_array_equal(evaluator.evaluate(), expected)
    assert evaluator.trace_count() == 1


def test_official_weights_on_real_images(shared: Path) -> None:
    from load_tf.segmentors.official_checkpoint import from_official_checkpoint

    folder = shared / "data/VOC2012"
    ids = (folder / "ImageSets/Segmentation/val.txt").read_text().split()[:6]
    data = [
        Example(
            np.array(Image.open(folder / "JPEGImages" / f"{i}.jpg")),
            np.array(Image.open(folder / "SegmentationClass" / f"{i}.png")),
            i,
        )
        for i in ids
    ]
    model = from_official_checkpoint(shared / "checkpoints/deeplabv3_mnv2_pascal_train_aug_fp16")
    evaluator = Evaluator(model, ExampleList(data), (513, 513), 21, 2)
    confusion = evaluator.evaluate()
    assert mean_iou(confusion) > 0.6
    for example, label_map, matrix in zip(data, evaluator.predictions(range(2)), confusion, strict=False):
        expected = plain_label_map(model, example.image, (513, 513))
        assert (label_map != expected).sum() <= max(3, 1e-4 * expected.size)
        np.testing.assert_array_equal(matrix, confusion_matrix(example.label, label_map, 21))
