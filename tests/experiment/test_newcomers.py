"""A training method and a data set of a newcomer's: a file each, and a line in a list; then gin and a run know them."""

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

import load_tf.data
import load_tf.methods
from load_tf.algorithm.lookahead import Lookahead
from load_tf.data.dataset import SegmentationDataset
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.experiment import plan, registry
from load_tf.experiment.settings import Experiment
from load_tf.game.game import AdversarialGame, Players
from load_tf.methods.method import Method
from load_tf.storage.run_directory import RunDirectory
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining

METHOD = '''
"""What a newcomer writes: a file in load_tf/methods/."""

import dataclasses

from load_tf.methods.method import Method
from load_tf.training.segmentor import AdversarialTraining


@dataclasses.dataclass(frozen=True)
class Cautious(Method):
    """The paper's objective in plain alternation, at a share of the learning rate."""

    share: float = 0.5
    title = "cautious"

    def adversarial_training(self, settings: AdversarialTraining) -> AdversarialTraining:
        return dataclasses.replace(settings, learning_rate=self.share * settings.learning_rate)
'''

DATA = '''
"""What a newcomer writes: a file in load_tf/data/."""

import numpy as np

from load_tf.data.dataset import Example, ExampleList, SegmentationDataset


def draw(name: str, number: int, width: int) -> Example:
    """A bright band of class 1 on dark ground, as far down as the number says; the band's upper edge is void."""
    label = np.zeros((48, 48), np.uint8)
    label[4 * number : 4 * number + width] = 1
    image = np.repeat(np.where(label[..., None] == 1, 200, 40), 3, axis=-1).astype(np.uint8)
    label[4 * number] = 255
    return Example(image, label, f"{name}_{number}")


def bands(width: int = 12) -> SegmentationDataset:
    """Bands on dark ground."""
    sources = {
        "train": lambda: ExampleList([draw("train", number, width) for number in range(6)]),
        "validation": lambda: ExampleList([draw("validation", number, width) for number in range(1, 7)]),
    }
    return SegmentationDataset("bands", ("ground", "band"), ((0, 0, 0), (255, 200, 0)), sources)
'''

BINDINGS = """
experiment.dataset = @bands()
bands.width = 10
experiment.segmentor = @small_deeplab
experiment.crop = (49, 49)
"""


@contextlib.contextmanager
def beside(package: ModuleType, name: str, source: str, folder: Path, thing: str) -> Iterator[ModuleType]:
    """A file in a folder of load_tf's, as far as Python can tell, and the thing in it registered as the lists' are."""
    (folder / f"{name}.py").write_text(source)
    full = f"{package.__name__}.{name}"
    paths = list(package.__path__)
    package.__path__ = [*paths, str(folder)]
    known = gin.config._REGISTRY
    before = {selector for selector, _ in known.items()}
    try:
        module = importlib.import_module(full)
        with gin.unlock_config():
            registry.register(getattr(module, thing))
        yield module
    finally:
        package.__path__ = paths
        for selector in {selector for selector, _ in known.items()} - before:
            known.pop(selector)
        sys.modules.pop(full, None)
        vars(package).pop(name, None)
        gin.clear_config()


@pytest.fixture(name="bands")
def _bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    with beside(load_tf.data, "bands", DATA, tmp_path, "bands") as module:
        monkeypatch.setattr(registry, "DATASETS", (*registry.DATASETS, module.bands))
        yield module


@pytest.fixture(name="cautious")
def _cautious(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    with beside(load_tf.methods, "cautious", METHOD, tmp_path, "Cautious") as module:
        monkeypatch.setattr(registry, "METHODS", (*registry.METHODS, module.Cautious))
        yield module


def play(run_dir: Path, method: str, rate: float) -> tuple[Experiment, list[dict[str, Any]], list[np.ndarray]]:
    """Plays two iterations of what gin makes of the bindings; the journal, and the weights of the result."""
    gin.clear_config()
    gin.parse_config([BINDINGS, method])
    made = plan.make_experiment()
    training, validation = made.dataset.split("train"), made.dataset.split("validation")
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    x = keras.layers.Conv2D(4, 3, 4, "same", activation="relu", kernel_initializer=keras.initializers.HeNormal(1))(x)
    model = keras.Model(images, keras.layers.Conv2D(2, 1, kernel_initializer=keras.initializers.HeNormal(2))(x))
    game = AdversarialGame(
        model,
        Evaluator(model, validation, made.crop, made.dataset.num_classes, 2),
        training,
        validation,
        Players(
            Discriminator(alpha=0.1, input_size=32, architecture="convolutional"),
            DiscriminatorTraining(batch_size=6, max_epochs=1),
            AdversarialTraining(batch_size=3, learning_rate=rate),
        ),
        made.method,
        crop=made.crop,
        num_classes=made.dataset.num_classes,
        seed=made.seed,
        run=RunDirectory(run_dir, "config"),
        strategy=tf.distribute.get_strategy(),
    )
    made.method.play(game, Lookahead(patience=2, max_iterations=2), game.resume())
    game.run.close()
    return made, game.run.journal(), [v.numpy() for v in model.variables]


def of(journal: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in journal if event["event"] == name]


def test_a_newcomers_method_plays_a_cycle_on_a_newcomers_data(
    tmp_path: Path, bands: ModuleType, cautious: ModuleType
) -> None:
    """Named in gin like any other. A quarter of a rate is descent-ascent with a rate of a quarter, bit for bit."""
    new = "experiment.method = @Cautious()\nCautious.share = 0.25"
    made, journal, weights = play(tmp_path / "new", new, rate=0.04)
    assert isinstance(made.method, cautious.Cautious) and made.method.share == 0.25
    assert made.dataset.name == "bands" and made.dataset.num_classes == 2
    (end,) = of(journal, "cycle_end")
    assert (end["iteration"], end["reason"]) == (2, "budget")
    assert len(of(journal, "discriminator")) == 1 and len(of(journal, "update")) == 2
    assert all(update["distance"] > 0 for update in of(journal, "update"))
    _, same, expected = play(tmp_path / "known", "experiment.method = @DescentAscent()", rate=0.01)
    assert journal == same
    assert all(np.array_equal(a, b) for a, b in zip(weights, expected, strict=True))


def test_the_data_are_the_newcomers(bands: ModuleType) -> None:
    gin.parse_config(BINDINGS)
    dataset = plan.make_experiment().dataset
    assert isinstance(dataset, SegmentationDataset)
    example = dataset.split("train")[2]
    assert example.id == "train_2" and example.image[9, 0].tolist() == [200, 200, 200]
    assert [int((example.label == k).sum()) for k in (0, 1, 255)] == [48 * 38, 48 * 9, 48]


def test_what_is_not_in_the_list_is_not_offered(bands: ModuleType, cautious: ModuleType) -> None:
    assert issubclass(cautious.Cautious, Method)
    with pytest.raises(
        UserError, match=r"experiment\.method is 'cautious'; expected one of .*@LoAd\(\).*@Cautious\(\)"
    ):
        gin.parse_config([BINDINGS, "experiment.method = 'cautious'"])
        plan.make_experiment()


def test_a_name_of_no_file_is_refused() -> None:
    """The negative control: without the files neither is known."""
    for line in ("experiment.method = @Cautious()", "experiment.dataset = @bands()"):
        with pytest.raises(ValueError, match="No configurable matching"):
            gin.parse_config(line)
    gin.clear_config()
