"""A page of images with their masks over them, to see at a glance whether a data set is what it should be."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from load_tf.data.colours import VOID_COLOUR
from load_tf.data.dataset import UNLABELLED, Example

TILE = 176
"""Pixels along the longer side of a picture."""
COLUMNS = 4
_MARGIN, _CAPTION, _LEGEND = 8, 14, 18


def draw(
    examples: Sequence[tuple[str, Example]], class_names: Sequence[str], colours: Sequence[Sequence[int]]
) -> bytes:
    """Draws a contact sheet.

    Args:
      examples: what to show, each with a caption; the image stands left, the image under its mask right of it, or as
        it is where nobody has labelled it.
      class_names: K names.
      colours: K RGB triples in [0, 255].

    Returns:
      A PNG.
    """
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(colours)] = np.asarray(colours, np.uint8)
    palette[255] = VOID_COLOUR
    cell = (2 * TILE + 2 * _MARGIN, TILE + _CAPTION + _MARGIN)
    rows = -(-len(examples) // COLUMNS)
    legend_rows = -(-(len(class_names) + 1) // (2 * COLUMNS))
    size = (COLUMNS * cell[0] + _MARGIN, rows * cell[1] + legend_rows * _LEGEND + 2 * _MARGIN)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for number, (caption, example) in enumerate(examples):
        left = _MARGIN + number % COLUMNS * cell[0]
        top = _MARGIN + number // COLUMNS * cell[1]
        pen.text((left, top), caption.encode("ascii", "replace").decode(), fill="black")
        blend = example.image.astype(np.float32) * 0.35 + palette[example.label] * np.float32(0.65)
        blend = np.where((example.label == UNLABELLED)[..., None], example.image, blend)
        for place, pixels in enumerate((example.image, blend.astype(np.uint8))):
            sheet.paste(_thumbnail(pixels), (left + place * (TILE + _MARGIN // 2), top + _CAPTION))
    entries = [*zip(class_names, map(tuple, colours), strict=True), ("void", VOID_COLOUR)]
    for number, (name, colour) in enumerate(entries):
        left = _MARGIN + number % (2 * COLUMNS) * (cell[0] // 2)
        top = rows * cell[1] + _MARGIN + number // (2 * COLUMNS) * _LEGEND
        pen.rectangle((left, top, left + 12, top + 12), fill=tuple(int(c) for c in colour), outline="black")
        pen.text((left + 18, top), name.encode("ascii", "replace").decode(), fill="black")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _thumbnail(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(pixels)
    scale = TILE / max(picture.size)
    # Nearest, so that a one-pixel outline keeps its colour.
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST)
