"""A network is scored as a ten-line script scores it, at any stride and size; another convention costs points."""

import dataclasses
import types
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.data.dataset import Example, ExampleList
from load_tf.discriminator.conditioning import logits_on_grid
from load_tf.discriminator.grid import grid_points
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou
from load_tf.evaluation.multi_scale import Evaluation
from load_tf.experiment import doubt
from load_tf.randomness import generator
from load_tf.segmentors import labelling
from load_tf.segmentors.any_size import any_size
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.keras_model import keras_model
from load_tf.segmentors.layers import DepthwiseConv
from load_tf.segmentors.own import OwnModel
from load_tf.segmentors.segmentor import Segmentor
from load_tf.serving import lite, loaded
from load_tf.serving.graph import ServedSegmentor
from load_tf.serving.graph import padded_size as in_graph
from load_tf.serving.saved_model import export
from load_tf.training.stage_one import cross_entropy

K = 3
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
SIZES = [(96, 128), (97, 129), (90, 118)]
"""16 k, 16 k + 1, and neither."""


def colour_network(stride: int, classes: int = K) -> keras.Model:
    """Logits of the mean colour of each `stride` x `stride` block, by convolutions of stride 2 with SAME padding.

    A logit belongs in the middle of its block, where half-pixel up-sampling puts it; aligned corners are aside.
    """
    features = images = keras.Input((None, None, 3))
    for _ in range(stride.bit_length() - 1):
        halve = keras.layers.Conv2D(3, 2, strides=2, padding="same")
        features = halve(features)
        halve.set_weights([np.tile(np.eye(3, dtype=np.float32) / 4, (2, 2, 1, 1)), np.zeros(3, np.float32)])
    last = keras.layers.Conv2D(classes, 1)
    model = keras.Model(images, last(features), name=f"colours{stride}")
    last.set_weights([0.05 * np.eye(3, classes, dtype=np.float32)[None, None], np.zeros(classes, np.float32)])
    return model


def scenes(size: tuple[int, int], count: int = 4) -> ExampleList:
    """Rectangles of three colours, with noise."""
    found = []
    for index in range(count):
        random = generator(5, "scene", index, *size)
        label = np.zeros(size, np.uint8)
        for _ in range(14):
            height, width = (int(side * random.uniform(0.15, 0.5)) for side in size)
            top, left = random.integers(0, size[0] - height), random.integers(0, size[1] - width)
            label[top : top + height, left : left + width] = random.integers(0, K)
        image = np.array(COLOURS, np.float32)[label] + random.normal(0, 20, (*size, 3))
        found.append(Example(np.clip(image, 0, 255).astype(np.uint8), label, f"scene{index}"))
    return ExampleList(found)


def by_script(model: Any, split: ExampleList) -> float:
    """The ten lines that a user would write; mIoU in per cent."""
    confusion = np.zeros((K, K), np.int64)
    for index in range(len(split)):
        image, label, _ = split[index]
        logits = model(image[None].astype(np.float32))
        found = np.argmax(tf.image.resize(logits, image.shape[:2])[0], -1)
        np.add.at(confusion, (label.ravel(), found.ravel()), 1)
    hit = np.diag(confusion)
    return 100 * float(np.mean(hit / (confusion.sum(0) + confusion.sum(1) - hit)))


def as_run(model: keras.Model, split: ExampleList, convention: Convention | None = None) -> float:
    """The evaluator's mIoU in per cent, with the crop that a run would take."""
    sizes = {split[i].image.shape[:2] for i in range(len(split))}
    segmentor = OwnModel(model, split[0].image.shape[:2]).segmentor(True, "own", convention)
    found = evaluator(segmentor, split, segmentor.crop_for(sizes)).evaluate()
    return 100 * mean_iou(found.sum(axis=0))


def evaluator(segmentor: Segmentor, split: ExampleList, crop: tuple[int, int]) -> Evaluator:
    return Evaluator(
        segmentor.model, split, crop, K, 2, convention=segmentor.convention, largest=segmentor.largest
    )  # fmt: skip


@pytest.mark.parametrize("stride", [1, 4, 16, 32])
@pytest.mark.parametrize("size", SIZES)
def test_a_users_network_is_scored_as_a_script_scores_it(stride: int, size: tuple[int, int]) -> None:
    model, split = colour_network(stride), scenes(size)
    expected = by_script(model, split)
    assert as_run(model, split) == pytest.approx(expected, abs=0.01)
    assert expected > 30, "it has something to lose"


@pytest.mark.parametrize("stride", [16, 32])
def test_the_other_convention_costs_points(stride: int) -> None:
    model, split = colour_network(stride), scenes((96, 128))
    right = by_script(model, split)
    assert as_run(model, split, Convention("aligned")) < right - 1, "the up-sampling alone"
    assert as_run(model, split, OFFICIAL) < right - 1, "with the official sizes"


def test_the_official_networks_stay_official(tmp_path: Path) -> None:
    images = keras.Input((None, None, 3))
    network = keras.Model(images, keras.layers.Conv2D(K, 1)(DepthwiseConv(stride=2)(DepthwiseConv(stride=2)(images))))
    network.save(tmp_path / "official.keras")
    for segmentor in (
        OwnModel(network).segmentor(True, "official"),
        keras_model(K, str(tmp_path / "official.keras")),
    ):
        assert segmentor.convention == OFFICIAL and segmentor.doubt is None
        assert segmentor.crop_for({(96, 128)}) == (97, 129)
        with pytest.raises(UserError, match=r"crop is \(96, 128\); expected \(height, width\), each 16 k \+ 1"):
            segmentor.crop((96, 128))
    half = keras_model(K, str(tmp_path / "official.keras"), upsampling="half_pixel")
    assert half.convention == Convention("half_pixel", 4) and half.crop((96, 128)) == (96, 128)


def test_what_is_found_can_be_set(tmp_path: Path) -> None:
    colour_network(4).save(tmp_path / "four.keras")
    path = str(tmp_path / "four.keras")
    found = keras_model(K, path)
    assert (found.convention, found.doubt) == (Convention("half_pixel", 4), OFFICIAL)
    assert found.output_stride == 4 and found.convention.describe() == "bilinear, half-pixel centres"
    assert keras_model(K, path, multiple=32).convention == Convention("half_pixel", 32)
    assert keras_model(K, path, upsampling="aligned").convention == OFFICIAL
    assert keras_model(K, path, upsampling="aligned", multiple=32).convention == Convention("aligned", 32, 1)
    for wrong, text in ((dict(upsampling="corners"), "'corners'"), (dict(multiple=0), "Convention.multiple is 0")):
        with pytest.raises(UserError, match=text):
            keras_model(K, path, **wrong)


def test_sizes_in_numbers() -> None:
    stride32 = Convention("half_pixel", 32)
    assert stride32.crop_for([(90, 118)] * 3) == (90, 118), "one size: nothing is padded"
    assert stride32.crop_for([(90, 118), (96, 100)]) == (96, 128)
    assert OFFICIAL.crop_for([(90, 118)]) == (97, 129) and OFFICIAL.crop_for([(97, 129)]) == (97, 129)
    pools = Convention("half_pixel", 8, any_crop=False)
    assert pools.fit_crop((90, 118)) == (96, 120) == pools.crop_for([(90, 118)])
    assert labelling.padded_size(91, 100, (90, 118), stride32) == (96, 118)
    for convention in (OFFICIAL, stride32, pools):
        for crop in ((33, 49), (96, 128)):
            for size in ((1, 1), (33, 50), (96, 49), (97, 129), (130, 16)):
                expected = labelling.padded_size(*size, crop, convention)
                assert tuple(in_graph(tf.constant(size), crop, convention).numpy()) == expected
    with pytest.raises(UserError, match=r"each at least 1 pixels"):
        stride32.check_crop((0, 5))


def test_full_resolution_needs_no_convention() -> None:
    segmentor = OwnModel(colour_network(1)).segmentor(True, "full")
    assert segmentor.convention.describe(segmentor.full_resolution) == "none: logits of full resolution"
    logits = generator(0, "full").normal(size=(1, 17, 33, K)).astype(np.float32)
    for convention in (OFFICIAL, Convention()):
        np.testing.assert_array_equal(labelling.upsample(logits, (17, 33), convention), logits)


@pytest.mark.parametrize(("crop", "size"), [((96, 128), (6, 8)), ((90, 118), (6, 8)), ((97, 129), (7, 9))])
def test_the_discriminators_grid_and_the_loss_see_the_same_logits(crop: tuple[int, int], size: tuple[int, int]) -> None:
    logits = generator(1, "grid").normal(size=(2, *size, K)).astype(np.float32)
    resized = tf.image.resize(logits, crop).numpy()
    rows, columns = (grid_points(side, 32) for side in crop)
    found = logits_on_grid(tf.constant(logits), crop, 32, Convention()).numpy()
    np.testing.assert_allclose(found, resized[:, rows][:, :, columns], atol=1e-5)
    assert np.abs(logits_on_grid(tf.constant(logits), crop, 32).numpy() - found).max() > 0.1, "aligned corners"
    labels = generator(2, "grid").integers(0, K, (2, *crop)).astype(np.uint8)
    shifted = resized - resized.max(-1, keepdims=True)
    log_soft = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    total = cross_entropy(tf.constant(logits), tf.constant(labels), Convention())
    expected = -np.take_along_axis(log_soft, labels[..., None].astype(int), -1).mean()
    np.testing.assert_allclose(total / labels.size, expected, rtol=1e-4)


@pytest.fixture(name="served", scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, loaded.LoadedSegmentor]:
    model = colour_network(16)
    segmentor = OwnModel(model).segmentor(True, "own")
    folder = tmp_path_factory.mktemp("served")
    export(segmentor.model, folder, crop=(90, 118), class_names="abc", colours=COLOURS, convention=segmentor.convention)
    return model, loaded.load(folder)


def test_the_saved_model_labels_as_the_script(served: tuple[keras.Model, loaded.LoadedSegmentor]) -> None:
    model, segmentor = served
    assert segmentor.convention == Convention("half_pixel", 16) and segmentor.largest is None
    for size, padded in (((90, 118), (90, 118)), ((180, 240), (192, 240)), ((96, 100), (96, 118))):
        image = scenes(size, 1)[0].image
        grey = np.full((1, *padded, 3), 127.5, np.float32)
        grey[:, : size[0], : size[1]] = image
        logits = tf.image.resize(model(grey), padded).numpy()[0, : size[0], : size[1]]
        maps, soft = segmentor.probabilities(image[None])
        assert (maps[0] == logits.argmax(-1)).mean() > 0.9999
        np.testing.assert_allclose(soft[0], tf.nn.softmax(logits), atol=1e-4)
        assert (segmentor.label_maps(image[None]) == maps).all()


def test_the_tflite_file_labels_as_the_saved_model(served: tuple[keras.Model, loaded.LoadedSegmentor]) -> None:
    _, segmentor = served
    file = lite.LiteSegmentor(lite.convert(segmentor), threads=1)
    image = scenes((90, 118), 1)[0].image
    assert (file.label_map(image) == segmentor.label_maps(image[None])[0]).mean() > 0.9999


def test_an_older_saved_model_is_an_official_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    today = ServedSegmentor.metadata.python_function
    older = ("class_names", "colours", "crop", "max_pixels")
    metadata = tf.function(lambda self: {name: today(self)[name] for name in older}, input_signature=[])
    monkeypatch.setattr(ServedSegmentor, "metadata", metadata)
    export(colour_network(4), tmp_path, crop=(33, 49), class_names="abc", colours=COLOURS)
    segmentor = loaded.load(tmp_path)
    assert (segmentor.convention, segmentor.largest) == (OFFICIAL, None)


class Subclassed(keras.Model):
    """A network whose graph is not known, with a layer that asks for the size in Python."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.colours = colour_network(4)
        self.up = keras.layers.UpSampling2D(4, interpolation="bilinear")

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.up(self.colours(images))


def test_a_network_of_one_size_says_so(tmp_path: Path) -> None:
    model, split = Subclassed(), scenes((96, 128))
    segmentor = OwnModel(model, (96, 128)).segmentor(True, "one size")
    assert segmentor.largest == (96, 128) and segmentor.doubt is None
    assert segmentor.limit is not None and "96 x 128 pixels at the most" in segmentor.limit
    assert as_run(model, split) == pytest.approx(by_script(model, split), abs=0.01)
    with pytest.raises(UserError, match=r"the crop is 97 x 128, but the network takes images of 96 x 128"):
        segmentor.crop((97, 128))
    with pytest.raises(UserError, match=r"is 97x129 \(height x width\), but the network takes at most 96x128"):
        evaluator(segmentor, scenes((97, 129)), (96, 128)).evaluate()
    with pytest.raises(UserError, match="96 x 128 pixels only"):
        Evaluation((0.5, 1.0)).wrap(model, (96, 128), segmentor.convention, segmentor.largest)
    names: dict[str, Any] = {"class_names": "abc", "colours": COLOURS, "convention": segmentor.convention}
    with pytest.raises(UserError, match="the only size"):
        export(model, tmp_path, crop=(97, 129), largest=segmentor.largest, **names)
    export(model, tmp_path, crop=(96, 128), largest=segmentor.largest, **names)
    found = loaded.load(tmp_path)
    assert found.largest == (96, 128) and str(found.refusal(97, 20)).endswith("takes at most 96 x 128.")
    image = scenes((90, 118), 1)[0].image
    assert found.label_maps(image[None]).shape == (1, 90, 118)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"network takes at most 96 x 128"):
        found.label_maps(scenes((97, 129), 1)[0].image[None])
    with pytest.raises(UserError, match="at most 96 x 128"):
        lite.convert(found, (97, 129))


def bound_networks() -> dict[str, keras.Model]:
    """Networks whose own graph is bound to a size, though nothing in them needs it."""
    layers = keras.layers
    free, fixed = keras.Input((None, None, 3)), keras.Input((48, 64, 3))
    coarse = colour_network(4)
    resized = layers.Resizing(48, 64)(coarse(fixed))
    nested = keras.Model(fixed, layers.UpSampling2D(2, interpolation="bilinear")(coarse(fixed)))
    return {
        "bilinear": keras.Model(free, layers.UpSampling2D(4, interpolation="bilinear")(coarse(free))),
        "bicubic": keras.Model(free, layers.UpSampling2D((2, 4), interpolation="bicubic")(coarse(free))),
        "fixed input": keras.Model(fixed, layers.ReLU()(coarse(fixed))),
        "resizing": keras.Model(fixed, layers.ReLU()(resized)),
        "nested": keras.Model(fixed, layers.ReLU()(nested(fixed))),
        "sequential": keras.Sequential([fixed, coarse, layers.UpSampling2D(4, interpolation="bilinear")]),
    }


@pytest.mark.parametrize("name", sorted(bound_networks()))
def test_a_graph_that_is_bound_to_a_size_is_freed(name: str) -> None:
    model = bound_networks()[name]
    own = OwnModel(model, (48, 64))
    assert own.largest is None and own.network is not model
    assert [id(v) for v in own.network.variables] == [id(v) for v in model.variables], "the same weights"
    images = generator(3, "bound").uniform(0, 255, (2, 48, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(own.network(images), model(images), atol=1e-5)
    traced = tf.function(own.network, input_signature=[tf.TensorSpec([None, None, None, 3])])
    wide = np.concatenate([images, images], 2)
    rows, columns = traced(wide).shape[1:3]
    assert (rows, columns) == (model(images).shape[1], 2 * model(images).shape[2])


def test_what_needs_multiples_gets_them() -> None:
    images = keras.Input((None, None, 3))
    first = keras.layers.Conv2D(4, 3, padding="same")(images)
    up = keras.layers.UpSampling2D(8, interpolation="bilinear")(keras.layers.MaxPooling2D(8)(first))
    model = keras.Model(images, keras.layers.Conv2D(K, 1)(keras.layers.Concatenate()([first, up])))
    segmentor = OwnModel(model).segmentor(True, "pools")
    assert segmentor.convention == Convention("half_pixel", 8, any_crop=False) and segmentor.doubt is None
    assert segmentor.crop((90, 118)) == (96, 120)
    split = scenes((90, 118))
    padded = np.full((1, 96, 120, 3), 127.5, np.float32)
    padded[:, :90, :118] = split[0].image
    expected = np.argmax(model(padded), -1)[0, :90, :118]
    np.testing.assert_array_equal(evaluator(segmentor, split, (96, 120)).predictions([0])[0], expected)
    with pytest.raises(UserError, match=r"takes multiples of 8 pixels only, but its convention's sizes are 16 k \+ 1"):
        OwnModel(model).segmentor(True, "pools", OFFICIAL)


def test_files_with_the_wrapper_still_load(tmp_path: Path) -> None:
    any_size(colour_network(4), 4).save(tmp_path / "wrapped.keras")
    segmentor = keras_model(K, str(tmp_path / "wrapped.keras"))
    assert segmentor.full_resolution and segmentor.crop((90, 118)) == (90, 118)
    one = OwnModel(any_size(Subclassed(), 4, largest=(94, 126))).segmentor(True, "one size")
    assert one.largest == (96, 128)


def test_soft_max_and_several_outputs_are_refused() -> None:
    images = keras.Input((None, None, 3))
    logits = colour_network(4)(images)
    with pytest.raises(UserError, match="the model gives probabilities"):
        OwnModel(keras.Model(images, keras.layers.Softmax()(logits)))
    with pytest.raises(UserError, match=r"gives 2 outputs \(\[B, H, W, 3\], \[B, H, W, 3\]\); expected logits"):
        OwnModel(keras.Model(images, [logits, logits]))


def test_scales_are_resized_as_the_network_is() -> None:
    segmentor = OwnModel(colour_network(16)).segmentor(True, "own")
    image = scenes((96, 128), 1)[0].image[None].astype(np.float32)
    wrapped = Evaluation((0.5, 1.0)).wrap(segmentor.model, (96, 128), segmentor.convention)
    expected = np.zeros((96, 128, K))
    for size in ((48, 64), (96, 128)):
        logits = tf.image.resize(segmentor.model(tf.image.resize(image, size)), (96, 128))
        expected += tf.nn.softmax(logits[0]).numpy() / 2
    np.testing.assert_allclose(wrapped(image)[0], expected, atol=1e-5)


def test_a_run_doubts_a_convention_that_costs_points() -> None:
    split, own = scenes((48, 64), 40), OwnModel(colour_network(8))
    dataset = types.SimpleNamespace(num_classes=K)

    def said(convention: Convention | None, **changes: Any) -> str | None:
        segmentor = own.segmentor(True, "own", convention)
        settings = types.SimpleNamespace(crop=segmentor.crop_for({(48, 64)}), dataset=dataset, evaluation_batch_size=4)
        plan: Any = types.SimpleNamespace(
            segmentor=dataclasses.replace(segmentor, **changes), experiment=settings, crop=settings.crop,
            strategy=tf.distribute.get_strategy(),
        )  # fmt: skip
        return doubt.better_convention(plan, split)

    sentence = said(OFFICIAL)
    assert sentence is not None and "on 36 hold-out images of 48 x 64 pixels and half-pixel centres" in sentence
    assert "keras_model.upsampling = 'half_pixel'" in sentence
    right = by_script(own.network, ExampleList([split[round(i * 39 / 35)] for i in range(36)]))
    assert f"scores {right:.2f} on" in sentence
    assert said(None) is None, "the right one is not doubted"
    assert said(OFFICIAL, doubt=None) is None
