"""The sections of the report's page, each from plain values; None where there is nothing to show."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from load_tf.evaluation.table import COLUMNS, MEAN, over_groups
from load_tf.report import health as game_health
from load_tf.report import walk as figure
from load_tf.report.endings import ending
from load_tf.report.markup import Markup, join, tag
from load_tf.report.timeline import Event, timeline

PARTS = (
    ("untouched", "untouched images", "the honest gain: nothing was chosen on them"),
    ("holdout", "hold-out", "LoAd chose its model on these"),
    ("full", "all evaluated images", "what Table 1 is over"),
)
"""The scores of a summary, the most telling first."""

Summary = Mapping[str, Any]


def verdict(summary: Summary, journal: Sequence[Event]) -> Markup:
    """The result in one sentence and three tiles."""
    scores = [(title, note, summary[key]) for key, title, note in PARTS if _scored(summary, key)]
    if not scores:
        done = sum(event["event"] == "cycle_end" for event in journal)
        return tag("p", f"Not finished: {done} cycles so far, no table yet.", class_="verdict")
    title, _, best = scores[0]
    found = {
        "better": "a gain that the interval keeps above zero",
        "worse": "a loss that the interval keeps below zero",
        "same": "no difference that these images can show",
    }[judge(best)]
    sentence = tag(
        "p",
        f"mIoU {best['baseline']:.2f} → {best['load']:.2f} on {best['images']} {title}: ",
        tag("b", f"{signed(best['gain'])} points", class_=judge(best)),
        f", {found} ({_interval_over(best)}).",
        class_="verdict",
    )
    tiles = [
        tag(
            "div",
            tag("span", f"{title}, {score['images']}", class_="label"),
            tag("b", signed(score["gain"]), class_=judge(score)),
            tag("span", f"{score['baseline']:.2f} → {score['load']:.2f}, {_interval(score) or 'no interval'}"),
            tag("span", note, class_="note"),
            class_="tile",
        )
        for title, note, score in scores
    ]
    return join(sentence, tag("div", *tiles, class_="tiles"))


def what(summary: Summary, journal: Sequence[Event], timings: Sequence[Mapping[str, Any]]) -> Markup:
    """Settings, cycles, peaks and time as a list of terms."""
    run = timeline(journal)
    settings = dict(summary.get("settings", {}))
    if len(settings.get("crop", [])) == 2:
        settings["crop"] = " × ".join(map(str, settings["crop"]))
    facts = [(name.replace("_", " "), _plain(value)) for name, value in settings.items()]
    ends: dict[str, int] = {}
    for cycle in run.cycles:
        if cycle.end:
            reason = ending(cycle.end["reason"]).sentence
            ends[reason] = ends.get(reason, 0) + 1
    peaks = [cycle.peak for cycle in run.cycles if cycle.peak]
    if run.cycles:
        facts.append(
            ("cycles", f"{len(run.cycles)}; " + "; ".join(f"{n} times {reason}" for reason, n in ends.items()))
        )
        facts.append(("adversarial iterations", str(run.last)))
        found = "; ".join(f"cycle {p['cycle']}, iteration {p['iteration']}: {100 * p['miou']:.2f}" for p in peaks)
        facts.append(("peaks", f"{len(peaks)}" + (f" ({found})" if found else "; the result is the start model")))
    total = sum(float(entry.get("seconds", 0.0)) for entry in timings)
    if total:
        facts.append(("time", duration(total)))
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")


def table(summary: Summary) -> Markup | None:
    """Table 1: a click on a heading sorts, the gain is coloured where its interval does not hold zero."""
    rows = dict(summary.get("classes", {}))
    if not rows:
        return None
    values = {name: dict(zip(COLUMNS, row, strict=True)) for name, row in rows.items()}
    titles = {"baseline": "baseline", "load": "LoAd", "gain": "gain", "interval": "95 % interval",
              "paper_baseline": "paper baseline", "paper_load": "paper LoAd"}  # fmt: skip
    shown = [c for c in titles if any(row["gain_low" if c == "interval" else c] is not None for row in values.values())]
    ends = [abs(v) for row in values.values() for v in (row["gain_low"], row["gain_high"]) if v is not None]
    # One class of two images must not press the bars of all others flat.
    reach = min(max(ends), 6 * statistics.median(ends)) if ends else 1.0
    header = tag(
        "tr",
        *(
            tag("th", tag("button", title, type="button"), scope="col", class_="text" if not i else None)
            for i, title in enumerate(["class", *(titles[c] for c in shown)])
        ),
    )
    body = [_row(name, row, shown, reach) for name, row in values.items() if name != MEAN]
    mean = [_row(name, row, shown, reach) for name, row in values.items() if name == MEAN]
    note = (
        "IoU in per cent over all evaluated images. Green and red: the 95 % paired bootstrap interval of the gain "
        "does not hold zero. Bars show the interval around zero, cut where it is very wide. A click on a heading sorts."
    )
    note = " ".join([note, *summary.get("notes", [])])
    return join(
        tag("p", note, class_="note"),
        tag("div", tag("table", tag("thead", header), tag("tbody", *body), tag("tfoot", *mean), class_="sortable"),
            class_="scroll", tabindex=0),
    )  # fmt: skip


def walk(journal: Sequence[Event]) -> Markup | None:
    """Figure 1 of the run."""
    run = timeline(journal)
    if not run.cycles or math.isnan(run.start_miou):
        return None
    note = (
        "Every cycle starts at the start model's level. Its best model above the upper bound becomes the next start "
        "model; the label maps of its end model go into the buffer the discriminator learns from."
    )
    return join(tag("p", note, class_="note"), figure.draw(run))


def images(found: Mapping[str, Any]) -> Markup | None:
    """A card for every image: photograph, label maps before and after with a slider between, the truth on demand."""
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


def health(journal: Sequence[Event]) -> Markup | None:
    """Warnings, and the charts of `load_tf.report.health`."""
    warnings = [tag("p", text, class_="warning") for text in game_health.warnings(journal)]
    charts = game_health.draw(journal)
    return join(*warnings, tag("div", *charts, class_="charts")) if warnings or charts else None


def times(timings: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Seconds of every phase as bars."""
    seconds: dict[str, float] = {}
    peaks: dict[str, float] = {}
    for entry in timings:
        name = str(entry["phase"])
        seconds[name] = seconds.get(name, 0.0) + float(entry["seconds"])
        peaks[name] = max(peaks.get(name, 0.0), float(entry.get("peak_mib", 0.0)))
    if not seconds:
        return None
    longest, total = max(seconds.values()), sum(seconds.values())
    rows = [
        tag(
            "tr",
            tag("th", name.replace("_", " "), scope="row", class_="text"),
            tag("td", tag("i", class_="bar", style=f"width:{100 * value / (longest or 1):.1f}%"), class_="wide"),
            tag("td", duration(value)),
            tag("td", f"{100 * value / (total or 1):.0f} %"),
            tag("td", f"{peaks[name]:,.0f} MiB" if peaks[name] else ""),
        )
        for name, value in sorted(seconds.items(), key=lambda item: -item[1])
    ]
    foot = tag(
        "tr", tag("th", "all", scope="row", class_="text"), tag("td"), tag("td", duration(total)), tag("td"), tag("td")
    )
    return tag(
        "div", tag("table", tag("tbody", *rows), tag("tfoot", foot), class_="times"), class_="scroll", tabindex=0
    )


def config(text: str) -> Markup:
    """Every parameter that had a say, folded up."""
    return tag("details", tag("summary", "Every parameter, as gin wrote it down"), tag("pre", text))


def environment(values: Mapping[str, Any]) -> Markup | None:
    """Versions, devices, threads, seed and revision."""
    if not values:
        return None
    facts = [(name.replace("_", " "), _plain(value)) for name, value in values.items()]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")


def judge(score: Mapping[str, Any]) -> str:
    """`better` or `worse` if the interval of the gain keeps off zero, else `same`."""
    low, high = score["gain_low"], score["gain_high"]
    if low is None or high is None:
        return "same"
    return "better" if low > 0 else "worse" if high < 0 else "same"


def signed(value: float) -> str:
    """Two decimals and a sign; a rounded zero has none."""
    rounded = round(value, 2) + 0.0
    return (f"{rounded:+.2f}" if rounded else "0.00").replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds in words: 45 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _row(name: str, row: Mapping[str, float | None], shown: Sequence[str], reach: float) -> Markup:
    cells = []
    for column in shown:
        value = row["gain" if column == "interval" else column]
        if value is None:
            cells.append(tag("td"))
        elif column == "gain":
            cells.append(tag("td", signed(value), data_value=value, class_=judge(row)))
        elif column == "interval":
            cells.append(tag("td", _bar(row, reach), tag("span", _interval(row)), data_value=value, class_="interval"))
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


def _scored(summary: Summary, key: str) -> bool:
    score = summary.get(key) or {}
    return score.get("baseline") is not None and score.get("load") is not None


def _interval(score: Mapping[str, Any]) -> str:
    low, high = score["gain_low"], score["gain_high"]
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def _interval_over(score: Mapping[str, Any]) -> str:
    # A summary without `groups` is of a version whose intervals took images as independent.
    over = over_groups(score.get("groups"))
    return f"95 % interval {_interval(score)}, {over}" if _interval(score) else f"no interval {over}"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return "–" if value is None else str(value)
