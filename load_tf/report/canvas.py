"""What the figures share: colours everyone can tell apart, and PNG bytes that depend on nothing but the data."""

import contextlib
import io
from collections.abc import Iterator

import matplotlib
import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLACK, GREY, PALE = "#222222", "#777777", "#f2f2f2"
BLUE, ORANGE, GREEN, VERMILLION, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

WIDTH = 10.0
"""Inches; 1200 pixels, the width of a README."""
DPI = 120


@contextlib.contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's own defaults, whatever the user's matplotlibrc says; the same picture everywhere."""
    with matplotlib.rc_context(), matplotlib.style.context("default"):
        matplotlib.rcParams.update({"font.size": 10, "axes.edgecolor": GREY, "axes.linewidth": 0.8})
        yield


def new_figure(height: float) -> Figure:
    """A figure of README width, `height` inches high, that needs no display."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG: no date, no version, so equal figures have equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
