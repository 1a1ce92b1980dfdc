"""What TensorBoard reads back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from load_tf.report.tensorboard import TensorBoardLog

JOURNAL: list[dict[str, Any]] = [
    {"event": "start", "miou": 0.7, "upper": 0.001, "lower": 0.05, "model": "g0"},
    {"event": "discriminator", "cycle": 0, "epoch": 1, "loss": 0.6, "pair_accuracy": 0.75},
    {"event": "update", "cycle": 0, "iteration": 1, "finite": True, "gradient_norm": 2.5},
    {"event": "evaluate", "cycle": 0, "iteration": 1, "miou": 0.71},
    {"event": "update", "cycle": 0, "iteration": 2, "finite": False, "gradient_norm": float("nan")},
    {"event": "evaluate", "cycle": 0, "iteration": 2, "miou": 0.69},
    {"event": "discriminator", "cycle": 1, "epoch": 1, "loss": 0.5, "pair_accuracy": 0.8},
    {"event": "evaluate", "cycle": 1, "iteration": 1, "miou": 0.72},
]


def read(folder: Path) -> list[tuple[str, int, Any]]:
    """(tag, step, value) of all that was written, in order; images and texts as they are encoded."""
    found = []
    (file,) = folder.glob("events.out.tfevents.*")
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            array = tf.make_ndarray(value.tensor)
            found.append((value.tag, event.step, round(float(array), 6) if array.dtype == np.float32 else array))
    return found


def test_a_log_that_cannot_be_written_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = TensorBoardLog(tmp_path)

    def fail(*arguments: object, **options: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tf.summary, "scalar", fail)
        log.hear(JOURNAL[0])
        log.hear(JOURNAL[3])
    log.label_maps("truth", [np.ones((2, 3), np.uint8)], [(0, 0, 0), (1, 1, 1)])
    log.text("config", "x = 1")
    log.flush()
    log.close()
    said = capsys.readouterr().err
    assert said.count("is given up (No space left on device)") == 1 and str(tmp_path) in said


def test_scalars_stand_at_the_running_iteration(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    for event in JOURNAL:
        log.hear(event)
    log.close()
    assert read(tmp_path) == [
        ("start/miou", 0, 0.7),
        ("start/upper", 0, 0.001),
        ("start/lower", 0, 0.05),
        ("discriminator/loss", 1, 0.6),
        ("discriminator/pair_accuracy", 1, 0.75),
        ("update/gradient_norm", 1, 2.5),
        ("evaluate/miou", 1, 0.71),
        ("evaluate/miou", 2, 0.69),
        ("discriminator/loss", 2, 0.5),
        ("discriminator/pair_accuracy", 2, 0.8),
        ("evaluate/miou", 3, 0.72),
    ]


def test_a_resumed_log_is_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    first = TensorBoardLog(whole)
    killed = TensorBoardLog(resumed)
    for event in JOURNAL:
        first.hear(event)
    for event in JOURNAL[:6]:  # the last two of these were never committed
        killed.hear(event)
    killed.close()
    second = TensorBoardLog(resumed, JOURNAL[:4])
    for event in JOURNAL[4:]:
        second.hear(event)
    first.close()
    second.close()
    assert read(whole) == read(resumed)


def test_warnings_are_text_at_their_iteration(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, JOURNAL[:4])
    log.hear({"event": "warning", "cycle": 0, "text": "the discriminator is at chance"})
    log.close()
    tag, step, text = read(tmp_path)[-1]
    assert (tag, step, text.item()) == ("warning", 1, b"the discriminator is at chance")


def test_label_maps_and_text(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, JOURNAL[:4])
    label_map = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    log.label_maps("load", [label_map], [(10, 20, 30), (200, 100, 0)])
    log.text("config", "a = 1\nb = 2")
    log.flush()
    (image_tag, image_step, image), (text_tag, _, text) = read(tmp_path)[-2:]
    assert (image_tag, image_step, text_tag) == ("load/0", 1, "config")
    picture = tf.io.decode_png(image[2]).numpy()
    assert [tuple(picture[0, x]) for x in range(3)] == [(10, 20, 30), (200, 100, 0), (224, 224, 224)]
    assert text.item().decode() == "    a = 1\n    b = 2\n"
    log.close()
