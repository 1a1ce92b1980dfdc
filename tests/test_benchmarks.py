"""What the benchmarks count and how they time; the numbers themselves are measured by hand (docs/performance.md)."""

import functools
import os
import time
import types
from collections.abc import Callable
from pathlib import Path

import gin
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import discriminator as benchmark
from benchmarks import proportions, setting, steps, timing, walk
from benchmarks.looks import Decisions, Look
from benchmarks.networks import multiply_adds, network
from load_tf.algorithm.lookahead import Lookahead
from load_tf.data.dataset import Example, ExampleList
from load_tf.errors import UserError
from tests import networks, tiny


@pytest.mark.parametrize(
    ("backbone", "published", "tolerance"), [("xception_65", 54.17e9, 0.01), ("MobilenetV2", 2.75e9, 0.03)]
)
def test_multiply_adds_are_the_published_ones(backbone: str, published: float, tolerance: float) -> None:
    assert multiply_adds(network(backbone, 16), 513) == pytest.approx(published, rel=tolerance)


def test_candidates_are_timed_in_turn_after_two_calls_each() -> None:
    calls = []

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.02)

    measured = timing.in_turn({"slow": slow, "fast": lambda: calls.append("fast")}, repeats=3)
    assert calls == ["slow", "slow", "fast", "fast", *["slow", "fast"] * 3]
    assert measured["slow"].median >= 0.02 > measured["fast"].median and len(measured["fast"].seconds) == 3


def test_memory_is_what_a_call_takes_beyond_what_is_held() -> None:
    held = np.ones(2**23)
    measured = timing.in_turn({"takes 256 MiB": lambda: np.ones(2**25).sum(), "takes nothing": held.sum}, repeats=1)
    assert measured["takes 256 MiB"].memory == pytest.approx(256, abs=32)
    assert measured["takes nothing"].memory < 32


def _working(seconds: float, fails: bool = False) -> Callable[[], None]:
    """Made in a process of its own: takes memory, keeps one core busy."""
    if fails:
        raise ImportError("no such runtime")

    def work() -> None:
        until = time.process_time() + seconds
        while time.process_time() < until:
            np.ones(2**25).sum()

    return work


def test_a_candidate_in_a_process_of_its_own() -> None:
    before = timing.forget_peak()
    measured = timing.in_turn({"apart": timing.Apart(functools.partial(_working, 0.2))}, repeats=3)["apart"]
    assert measured.memory == pytest.approx(256, abs=64) and timing.peak_memory() - before < 64
    assert measured.median >= 0.2 and len(measured.seconds) == 3
    # One core, or less where others are waiting for it.
    assert 0 < measured.busy < 1.5 / (os.cpu_count() or 1)
    with pytest.raises(ImportError, match="no such runtime"):
        timing.Apart(functools.partial(_working, 0.2, fails=True))


def test_the_discriminators_step_has_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of images that all have labels, so that a draw has a field that is None."""
    monkeypatch.setattr(steps, "FLAGS", types.SimpleNamespace(grid=16, maps=4))
    random = np.random.default_rng(0)
    examples = [
        Example(random.integers(0, 256, (33, 33, 3), np.uint8), np.zeros((33, 33), np.uint8), str(i)) for i in range(4)
    ]
    parts = steps.Parts(None, None, ExampleList(examples), (33, 33), tf.distribute.get_strategy())  # type: ignore[arg-type]
    elements = list(steps._discriminator_data(parts).take(3))
    assert len(elements) == 3 and all(len(tf.nest.flatten(element)[0]) == 4 for element in elements)


def test_a_table_in_markdown() -> None:
    assert timing.table(["", "ms"], [["a", "1"]]) == "|  | ms |\n| --- | --: |\n| a | 1 |"


def test_matched_maps_have_the_truths_proportions() -> None:
    """A class that is predicted far too rarely becomes as frequent as it is, and one that is absent disappears."""
    random = np.random.default_rng(0)
    truth = random.choice(4, (64, 64), p=[0.6, 0.3, 0.1, 0.0]).astype(np.uint8)
    truth[:8] = 255
    logits = random.normal(size=(64, 64, 4)).astype(np.float32) + np.array([2.0, 0.0, -2.0, 1.0], np.float32)
    visible = truth != 255
    true = np.bincount(truth[visible], minlength=4) / visible.sum()
    before = np.bincount(logits.argmax(-1)[visible], minlength=4) / visible.sum()
    after = np.bincount(proportions.matched(logits, truth)[visible], minlength=4) / visible.sum()
    assert np.abs(before - true).max() > 0.1 and before[3] > 0.1
    np.testing.assert_allclose(after, true, atol=0.01)


CONFIG = """
experiment.dataset = @synthetic()
synthetic.train = 4
synthetic.validation = 4
synthetic.size = (48, 64)
experiment.segmentor = @keras_model
keras_model.path = '{model}'
experiment.crop = (48, 64)
experiment.holdout_images = 2
Discriminator.architecture = 'mobilenet'
Discriminator.sees = 'split'
Discriminator.alpha = 0.1
Discriminator.input_size = 32
"""


@pytest.fixture(name="config")
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the config of the flags that of a method."""
    networks.one_convolution(8).save(tmp_path / "mine.keras")
    values = tiny.experiment_flags(monkeypatch)
    file = tmp_path / "mine.gin"

    def use(method: str, *bindings: str) -> None:
        gin.clear_config()
        lines = CONFIG.format(model=tmp_path / "mine.keras"), f"experiment.method = @{method}()", *bindings, ""
        file.write_text("\n".join(lines))
        values(["benchmark", f"--gin_file={file}"])

    return use


def test_the_game_is_that_of_the_configs_method(config: Callable[..., None]) -> None:
    """Hung's discriminator is convolutional, whatever the config says; the hold-out is scored as the network wants."""
    config("HungEtAl")
    with setting.game() as game:
        assert type(game.discriminator).__name__ == "FullyConvolutionalDiscriminator"
        assert game.evaluator.convention.upsampling == "half_pixel"


def test_a_method_without_a_discriminator_is_refused(config: Callable[..., None]) -> None:
    config("CrossEntropyOnly")
    with pytest.raises(UserError, match=r"the method '.+' has none"), setting.game():
        pass


def test_the_discriminators_tables_have_a_row_for_every_epoch_and_one_for_the_kept(
    config: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    config(
        "LoAd", "Discriminator.verdict = 'place'", "Discriminator.asks = 'right here'",
        "AdversarialTraining.batch_size = 2", "DiscriminatorTraining.max_epochs = 2",
        "DiscriminatorTraining.sufficient_accuracy = 1.1",
    )  # fmt: skip
    benchmark._main()
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    (header, _, *epochs), (kept_header, _, kept) = lines[:4], lines[4:]
    assert len(epochs) == 2 and all(len(row) == len(header) for row in epochs) and len(kept) == len(kept_header)
    for name in ("pairs", "places", "localisation"):
        assert all(0 <= float(row[header.index(name)]) <= 1 for row in epochs)
    measured = dict(zip(kept_header, map(float, kept), strict=True))
    assert measured["kept epoch"] in (1, 2)
    assert all(0 <= measured[name] <= 1 for name in ("pairs", "of equal proportions", "places", "localisation"))
    assert all(-1 <= value <= 1 for name, value in measured.items() if "tau" in name)
    assert measured["cosine with cross-entropy's, tau 1"] != measured["cosine with cross-entropy's, tau 20"]


@pytest.mark.slow
def test_a_walk_by_the_discriminator_and_by_cross_entropy(
    config: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "ITERATIONS", 1)
    chosen = ("AdversarialTraining.batch_size = 2", "DiscriminatorTraining.max_epochs = 1")
    config("LoAd", *chosen, "AdversarialTraining.learning_rate = 0.1", "AdversarialTraining.updates_per_iteration = 3")
    walk._main()
    lines = capsys.readouterr().out.splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    names = list(walk.COLUMNS)
    walked = {cells[0]: cells for cells in table if len(cells) == len(names) and cells[1] == "3"}
    assert set(walked) == {"adversarial", "cross-entropy"}
    assert float(walked["cross-entropy"][names.index("path")]) > 0
    # Both begin where the start is: cross-entropy does not go on from where the other one went.
    assert walked["adversarial"] != walked["cross-entropy"]
    (place,) = [number for number, cells in enumerate(table) if cells[0] == "constants again"]
    again = {cells[0]: [float(cell) for cell in cells[1:]] for cells in table[place + 2 :]}
    assert list(again) == ["start", "adversarial", "cross-entropy"]
    assert all(0 <= value <= 100 for value in again["start"])
    assert again["adversarial"] != again["cross-entropy"]


def test_scores_are_over_the_classes_of_the_truth() -> None:
    assert walk.scores(np.array([[6, 2, 0], [0, 2, 0], [0, 0, 0]])) == pytest.approx((100 * (6 / 8 + 2 / 4) / 2, 80.0))


def test_decisions_that_two_arithmetics_make_otherwise() -> None:
    """By hand: a peak that one of them misses, a fall that one of them misses; what the exact one decided goes on."""
    decisions = Decisions(Lookahead(upper=0.0, lower=0.05))
    decisions.count(
        [
            ("start", Look(0.50, 0.51)),
            ("evaluate", Look(0.52, 0.53)),  # both: the best
            ("evaluate", Look(0.53, 0.525)),  # the exact one alone
            ("evaluate", Look(0.46, 0.46)),  # above 0.45, and not above 0.46
            ("cycle_end", None),
            ("peak", None),
            ("evaluate", Look(0.528, 0.526)),  # the start is now 0.53 and 0.525: the narrow one alone
            ("cycle_end", None),
            ("evaluate", Look(0.531, 0.53)),  # both, of a new cycle
        ]
    )
    assert (decisions.made, decisions.others) == (10, 3)
