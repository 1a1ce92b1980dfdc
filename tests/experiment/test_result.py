"""A result in a line and as a notebook shows it: the honest number first, and nothing of a user's becomes a tag."""

import re
from pathlib import Path
from typing import Any

import keras

from load_tf.experiment.result import Result


def score(images: int, gain: float | None) -> dict[str, Any]:
    numbers = {"gain": gain, "gain_low": None, "gain_high": None, "groups": None, "baseline": 70.0}
    if gain is None:
        return {"images": images, **numbers, "load": None}
    return {"images": images, **numbers, "load": 70 + gain, "gain_low": gain - 1, "gain_high": gain + 1}


def result(name: str = "unet", **scores: dict[str, Any]) -> Result:
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.Conv2D(2, 1)(images), name=name)
    return Result(model, {"classes": {"sky": [1.0] * 7}, **scores}, Path("runs/mine"))


def test_a_line_has_the_untouched_images_and_the_page() -> None:
    found = result(full=score(6, 0.9), holdout=score(2, 2.0), untouched=score(4, 0.25))
    assert repr(found) == (
        "<Result of 'unet': mIoU 70.00 → 70.25 on 4 untouched images, report in runs/mine/report/index.html>"
    )


def test_without_untouched_images_the_line_says_which() -> None:
    assert "mIoU 70.00 → 72.00 on 2 hold-out, report" in repr(result(holdout=score(2, 2.0), untouched=score(0, None)))
    assert repr(result()) == "<Result of 'unet': report in runs/mine/report/index.html>"


def test_a_notebook_has_a_table_with_the_honest_number_first() -> None:
    page = result("a<b", full=score(6, 0.9), holdout=score(2, 2.0), untouched=score(4, -0.25))._repr_html_()
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in page.split("<tr")[2:]]
    assert rows[0] == ["4", "untouched images", "70.00 → 69.75", "−0.25", "−1.25 to +0.75"]
    assert [row[1] for row in rows] == ["untouched images", "hold-out", "all evaluated images"]
    assert "a&lt;b: " in page and "a<b" not in page and 'href="runs/mine/report/index.html"' in page
