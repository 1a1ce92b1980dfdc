"""The images of the report: photograph and label maps before and after, small enough to stand inside a page."""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from load_tf.data.dataset import IGNORE_LABEL
from load_tf.evaluation.miou import confusion_matrix, mean_iou
from load_tf.report.qualitative import VOID_COLOUR, Row

LONGEST_SIDE = 512
"""Pixels; larger images are made smaller, so that a page stays below a megabyte or two."""


def encode(rows: Sequence[Row], class_names: Sequence[str], colours: Sequence[Sequence[int]]) -> str:
    """Rows as JSON: what the page needs of them, the pictures as data URIs.

    Args:
      rows: images with their label maps, the most improved first.
      class_names: K names.
      colours: K RGB triples in [0, 255].

    Returns:
      `{"images": [{"id", "size", "baseline", "load", "share", "photo", "truth_map", "baseline_map", "load_map"}],
      "classes": [{"name", "colour"}]}`: mIoU of the image in per cent before and after, `share` the change of its
      correct pixels in per cent of those that are not void; the classes are those that occur, void left out.
    """
    present: set[int] = set()
    images = []
    for row in rows:
        maps = {"truth_map": row.truth, "baseline_map": row.baseline, "load_map": row.load}
        present |= {int(k) for label_map in maps.values() for k in np.unique(label_map)}
        scores = [100 * mean_iou(confusion_matrix(row.truth, m, len(class_names))) for m in (row.baseline, row.load)]
        height, width = row.truth.shape
        images.append(
            {
                "id": row.id,
                "size": [height, width],
                "baseline": scores[0],
                "load": scores[1],
                "share": _changed_share(row),
                "photo": photo_uri(row.image),
                **{name: map_uri(label_map, colours) for name, label_map in maps.items()},
            }
        )
    classes = [
        {"name": class_names[k], "colour": [int(v) for v in colours[k]]} for k in sorted(present) if k != IGNORE_LABEL
    ]
    return json.dumps({"images": images, "classes": classes}) + "\n"


def decode(text: str) -> dict[str, Any]:
    """What `encode` made; ValueError for anything else, since its addresses go into a page."""
    found = json.loads(text)
    for image in found["images"]:
        for name in ("photo", "truth_map", "baseline_map", "load_map"):
            if not str(image[name]).startswith(("data:image/jpeg;base64,", "data:image/png;base64,")):
                raise ValueError(f"{name} is no embedded picture")
    return found


def photo_uri(image: np.ndarray) -> str:
    """uint8 [H, W, 3] as a JPEG data URI."""
    picture = Image.fromarray(image)
    buffer = io.BytesIO()
    picture.resize(_small(picture.size), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=84)
    return _uri(buffer, "jpeg")


def map_uri(label_map: np.ndarray, colours: Sequence[Sequence[int]]) -> str:
    """uint8 [H, W] as a palette PNG data URI; void is transparent."""
    palette = np.full((256, 3), VOID_COLOUR, np.uint8)
    palette[: len(colours)] = colours
    picture = Image.fromarray(label_map).resize(_small(label_map.shape[::-1]), Image.Resampling.NEAREST)
    picture.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=IGNORE_LABEL, optimize=True)
    return _uri(buffer, "png")


def _changed_share(row: Row) -> float:
    """Per cent of the visible pixels that are right now and were not, less those that were and are not."""
    visible = row.truth != IGNORE_LABEL
    gained = (row.load == row.truth) & visible
    lost = (row.baseline == row.truth) & visible
    return 100 * (int(gained.sum()) - int(lost.sum())) / max(int(visible.sum()), 1)


def _small(size: tuple[int, ...]) -> tuple[int, int]:
    factor = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
