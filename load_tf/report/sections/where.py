"""Where the gain is: near boundaries or inside, on outlines, in the number of pieces, in class proportions."""

from collections.abc import Mapping, Sequence
from typing import Any

from load_tf.evaluation.where import number
from load_tf.report.markup import Markup, join, tag
from load_tf.report.stored import Run
from load_tf.report.words import interval, judge, signed

TITLE = "Where the gain is"


def draw(run: Run) -> Markup | None:
    """Two tables, over the untouched images; nothing for a run of a version that did not measure this."""
    found = run.summary.get("where")
    if not found:
        return None
    untouched = found["images"] == (run.summary.get("untouched") or {}).get("images")
    images = f"{found['images']} {'untouched' if untouched else 'evaluated'} images"
    measures = [
        [
            tag("th", row["name"], scope="row", class_="text"),
            tag("td", f"{row['pixels']:.1f} %" if row.get("pixels") is not None else None),
            tag("td", number(row["baseline"])),
            tag("td", number(row["load"])),
            tag("td", signed(row["gain"]), class_=judge(row)) if row["gain"] is not None else tag("td"),
            tag("td", interval(row)),
        ]
        for row in found["measures"]
    ]
    classes = [_class(name, of) for name, of in found["classes"].items()]
    return join(
        tag("p", f"Over the {images}, in per cent. {' '.join(found['notes'])}", class_="note"),
        _table(["where", "of the pixels", "baseline", "LoAd", "gain", "95\N{NO-BREAK SPACE}% interval"], measures),
        tag("p", "By class: true values beside those of the label maps before and after.", class_="note"),
        _table(
            ["class", "boundary F1: baseline", "LoAd", "components: true", "baseline", "LoAd", "% of pixels: true",
             "baseline", "LoAd"],
            classes,
        ),
    )  # fmt: skip


def _class(name: str, of: Mapping[str, Sequence[Any]]) -> list[Markup]:
    cells = [*map(number, of["boundary_f1"]), *map(str, of["components"]), *map(number, of["proportion"])]
    return [tag("th", name, scope="row", class_="text"), *(tag("td", cell) for cell in cells)]


def _table(titles: Sequence[str], rows: Sequence[Sequence[Markup]]) -> Markup:
    header = tag("tr", *(tag("th", title, scope="col", class_=None if i else "text") for i, title in enumerate(titles)))
    body = tag("tbody", *(tag("tr", *row) for row in rows))
    return tag("div", tag("table", tag("thead", header), body), class_="scroll", tabindex=0)
