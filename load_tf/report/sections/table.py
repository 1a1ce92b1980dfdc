"""Table 1 of the paper, of this run."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from load_tf.evaluation.table import COLUMNS, MEAN
from load_tf.report.markup import Markup, join, tag
from load_tf.report.stored import Run
from load_tf.report.words import interval, judge, signed

TITLE = "IoU by class"


def draw(run: Run) -> Markup | None:
    """Table 1: a click on a heading sorts, the gain is coloured where its interval does not hold zero."""
    rows = dict(run.summary.get("classes", {}))
    if not rows:
        return None
    values = {name: dict(zip(COLUMNS, row, strict=True)) for name, row in rows.items()}
    titles = {"baseline": "baseline", "load": "LoAd", "gain": "gain", "interval": "95\N{NO-BREAK SPACE}% interval",
              "paper_baseline": "paper baseline", "paper_load": "paper LoAd"}  # fmt: skip
    shown = [c for c in titles if any(row["gain_low" if c == "interval" else c] is not None for row in values.values())]
    # A class without a right pixel before and after has an interval of no length, which says nothing of a scale.
    ends = [abs(v) for row in values.values() for v in (row["gain_low"], row["gain_high"]) if v]
    # One class of two images must not press the bars of all others flat.
    reach = min(max(ends), 6 * statistics.median(ends)) if ends else 1.0
    header = tag(
        "tr",
        *(
            tag("th", tag("button", title, type="button"), scope="col", class_="text" if not i else None)
            for i, title in enumerate(["class", *(titles[c] for c in shown)])
        ),
    )
    never = run.summary.get("never_predicted") or {}
    rows_of = {
        name: _row(name, row, shown, reach, [column for column, names in never.items() if name in names])
        for name, row in values.items()
    }
    body = [row for name, row in rows_of.items() if name != MEAN]
    mean = [row for name, row in rows_of.items() if name == MEAN]
    note = (
        "IoU in per cent over all evaluated images. Green and red: the 95\N{NO-BREAK SPACE}% paired bootstrap interval "
        "of the gain does not hold zero. Bars show the interval around zero, cut where it is very wide. A click on a "
        "heading sorts."
    )
    note = " ".join([note, *run.summary.get("notes", [])])
    return join(
        tag("p", note, class_="note"),
        tag("div", tag("table", tag("thead", header), tag("tbody", *body), tag("tfoot", *mean), class_="sortable"),
            class_="scroll", tabindex=0),
    )  # fmt: skip


def _row(
    name: str, row: Mapping[str, float | None], shown: Sequence[str], reach: float, never: Sequence[str]
) -> Markup:
    cells = []
    for column in shown:
        value = row["gain" if column == "interval" else column]
        if value is None:
            cells.append(tag("td"))
        elif column == "gain":
            cells.append(tag("td", signed(value), data_value=value, class_=judge(row)))
        elif column == "interval":
            cells.append(tag("td", _bar(row, reach), tag("span", interval(row)), data_value=value, class_="interval"))
        elif column in never:
            cells.append(tag("td", "never predicted", data_value=value))
        else:
            cells.append(tag("td", f"{value:.2f}", data_value=value))
    return tag("tr", tag("th", name, scope="row", class_="text"), *cells)


def _bar(row: Mapping[str, Any], reach: float) -> Markup | None:
    """The interval drawn around zero, to one scale for all rows."""
    if row["gain_low"] is None or row["gain_high"] is None:
        return None
    names = ("gain_low", "gain_high", "gain")
    low, high, gain = (min(max(60 + 57 * row[name] / (reach or 1), 0.0), 120.0) for name in names)
    return tag(
        "svg",
        tag("line", x1=60, x2=60, y1=0, y2=14, class_="zero"),
        tag("line", x1=low, x2=high, y1=7, y2=7, class_=f"span {judge(row)}"),
        tag("circle", cx=gain, cy=7, r=3, class_=f"gain {judge(row)}"),
        viewBox="0 0 120 14",
        aria_hidden="true",
    )
