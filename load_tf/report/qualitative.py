"""Figure 3 of a run: the images whose label maps LoAd changed most, for better and for worse."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from load_tf.data.dataset import IGNORE_LABEL
from load_tf.evaluation.miou import confusion_matrix, mean_iou
from load_tf.report import canvas

VOID_COLOUR = (224, 224, 224)
"""How void pixels are shown: pale, so that they look like nothing rather than like one more class."""

_ROW_INCHES = 1.5
_TITLES = ("image", "ground truth", "baseline", "LoAd", "changed")
_CHANGES = {"now right": canvas.GREEN, "now wrong": canvas.VERMILLION, "wrong otherwise": canvas.GREY}
"""Kinds of changed pixels and their colours."""


class Row(NamedTuple):
    """One image before and after LoAd."""

    id: str
    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    truth: np.ndarray
    """uint8 [H, W], 255 is void."""
    baseline: np.ndarray
    """uint8 [H, W], the label map before LoAd."""
    load: np.ndarray
    """uint8 [H, W], the label map after LoAd."""


def most_changed(baseline: np.ndarray, other: np.ndarray, count: int) -> list[int]:
    """Which images to show: those with the largest change in the share of correctly labelled pixels, both ways.

    Pixels and not the image's mIoU, of which a speck of a wrong class can take half.

    Args:
      baseline: int64 [N, K, K], confusion matrices per image.
      other: int64 [N, K, K], of the same images.
      count: how many; half of them improved and half spoilt, as far as there are such.

    Returns:
      Indices: the improved ones first, the best of all at the beginning and the worst at the end.
    """
    counted = np.maximum(baseline.sum((1, 2)), 1)
    correct = np.trace(other, axis1=1, axis2=2) - np.trace(baseline, axis1=1, axis2=2)
    change = correct / counted
    order = np.argsort(-change, kind="stable")
    better, worse = [int(i) for i in order if change[i] > 0], [int(i) for i in order if change[i] < 0]
    bad = min(len(worse), max(count // 2, count - len(better)))
    good = min(len(better), count - bad)
    return better[:good] + (worse[-bad:] if bad else [])


def draw(rows: Sequence[Row], class_names: Sequence[str], colours: Sequence[Sequence[int]]) -> bytes:
    """Draws image, truth, baseline, LoAd and what changed, a line for every image, and a legend of the classes in them.

    Args:
      rows: what to show; there may be none (a run that changed no pixel).
      class_names: K names.
      colours: K RGB triples in [0, 255].

    Returns:
      A PNG, 1200 pixels wide; equal rows give equal bytes.
    """
    palette = np.full((256, 3), VOID_COLOUR, np.uint8)
    palette[: len(colours)] = colours
    with canvas.plain_style():
        if not rows:
            figure = canvas.new_figure(0.8)
            figure.text(0.5, 0.5, "LoAd changed no image's share of correct pixels.", ha="center", va="center")
            return canvas.png(figure)
        present = [k for k in _present(rows) if k < len(class_names)]
        heights = [_ROW_INCHES * max(0.5, min(1.4, row.truth.shape[0] / row.truth.shape[1] / 0.75)) for row in rows]
        legend_height = 0.3 + 0.22 * -(-(len(present) + 1 + len(_CHANGES)) // 7)
        height = sum(heights) + 0.24 * len(rows) + 0.35 + legend_height
        figure = canvas.new_figure(height)
        axes = figure.subplots(
            len(rows), len(_TITLES), squeeze=False,
            gridspec_kw={
                "height_ratios": heights, "left": 0.005, "right": 0.995, "top": 1 - 0.5 / height,
                "bottom": legend_height / height, "wspace": 0.02, "hspace": 0.24 * len(rows) / sum(heights),
            },
        )  # fmt: skip
        for row, cells in zip(rows, axes, strict=True):
            _draw_row(cells, row, palette, len(class_names))
        for cell, title in zip(axes[0], _TITLES, strict=True):
            place = cell.get_position()
            middle = (place.x0 + place.x1) / 2
            figure.text(middle, 1 - 0.08 / height, title, ha="center", va="top", fontsize=12, color=canvas.BLACK)
        handles = [Patch(facecolor=palette[k] / 255, edgecolor=canvas.GREY, label=class_names[k]) for k in present]
        handles.append(Patch(facecolor=palette[IGNORE_LABEL] / 255, edgecolor=canvas.GREY, label="void"))
        handles += [Patch(facecolor=colour, label=f"changed: {name}") for name, colour in _CHANGES.items()]
        figure.legend(handles=handles, loc="lower center", ncol=min(7, len(handles)), frameon=False, fontsize=9)
        return canvas.png(figure)


def changes(row: Row) -> np.ndarray:
    """Which pixels LoAd labels otherwise than the baseline: uint8 [H, W, 3], white where nothing changed or on void.

    Others are green where the new label is right, red where the old one was, and grey where neither is.
    """
    picture = np.full((*row.truth.shape, 3), 255, np.uint8)
    changed = (row.baseline != row.load) & (row.truth != IGNORE_LABEL)
    right, spoilt = changed & (row.load == row.truth), changed & (row.baseline == row.truth)
    kinds = (right, spoilt, changed & ~right & ~spoilt)
    for kind, colour in zip(kinds, _CHANGES.values(), strict=True):
        picture[kind] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return picture


def _present(rows: Iterable[Row]) -> list[int]:
    """The classes in any of the label maps shown."""
    maps = [label_map for row in rows for label_map in (row.truth, row.baseline, row.load)]
    return sorted({int(k) for label_map in maps for k in np.unique(label_map)})


def _draw_row(axes: Sequence[Axes], row: Row, palette: np.ndarray, num_classes: int) -> None:
    before, after = (100 * mean_iou(confusion_matrix(row.truth, m, num_classes)) for m in (row.baseline, row.load))
    colour = canvas.GREEN if after > before else canvas.VERMILLION if after < before else canvas.BLACK
    pictures = (row.image, palette[row.truth], palette[row.baseline], palette[row.load], changes(row))
    titles = (row.id, "", f"mIoU {before:.1f}", f"mIoU {after:.1f} ({after - before:+.1f})", "")
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        axis.imshow(picture, interpolation="nearest" if max(picture.shape) < 150 else "antialiased")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(title, fontsize=9, pad=3, color=colour if picture is pictures[3] else canvas.BLACK)
