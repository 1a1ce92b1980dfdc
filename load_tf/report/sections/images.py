"""The images that changed most."""

from collections.abc import Mapping
from typing import Any

from load_tf.report.markup import Markup, join, tag
from load_tf.report.stored import Run
from load_tf.report.words import signed

TITLE = "Best and worst images"


def draw(run: Run) -> Markup | None:
    """A card for every image: photograph, label maps before and after with a slider between, the truth on demand."""
    found = run.pictures
    if not found["images"]:
        return None
    cards = [_card(image) for image in found["images"]]
    legend = [
        tag("span", tag("i", class_="key", style=f"background:rgb({','.join(str(int(v)) for v in entry['colour'])})"),
            entry["name"])
        for entry in found["classes"]
    ]  # fmt: skip
    opacity = tag("input", type="range", min=0, max=100, value=60, class_="opacity", id="opacity")
    return join(
        tag("p", "The images whose share of correct pixels changed most, both ways. Left of the line the baseline, "
            "right of it LoAd; the line can be dragged.", class_="note"),
        tag("p", tag("label", "label maps over the photograph ", opacity), class_="controls"),
        tag("div", *cards, class_="cards"),
        tag("p", *legend, class_="legend"),
    )  # fmt: skip


def _card(image: Mapping[str, Any]) -> Markup:
    height, width = (int(side) for side in image["size"])
    change = float(image["load"]) - float(image["baseline"])
    kind = "better" if image["share"] > 0 else "worse"

    def layer(name: str, words: str) -> Markup:
        return tag(
            "img", src=image[name], class_=name.replace("_", "-"), alt=f"{words} of {image['id']}", draggable="false"
        )

    stack = tag(
        "div",
        layer("photo", "photograph"),
        layer("truth_map", "ground truth"),
        layer("baseline_map", "label map of the baseline"),
        layer("load_map", "label map of LoAd"),
        tag("span", "baseline", class_="side left"),
        tag("span", "LoAd", class_="side right"),
        tag(
            "input", type="range", min=0, max=100, value=50, class_="cut", aria_label=f"baseline or LoAd, {image['id']}"
        ),
        class_="stack",
        style=f"aspect-ratio:{width}/{height}",
    )
    words = tag(
        "figcaption",
        tag("span", str(image["id"]), class_="id"),
        tag("span", f"mIoU {image['baseline']:.1f} → {image['load']:.1f} ({change:+.1f})".replace("-", "−")),
        tag("b", f"pixels right: {signed(image['share'])} points", class_=kind),
        tag("label", tag("input", type="checkbox", class_="truth"), " ground truth"),
    )
    return tag("figure", stack, words, class_="card")
