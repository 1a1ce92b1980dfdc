"""`report/model_card.md`: what whoever is given the model has to know of it, in the order of their questions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from load_tf.report.stored import Run, read
from load_tf.report.verdict import doubts, scored
from load_tf.report.words import interval, plain, signed, trained_on

USE = """```python
import tensorflow as tf

model = tf.saved_model.load("saved_model/1")
image = tf.io.decode_jpeg(tf.io.read_file("photo.jpg"), channels=3)
label_map = model.signatures["serving_default"](images=image[tf.newaxis])["label_maps"][0]
```"""


def card(run_dir: Path) -> str:
    """The card of a finished run, in Markdown.

    Args:
      run_dir: a run's folder.

    Raises:
      UserError: as `load_tf.report.stored.read`.
    """
    run = read(run_dir)
    settings = run.summary.get("settings", {})
    blocks = [
        f"# {run.name}",
        "A model for semantic segmentation: it gives every pixel of a photo its class. LoAd (lookahead adversarial "
        f"semantic segmentation) made it of {plain(settings.get('segmentor', 'a segmentor'))}.",
        "## What it knows",
        _classes(run),
        "## How good it is",
        _scores(run),
        "## Data",
        _data(run),
        "## Use",
        USE,
        "Any size of image. `label_map` is uint8 [H, W], a class's number in the table above. Padding and resizing are "
        "in the model. Other signatures and TensorFlow Lite: docs/serving.md of load_tf.",
        "## Licence",
        "To be filled in by whoever passes the model on. It follows from the licences of the images, of their labels "
        "and of the weights that were started from, which load_tf does not know.",
    ]
    return "\n\n".join(blocks) + "\n"


def _classes(run: Run) -> str:
    """By number, with the IoU on all evaluated images."""
    classes = {name: row for name, row in run.summary.get("classes", {}).items() if name != "mIoU"}
    place = run.summary.get("columns", ["baseline", "load"]).index("load")
    rows = [f"| {k} | {_cell(name)} | {_number(row[place])} |" for k, (name, row) in enumerate(classes.items())]
    return "\n".join(["| class | name | IoU on all evaluated images, % |", "|--:|---|--:|", *rows])


def _scores(run: Run) -> str:
    rows = [
        f"| {title} | {score['images']} | {_number(score['baseline'])} | {_number(score['load'])} | "
        f"{signed(score['gain'])} | {interval(score) or 'none'} |"
        for title, _, score in scored(run.summary)
    ]
    table = ["| images | number | mIoU before | mIoU | gain | 95 % interval |", "|---|--:|--:|--:|--:|--:|", *rows]
    warnings = [*doubts(run.summary), *(run.summary.get("looks") or {}).get("warnings", [])]
    notes = ["The model was chosen on the hold-out; untouched images neither trained nor chose it."]
    return "\n".join([*table, "", *notes, *(f"\n**Warning**: {doubt}" for doubt in warnings)])


def _data(run: Run) -> str:
    settings: Mapping[str, Any] = run.summary.get("settings", {})
    said = {
        "data set": settings.get("dataset"),
        "trained on": trained_on(run.summary),
        "evaluated split": settings.get("split"),
        "groups of images": run.summary.get("groups"),
        "void": settings.get("void"),
        "seed": settings.get("seed"),
    }
    return "\n".join(f"* {name}: {_cell(plain(value))}" for name, value in said.items() if value is not None)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cell(text: str) -> str:
    """Names are the user's: none may end a table's cell or its row."""
    return " ".join(text.replace("|", "\\|").split())
