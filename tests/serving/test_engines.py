"""Other runtimes in TensorFlow's place: the same labels, by what is told of them, and what stays TensorFlow's."""

import dataclasses
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from load_tf.data.dataset import Example, ExampleList
from load_tf.data.synthetic import synthetic
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.randomness import generator
from load_tf.serving import engines
from load_tf.serving.loaded import LoadedSegmentor, load
from load_tf.serving.saved_model import export
from tests import networks

CROP = (65, 97)
CLASSES = 8


@pytest.fixture(name="model", scope="module")
def _model() -> keras.Model:
    return networks.one_convolution(CLASSES, 8, kernel=9)


@pytest.fixture(name="segmentor", scope="module")
def _segmentor(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> LoadedSegmentor:
    folder = tmp_path_factory.mktemp("engines")
    export(model, folder, crop=CROP, class_names=synthetic(train=1).class_names, colours=[(0, 0, 0)] * CLASSES)
    return load(folder)


@pytest.fixture(name="other", scope="module", params=["litert", pytest.param("openvino", marks=pytest.mark.slow)])
def _other(request: pytest.FixtureRequest, segmentor: LoadedSegmentor) -> engines.EngineSegmentor:
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="needs openvino of the extra 'export' (its packages take 300 MB)")
    made = engines.with_engine(segmentor, request.param)
    assert isinstance(made, engines.EngineSegmentor)
    return made


def test_it_scores_as_the_evaluator_does(model: keras.Model, other: engines.EngineSegmentor) -> None:
    data = synthetic(train=1, validation=10, size=(48, 80)).split("validation")
    confusion, shapes = engines.evaluate_shapes(other, data)
    evaluator = Evaluator(model, data, CROP, CLASSES)
    expected, expected_shapes = evaluator.evaluate_shapes()
    assert confusion.shape == expected.shape and (confusion.sum((1, 2)) == expected.sum((1, 2))).all()
    assert np.abs(confusion - expected).sum() <= 2 * 0.02 * expected.sum(), "padded with 127 in place of 127.5"
    found = np.array([np.trace(matrix) for matrix in confusion])
    assert len(set(found.tolist())) > 5 and (found > 0).all(), "else any labels would do"
    for ours, theirs in zip(shapes, expected_shapes, strict=True):
        assert ours.shape == theirs.shape and np.abs(ours - theirs).sum() <= 0.1 * theirs.sum()
    # The first eight images, and no others, were labelled by TensorFlow, too.
    assert other.compared.images == engines.COMPARED_IMAGES == 8 and other.compared.pixels == 8 * 48 * 80
    predictions = evaluator.predictions(range(8))
    maps = [other.file.label_map(data[index].image) for index in range(8)]
    differing = sum(int((a != b).sum()) for a, b in zip(predictions, maps, strict=True))
    assert other.compared.differing == differing
    share = 100 * differing / other.compared.pixels
    assert other.compared.text("it").startswith(f"{share:.3f} % of the pixels of the first 8 images differ")


def test_what_is_larger_than_the_crop_is_tensorflows(
    segmentor: LoadedSegmentor, other: engines.EngineSegmentor
) -> None:
    images = generator(3, "engines").integers(0, 256, (2, 70, 60, 3)).astype(np.uint8)
    fresh = dataclasses.replace(other, compared=engines.Compared())
    np.testing.assert_array_equal(fresh.label_maps(images), segmentor.label_maps(images))
    assert fresh.compared.images == 0 and "labelled no image" in fresh.compared.text("litert")
    with pytest.raises(UserError, match="at most 65 x 97"):
        fresh.file.label_map(images[0])


def test_an_image_that_does_not_fit_is_named(other: engines.EngineSegmentor) -> None:
    image, label = np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 9, np.uint8)
    for wrong, sentence in ((label, r"'odd' holds \[9\]; expected 0 to 7"), (label[:3], "'odd' is 4x4")):
        with pytest.raises(UserError, match=sentence):
            engines.evaluate_shapes(other, ExampleList([Example(image, wrong, "odd")]))


def test_tensorflow_is_the_segmentor_as_it_is(segmentor: LoadedSegmentor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.with_engine(segmentor, "tensorflow") is segmentor
    with pytest.raises(UserError, match="the engine is 'onnx'; expected one of tensorflow, litert, openvino"):
        engines.with_engine(segmentor, "onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        UserError, match=r"--engine=openvino takes the package openvino: pip install 'load-tf\[export\]'"
    ):
        engines.with_engine(segmentor, "openvino")


def test_the_flag_names_them_all() -> None:
    source = (Path(__file__).parents[2] / "load_tf" / "commands.py").read_text()
    assert str(list(engines.ENGINES)).replace("'", '"') in source
