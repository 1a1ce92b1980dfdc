"""Which images are shown, and what their pictures say."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from load_tf.report import canvas, qualitative
from load_tf.report.qualitative import Row, changes, draw, most_changed

NAMES, COLOURS = ("sky", "tree", "house"), ((0, 0, 0), (0, 128, 0), (200, 30, 40))


def confusions(correct: list[int], pixels: list[int]) -> np.ndarray:
    matrices = np.zeros((len(correct), 2, 2), np.int64)
    matrices[:, 0, 0] = correct
    matrices[:, 0, 1] = np.array(pixels) - correct
    return matrices


PIXELS = [100, 100, 1000, 100, 100, 0, 100]
BEFORE = confusions([50, 50, 500, 50, 50, 0, 50], PIXELS)
AFTER = confusions([60, 20, 550, 90, 49, 0, 50], PIXELS)  # +10 %, -30 %, +5 %, +40 %, -1 %, void, unchanged


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [3]), (2, [3, 1]), (4, [3, 0, 4, 1]), (5, [3, 0, 2, 4, 1]), (6, [3, 0, 2, 4, 1]), (20, [3, 0, 2, 4, 1])],
)
def test_both_ways_best_first_worst_last(count: int, expected: list[int]) -> None:
    assert most_changed(BEFORE, AFTER, count) == expected


def test_one_way_only_and_none() -> None:
    assert most_changed(BEFORE, np.maximum(BEFORE, AFTER), 4) == [3, 0, 2]
    assert most_changed(BEFORE[[1, 4]], AFTER[[1, 4]], 4) == [1, 0]
    assert most_changed(BEFORE, BEFORE, 4) == []


def rows() -> list[Row]:
    generator = np.random.default_rng(0)
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 10:40], truth[:, 58:] = 1, 255
    baseline, load = truth.copy(), truth.copy()
    baseline[truth == 255] = load[truth == 255] = 0
    baseline[10:20, 10:40] = 0
    load[10:12, 10:40] = 0
    image = generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return [Row("a", image, truth, baseline, load), Row("b", image.swapaxes(0, 1), truth.T, load.T, baseline.T)]


def test_pictures_titles_and_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    png = canvas.png
    monkeypatch.setattr(canvas, "png", lambda figure: figures.append(figure) or png(figure))
    draw(rows(), NAMES, COLOURS)
    axes = figures[0].axes
    titles = [axis.get_title() for axis in axes]
    # 2,320 counted pixels, 600 of class 1; baseline misses 300, LoAd 60.
    before = 100 * (1720 / 2020 + 300 / 600) / 2
    after = 100 * (1720 / 1780 + 540 / 600) / 2
    assert titles[:4] == ["a", "", f"mIoU {before:.1f}", f"mIoU {after:.1f} ({after - before:+.1f})"]
    assert titles[8] == f"mIoU {before:.1f} ({before - after:+.1f})"
    # Rows 12 to 19 of the object are found, and lost in the other line.
    for axis, colour in ((axes[4], canvas.GREEN), (axes[9], canvas.VERMILLION)):
        changed = axis.images[0].get_array()
        changed = changed if axis is axes[4] else changed.swapaxes(0, 1)
        kinds, counts = np.unique(changed.reshape(-1, 3), axis=0, return_counts=True)
        expected = {(255, 255, 255): 40 * 60 - 240, tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)): 240}
        assert dict(zip(map(tuple, kinds.tolist()), counts.tolist(), strict=True)) == expected
        assert tuple(changed[12, 10]) != (255, 255, 255) == tuple(changed[11, 10])
    truth = axes[1].images[0].get_array()
    assert [tuple(truth[y, x]) for y, x in ((0, 0), (15, 15), (0, 59))] == [COLOURS[0], COLOURS[1], (224, 224, 224)]
    legend = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert legend[:3] == ["sky", "tree", "void"], "classes that are nowhere are not listed"
    assert legend[3:] == ["changed: now right", "changed: now wrong", "changed: wrong otherwise"]


def test_what_changed_on_void_and_from_wrong_to_wrong() -> None:
    truth = np.array([[0, 0, 255, 1]], np.uint8)
    row = Row("a", np.zeros((1, 4, 3), np.uint8), truth, np.array([[1, 0, 0, 1]], np.uint8),
              np.array([[2, 0, 1, 1]], np.uint8))  # fmt: skip
    assert changes(row).tolist() == [[[0x77, 0x77, 0x77], [255] * 3, [255] * 3, [255] * 3]]


def test_equal_rows_give_equal_bytes_and_none_gives_a_note() -> None:
    assert draw(rows(), NAMES, COLOURS) == draw(rows(), NAMES, COLOURS) != draw(rows()[:1], NAMES, COLOURS)
    assert Image.open(io.BytesIO(draw(rows(), NAMES, COLOURS))).width == 1200
    assert Image.open(io.BytesIO(qualitative.draw([], NAMES, COLOURS))).size == (1200, 96)
