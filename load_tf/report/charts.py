"""Line charts as SVG that a page's style sheet colours, so that they are readable on light and on dark paper."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

from load_tf.report.markup import Markup, join, tag

WIDTH, HALF = 960.0, 520.0
"""SVG units across a picture of the page's width, and across one of two side by side."""
LEFT, RIGHT = 58.0, 14.0
"""Margins of the plot, in SVG units: room for the numbers of the vertical axis."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """From values to SVG units: `low` is at `first`, `high` at `last`."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
      label: for the legend.
      colour: a class of the style sheet: blue, orange, green, red, sky or grey.
      x: positions.
      y: values, NaN where there is none; the curve has a gap there.
    """

    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]


def horizontal(low: float, high: float, width: float = WIDTH) -> Scale:
    """A horizontal axis that leaves room for the numbers of the vertical one."""
    return Scale(low, max(high, low + 1), LEFT, width - RIGHT)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / max(count, 1)
    if not raw > 0 or not math.isfinite(raw):
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A number on an axis or in a tip, four digits that count."""
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    height: float = 210.0,
    bands: Sequence[tuple[float, float]] = (),
    y_range: tuple[float, float] | None = None,
    level: tuple[float, str] | None = None,
    tip: Callable[[float], str] = number,
) -> Markup:
    """Curves over one axis, half a page wide, with a legend; values can be read by pointing at them.

    Args:
      lines: the curves; one at least has a finite value.
      title: what is drawn, for those who see it and for screen readers.
      x_label: under the horizontal axis.
      height: in SVG units, of which the width has `HALF`.
      bands: shaded ranges of x, such as every other cycle.
      y_range: of the vertical axis; None for all there is.
      level: a dashed line at a value, and its name.
      tip: a value in words.
    """
    top, bottom = 10.0, height - 34.0
    values = [value for line in lines for value in line.y if math.isfinite(value)] or [0.0]
    values += [level[0]] if level and y_range is None else []
    low, high = y_range or _padded(min(values), max(values))
    places = [place for line in lines for place in line.x] or [0.0]
    x, y = horizontal(min([0.0, *places]), max(places), HALF), Scale(low, high, bottom, top)
    parts = [shade(bands, x, top, bottom), vertical_axis(y, x, tip), horizontal_axis(x, bottom, x_label)]
    if level:
        parts.append(tag("line", x1=x.first, x2=x.last, y1=y(level[0]), y2=y(level[0]), class_="level"))
        parts.append(tag("text", level[1], x=x.first + 4, y=y(level[0]) - 5, class_="small"))
    for line in lines:
        parts.append(curve(line, x, y, tip))
    legend = [tag("span", tag("i", class_=f"key {line.colour}"), line.label) for line in lines]
    return tag(
        "figure",
        tag("figcaption", tag("b", title), tag("span", *legend, class_="legend")),
        svg(join(*parts), height, title, HALF),
        class_="chart",
    )


def svg(content: Markup, height: float, title: str, width: float = WIDTH) -> Markup:
    """A picture as wide as its place; on a narrow screen it scrolls, since its words would get too small to read."""
    least = f"min-width:{0.95 * width:.0f}px"
    picture = tag("svg", content, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=title, style=least)
    return tag("div", picture, class_="scroll", tabindex=0)


def curve(line: Line, x: Scale, y: Scale, tip: Callable[[float], str] = number) -> Markup:
    """A curve with a point for every value, as far as there is room for points."""
    pieces: list[list[str]] = [[]]
    points = []
    radius = 3.0 if len(line.x) <= 150 else 1.6
    for place, value in zip(line.x, line.y, strict=True):
        if not math.isfinite(value):
            pieces.append([])
            continue
        inside = min(max(value, y.low), y.high)
        pieces[-1].append(f"{x(place):.1f},{y(inside):.1f}")
        note = tag("title", f"{line.label}, {number(place)}: {tip(value)}")
        points.append(tag("circle", note, cx=x(place), cy=y(inside), r=radius))
    paths = [tag("polyline", points=" ".join(piece)) for piece in pieces if len(piece) > 1]
    return tag("g", *paths, *points, class_=f"line {line.colour}")


def vertical_axis(y: Scale, x: Scale, tip: Callable[[float], str] = number) -> Markup:
    """Grid lines with their numbers."""
    parts = []
    for value in ticks(y.low, y.high):
        parts.append(tag("line", x1=x.first, x2=x.last, y1=y(value), y2=y(value), class_="grid"))
        parts.append(tag("text", tip(value), x=x.first - 8, y=y(value) + 4, class_="end"))
    return join(*parts)


def horizontal_axis(x: Scale, bottom: float, label: str) -> Markup:
    """Whole numbers under the plot, and what they count."""
    places = [value for value in ticks(x.low, x.high, 7) if float(value).is_integer()]
    numbers = [tag("text", number(place), x=x(place), y=bottom + 15, class_="middle") for place in places]
    return join(*numbers, tag("text", label, x=(x.first + x.last) / 2, y=bottom + 30, class_="middle small"))


def shade(bands: Sequence[tuple[float, float]], x: Scale, top: float, bottom: float) -> Markup:
    """Every given range of x as a pale column."""
    return join(
        *(
            tag("rect", x=x(first), y=top, width=max(x(last) - x(first), 0.0), height=bottom - top, class_="band")
            for first, last in bands
        )
    )


def every_other(cycles: Iterable[object]) -> list[tuple[float, float]]:
    """Where to shade a curve whose points, at 1, 2, 3 and so on, belong to these cycles."""
    bands, place = [], 0
    for i, (_, group) in enumerate(itertools.groupby(cycles)):
        count = sum(1 for _ in group)
        if i % 2:
            bands.append((place + 0.5, place + count + 0.5))
        place += count
    return bands


def _padded(low: float, high: float) -> tuple[float, float]:
    """With a margin; around a value that never changes, a range wide enough for a few round numbers."""
    margin = 0.06 * (high - low) or max(abs(high) * 0.05, 0.5)
    return low - margin, high + margin
