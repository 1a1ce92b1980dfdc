"""Figure 1 of a run as SVG: cycles, peaks, end models, the bounds, and under it the discriminator and the buffer."""

import math
import re

from load_tf.report.charts import (
    LEFT,
    RIGHT,
    Line,
    Scale,
    curve,
    horizontal,
    horizontal_axis,
    shade,
    svg,
    vertical_axis,
)
from load_tf.report.convergence import asked_about_places, kept_accuracy, limits
from load_tf.report.endings import ENDINGS, ending
from load_tf.report.markup import Markup, join, tag
from load_tf.report.timeline import Cycle, Timeline

_WALK, _PAIRS, _ROW = 300.0, 64.0, 22.0
"""Heights in SVG units: of the walk, of the discriminator's strip and of a row of the buffer."""
_LABEL = 80.0
"""SVG units that a peak's name and mIoU take at the most."""


def draw(run: Timeline) -> Markup:
    """A run as far as it got; one cycle at least has begun."""
    x = horizontal(0, run.last)
    judged = [(cycle, value) for cycle in run.cycles if (value := kept_accuracy(cycle)) is not None]
    top, bottom = 16.0, _WALK
    low, high = limits(run)
    y = Scale(low, high, bottom, top)
    pairs_bottom = bottom + (_PAIRS if judged else 0)
    rows = max([1, *(len(cycle.buffer) for cycle in run.cycles)])
    buffer_top = pairs_bottom + 12
    end = buffer_top + rows * _ROW
    bands = [(cycle.start, cycle.last) for cycle in run.cycles[1::2]]
    parts = [
        shade(bands, x, top, end),
        vertical_axis(y, x),
        *(_levels(cycle, run, x, y) for cycle in run.cycles),
        *(_walk(cycle, run.cycles[i - 1] if i else None, x, y) for i, cycle in enumerate(run.cycles)),
        *(_end(cycle, x, y) for cycle in run.cycles if cycle.end),
        *(_peak(cycle, x, y) for cycle in run.cycles if cycle.peak),
        _judged(judged, "places" if asked_about_places(run) else "pairs", x, bottom + 8, pairs_bottom)
        if judged
        else None,
        *(_buffer(cycle, x, buffer_top) for cycle in run.cycles),
        tag("text", "buffer", x=LEFT - 8, y=buffer_top + 15, class_="end small"),
        tag("text", "mIoU, %", x=LEFT - 8, y=top - 5, class_="end small"),
        horizontal_axis(x, end, "adversarial iterations, over all cycles"),
    ]
    return tag(
        "figure", _legend(run, lowest_shown=low), svg(join(*parts), end + 36, "the walk of the run"), class_="chart"
    )


def model_name(name: str) -> Markup:
    """`g1` and `ge0_1` as Figure 1 writes them, as text of an SVG; any other name as it is."""
    if match := re.fullmatch(r"g(\d+)", name):
        return join("g", tag("tspan", match[1], dy=3, class_="index"))
    if match := re.fullmatch(r"ge(\d+)_(\d+)", name):
        raised = tag("tspan", "e", dy=-4, class_="index")
        return join("g", raised, tag("tspan", f"{match[1]},{match[2]}", dy=7, class_="index"))
    return join(name)


def _legend(run: Timeline, lowest_shown: float) -> Markup:
    below = 100 * (min(cycle.start_miou for cycle in run.cycles) - run.lower) < lowest_shown
    start = ("black", "start model, μs" if run.upper else "start model, μs: a peak has to pass it")
    upper = ("green", f"upper bound, +{100 * run.upper:g}: a peak has to pass it")
    entries = [
        ("blue", "mIoU on the hold-out"),
        start,
        *([upper] if run.upper else []),
        ("red", f"lower bound, −{100 * run.lower:g}: a cycle ends there" + (" (below the picture)" if below else "")),
    ]
    signs = ["★ a peak, the next start model", *(f"{how.sign} end: {how.label}" for how in ENDINGS.values())]
    return tag(
        "figcaption",
        tag("span", *(tag("span", tag("i", class_=f"key {c}"), text) for c, text in entries), class_="legend"),
        tag("span", *(tag("span", sign) for sign in signs), class_="legend"),
    )


def _levels(cycle: Cycle, run: Timeline, x: Scale, y: Scale) -> Markup:
    """The start model's level and the two bounds of one cycle."""
    parts = []
    upper = [(run.upper, "green dashed")] if run.upper else []  # 0 would be a second line on the first
    for offset, colour in ((0.0, "black"), *upper, (-run.lower, "red dashed")):
        value = 100 * (cycle.start_miou + offset)
        if y.low <= value <= y.high:
            parts.append(
                tag("line", x1=x(cycle.start), x2=x(cycle.last), y1=y(value), y2=y(value), class_=f"bound {colour}")
            )
    return join(*parts)


def _walk(cycle: Cycle, before: Cycle | None, x: Scale, y: Scale) -> Markup:
    places = list(range(cycle.start, cycle.last + 1))
    values = [100 * value for value in (cycle.start_miou, *cycle.miou)]
    step_back = None
    if before and before.miou and math.isfinite(before.miou[-1]):
        heights = [y(min(max(100 * value, y.low), y.high)) for value in (before.miou[-1], cycle.start_miou)]
        step_back = tag(
            "line", x1=x(cycle.start), x2=x(cycle.start), y1=heights[0], y2=heights[1], class_="bound grey dotted"
        )
    line = Line(f"cycle {cycle.number}, iteration", "blue", places, values)
    return join(step_back, curve(line, x, y, lambda value: f"{value:.2f} %"))


def _end(cycle: Cycle, x: Scale, y: Scale) -> Markup:
    assert cycle.end is not None
    finite = [value for value in (cycle.start_miou, *cycle.miou) if not math.isnan(value)]
    place, height = x(cycle.last), y(min(max(100 * finite[-1], y.low), y.high))
    how = ending(cycle.end["reason"])
    words = f"cycle {cycle.number} ends after {cycle.end['iteration']} iterations: {how.sentence}"
    return tag(
        "g",
        tag("title", words),
        tag("text", how.sign, x=place, y=height + 5, class_="middle sign"),
        tag("text", model_name(cycle.end["model"]), x=place - 8, y=height + 18, class_="end"),
        class_="mark red",
    )


def _peak(cycle: Cycle, x: Scale, y: Scale) -> Markup:
    assert cycle.peak is not None
    place, miou = x(cycle.running(cycle.peak["iteration"])), 100 * cycle.peak["miou"]
    # Centred over the last iteration it would be cut at the picture's edge.
    at_edge = place > x.last - _LABEL / 2
    anchor = {"x": x.last + RIGHT - 2, "class_": "end"} if at_edge else {"x": place, "class_": "middle"}
    return tag(
        "g",
        tag("title", f"peak in cycle {cycle.number}, iteration {cycle.peak['iteration']}: {miou:.2f} %"),
        tag("text", "★", x=place, y=y(miou) + 5, class_="middle star"),
        tag("text", model_name(cycle.peak["model"]), f" {miou:.2f}", y=y(miou) - 12, **anchor),
        class_="mark green",
    )


def _judged(judged: list[tuple[Cycle, float]], what: str, x: Scale, top: float, bottom: float) -> Markup:
    """How often the discriminator that judged a cycle ranks an unseen real map, or a right place, above a wrong one."""
    y = Scale(min([40.0, *(100 * value for _, value in judged)]), 104.0, bottom, top + 12)
    parts = [tag("line", x1=x.first, x2=x.last, y1=y(50), y2=y(50), class_="level")]
    parts += [tag("text", f"{value:g}", x=LEFT - 8, y=y(value) + 4, class_="end") for value in (50, 100)]
    parts.append(tag("text", f"{what} right, %", x=x.first + 4, y=top + 8, class_="small"))
    for cycle, value in judged:
        first, last, height = x(cycle.start), x(cycle.last), y(100 * value)
        note = tag("title", f"discriminator before cycle {cycle.number}: {100 * value:.1f} % of the {what} right")
        parts.append(tag("line", note, x1=first, x2=last, y1=height, y2=height, class_="bound blue thick"))
        if last - first > 30:
            parts.append(tag("text", f"{100 * value:.0f}", x=(first + last) / 2, y=height - 4, class_="middle small"))
    return tag("g", *parts)


def _buffer(cycle: Cycle, x: Scale, top: float) -> Markup:
    """The models whose label maps the discriminator was trained on, the start model's first."""
    first, width = x(cycle.start), x(cycle.last) - x(cycle.start)
    parts = []
    for row, name in enumerate(cycle.buffer):
        colour = "green" if row == 0 else "orange"
        box = tag("rect", x=first + 1, y=top + row * _ROW, width=max(width - 2, 1.0), height=_ROW - 2)
        text = None
        if width > 30:
            text = tag("text", model_name(name), x=first + width / 2, y=top + row * _ROW + 14, class_="middle")
        parts.append(
            tag("g", tag("title", f"cycle {cycle.number}: label maps of {name}"), box, text, class_=f"set {colour}")
        )
    return join(*parts)
