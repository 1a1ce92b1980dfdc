"""Figure 1 of the run as it happened: mIoU over the iterations, and under it the discriminator and the buffer."""

import math
import re
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from load_tf.report import canvas
from load_tf.report.endings import ending
from load_tf.report.timeline import Cycle, Event, Timeline, finite_or_nan, timeline

_MAX_LABELLED_CYCLES = 16
"""With more cycles than this the end models' names would cover the curve."""
_AXES_PIXELS = 1050


def draw(events: Iterable[Event], title: str) -> bytes:
    """Draws a run from its journal.

    On top, mIoU on the hold-out: every cycle starts at the start model's level, `mu_s`; a peak has to pass
    `mu_s + beta_u`, the cycle ends at `mu_s - beta_l` or when patience does. A thin line is the mIoU on the watched
    images, where there are some, moved to the same level at the start of the run. Below, how often the discriminator
    that judged the cycle ranks an unseen real map above its fake one; at the bottom the models whose label maps it was
    trained on.

    Args:
      events: the journal's lines, as `timeline` reads them; a run that is not over yet is drawn as far as it got.
      title: one line.

    Returns:
      A PNG, 1200 pixels wide; equal journals give equal bytes.
    """
    run = timeline(events)
    judged = any("pair_accuracy" in epoch for cycle in run.cycles for epoch in cycle.discriminator)
    ratios = [5.0, *([1.1] if judged else []), 0.36 * max([1, *(len(cycle.buffer) for cycle in run.cycles)])]
    with canvas.plain_style():
        height = sum(ratios) * 0.9 + 1.5
        figure = canvas.new_figure(height)
        grid = figure.add_gridspec(len(ratios), 1, height_ratios=ratios, hspace=0.1)
        top = figure.add_subplot(grid[0])
        axes = [top, *(figure.add_subplot(grid[i], sharex=top) for i in range(1, len(ratios)))]
        _shade(axes, run)
        _draw_walk(top, run)
        if judged:
            _draw_discriminator(axes[1], run)
        _draw_buffer(axes[-1], run)
        for axis in axes[:-1]:
            axis.tick_params(labelbottom=False)
        axes[-1].set_xlabel("adversarial iterations, over all cycles")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        top.set_xlim(0, max(run.last, 1) * 1.01)
        figure.suptitle(title, x=0.075, y=1 - 0.12 / height, ha="left", va="top", fontsize=12, color=canvas.BLACK)
        handles, labels = top.get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(0.066, 1 - 0.37 / height), ncol=4, frameon=False,
            fontsize=9, columnspacing=1.4, handlelength=1.7,
        )  # fmt: skip
        above = 0.95 + 0.19 * max(0, -(-len(handles) // 4) - 2)
        figure.subplots_adjust(left=0.075, right=0.985, top=1 - above / height, bottom=0.6 / height)
        return canvas.png(figure)


def model_name(name: str) -> str:
    """`g1` and `ge0_1` as Figure 1 writes them, in matplotlib's mathtext; any other name as it is."""
    if match := re.fullmatch(r"g(\d+)", name):
        return f"$g_{{{match[1]}}}$"
    if match := re.fullmatch(r"ge(\d+)_(\d+)", name):
        return f"$g^e_{{{match[1]},{match[2]}}}$"
    return name


def _shade(axes: list[Axes], run: Timeline) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(color=canvas.GREY, length=3)
        for cycle in run.cycles[1::2]:
            axis.axvspan(cycle.start, cycle.last, color=canvas.PALE, linewidth=0, zorder=0)


def _draw_walk(axis: Axes, run: Timeline) -> None:
    low, high = limits(run, watched=True)
    _draw_levels(axis, run, low)
    watched = False
    for i, cycle in enumerate(run.cycles):
        x = np.arange(cycle.start, cycle.last + 1)
        y = 100 * np.array([cycle.start_miou, *cycle.miou])
        label = "mIoU on the hold-out" if i == 0 else None
        size = 3.0 if run.last <= 150 else 0.0
        axis.plot(x, y, "-o", color=canvas.BLUE, linewidth=1.4, markersize=size, label=label, zorder=3)
        if not np.isnan(cycle.untouched).all():
            label = None if watched else "watched images, moved to the same start"
            axis.plot(x[1:], 100 * np.array(cycle.untouched), color=canvas.ORANGE, linewidth=0.9, label=label, zorder=2)
            watched = True
        below = y < low
        axis.plot(x[below], np.full(below.sum(), low), "|", color=canvas.BLUE, markersize=9, clip_on=False, zorder=3)
        if i and run.cycles[i - 1].miou:
            before = 100 * run.cycles[i - 1].miou[-1]
            axis.plot([cycle.start] * 2, [before, y[0]], ":", color=canvas.GREY, linewidth=1, zorder=2)
    _mark_ends(axis, run, low)
    _mark_peaks(axis, run)
    axis.set_ylim(low, high)
    axis.set_ylabel("mIoU (%)")


def _draw_levels(axis: Axes, run: Timeline, low: float) -> None:
    """The start model's level and the two bounds, cycle by cycle."""
    if math.isnan(run.start_miou):
        return
    columns = [(cycle.start, cycle.last, cycle.start_miou) for cycle in run.cycles] or [(0, 1, run.start_miou)]
    start = r"start model, $\mu_s$" + ("" if run.upper else r" ($\beta_u$ = 0)")
    upper = (run.upper, "--", canvas.GREEN, rf"$\mu_s + \beta_u$ ($\beta_u$ = {100 * run.upper:g})")
    levels = (
        (0.0, "-", canvas.BLACK, start),
        *([upper] if run.upper else []),  # 0 would be a second line on the first
        (-run.lower, "--", canvas.VERMILLION, rf"$\mu_s - \beta_l$ ($\beta_l$ = {100 * run.lower:g})"),
    )
    for offset, style, colour, label in levels:
        heights = [100 * (level + offset) for _, _, level in columns]
        if max(heights) < low:
            label += ", below"
        for i, ((first, last, _), height) in enumerate(zip(columns, heights, strict=True)):
            axis.plot(
                [first, last], [height] * 2, style, color=colour, linewidth=1, label=label if i == 0 else None, zorder=2
            )


def limits(run: Timeline, watched: bool = False) -> tuple[float, float]:
    """The mIoU to show, in per cent: all there is, but no deeper under the lower bound than a fifth of its depth.

    The lower bound itself is shown if a cycle came halfway to it; elsewhere it would press the curve flat.

    Args:
      run: what is shown.
      watched: whether the watched images' curve is, too.
    """
    shown = [value for cycle in run.cycles for value in (*cycle.miou, *(cycle.untouched if watched else ()))]
    reached = [value for value in shown if not math.isnan(value)]
    starts = [cycle.start_miou for cycle in run.cycles] or [run.start_miou]
    if math.isnan(starts[0]):
        return 0.0, 100.0
    lowest = min([*reached, *starts])
    if lowest < min(starts) - run.lower / 2:
        lowest = max(min(lowest, min(starts) - run.lower), min(starts) - 1.2 * run.lower)
    highest = max([*reached, max(starts) + run.upper])
    margin = max(0.08 * (highest - lowest), 0.0005)
    return 100 * (lowest - margin), 100 * (highest + 1.5 * margin)


def _mark_ends(axis: Axes, run: Timeline, low: float) -> None:
    seen = set()
    for cycle in run.cycles:
        if cycle.end is None:
            continue
        how = ending(cycle.end["reason"])
        label = f"end model: {how.label}"
        finite = [value for value in [cycle.start_miou, *cycle.miou] if not math.isnan(value)]
        y = max(100 * finite[-1], low)
        axis.plot(
            cycle.last, y, how.marker, color=canvas.VERMILLION, markersize=7, markeredgecolor="white", zorder=5,
            clip_on=False, label=None if label in seen else label,
        )  # fmt: skip
        seen.add(label)
        if len(run.cycles) <= _MAX_LABELLED_CYCLES:
            axis.annotate(
                model_name(cycle.end["model"]), (cycle.last, y), xytext=(-5, -3), textcoords="offset points",
                ha="right", va="top", color=canvas.VERMILLION, fontsize=10, zorder=6,
            )  # fmt: skip


def _mark_peaks(axis: Axes, run: Timeline) -> None:
    peaks = [(cycle.running(cycle.peak["iteration"]), cycle.peak) for cycle in run.cycles if cycle.peak]
    for i, ((x, peak), text) in enumerate(zip(peaks, _peak_labels(peaks, run), strict=True)):
        y = 100 * peak["miou"]
        axis.plot(
            x, y, "*", color=canvas.GREEN, markersize=13, markeredgecolor="white", zorder=6,
            label="peak: the next start model" if i == 0 else None,
        )  # fmt: skip
        aside, side = (
            (-2, "left") if x * _scale(run) < 50 else (9, "right") if _at_right_edge(x, run) else (0, "center")
        )
        axis.annotate(
            text, (x, y), xytext=(aside, 8), textcoords="offset points", ha=side, color=canvas.GREEN, fontsize=10,
            zorder=7,
        )  # fmt: skip


def _peak_labels(peaks: list[tuple[int, Event]], run: Timeline) -> list[str]:
    """Name and mIoU where there is room, the last peak's first of all; elsewhere the name alone, or nothing."""
    labels: list[str] = []
    free = math.inf
    for x, peak in reversed(peaks):
        pixels, name = x * _scale(run), model_name(peak["model"])
        choices = ((52, f"{name}  {100 * peak['miou']:.2f}"), (16, name))
        beyond = 15 if _at_right_edge(x, run) else None
        half, text = next(((half, text) for half, text in choices if pixels + (beyond or half) < free), (0, ""))
        labels.append(text)
        free = pixels - (2 * half - beyond if beyond else half) if text else free
    return labels[::-1]


def _at_right_edge(x: int, run: Timeline) -> bool:
    """Whether a label centred here would be cut: the picture ends a few pixels behind the last iteration."""
    return x * _scale(run) > _AXES_PIXELS - 40


def _draw_discriminator(axis: Axes, run: Timeline) -> None:
    kept = [(cycle, accuracy) for cycle in run.cycles if (accuracy := kept_accuracy(cycle)) is not None]
    for cycle, accuracy in kept:
        axis.plot(
            [cycle.start, cycle.last], [100 * accuracy] * 2, color=canvas.BLUE, linewidth=2, solid_capstyle="butt"
        )
        if _pixels(cycle, run) > 34:
            axis.annotate(
                f"{100 * accuracy:.0f}", ((cycle.start + cycle.last) / 2, 100 * accuracy), xytext=(0, 3),
                textcoords="offset points", ha="center", va="bottom", fontsize=8, color=canvas.BLUE,
            )  # fmt: skip
    axis.axhline(50, linestyle="--", color=canvas.GREY, linewidth=1)
    axis.set_ylim(min([40, *(100 * accuracy - 8 for _, accuracy in kept)]), 112)
    axis.annotate(
        "chance", (1, 50), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
        ha="right", fontsize=8, color=canvas.GREY,
    )  # fmt: skip
    axis.set_yticks([50, 100])
    axis.set_ylabel("D: places\nright (%)" if asked_about_places(run) else "D: pairs\nright (%)", fontsize=9)


def asked_about_places(run: Timeline) -> bool:
    """Whether the discriminator was asked where maps are right; its pairs then say nothing."""
    return any("place_auc" in epoch for cycle in run.cycles for epoch in cycle.discriminator)


def kept_accuracy(cycle: Cycle) -> float | None:
    """Of the epoch that the training before the cycle kept: pair accuracy, or of places the area under the curve."""
    epochs = [epoch for epoch in cycle.discriminator if "pair_accuracy" in epoch]
    if not epochs:
        return None
    ends = [event["best"] for event in cycle.discriminator if event["event"] == "discriminator_end"]
    for epoch in epochs:
        if ends and epoch["epoch"] == ends[-1]:
            return _judged(epoch)
    losses = [finite_or_nan(epoch.get("loss")) for epoch in epochs]
    best = min(range(len(epochs)), key=lambda i: (math.isnan(losses[i]), losses[i], i))
    return _judged(epochs[best])


def _judged(epoch: Event) -> float:
    return float(epoch.get("place_auc", epoch["pair_accuracy"]))


def _draw_buffer(axis: Axes, run: Timeline) -> None:
    for cycle in run.cycles:
        width, pixels = cycle.last - cycle.start, _pixels(cycle, run)
        for i, name in enumerate(cycle.buffer):
            colour = canvas.GREEN if i == 0 else canvas.ORANGE
            box = Rectangle((cycle.start, i), width, 1, facecolor=colour, alpha=0.35, edgecolor="white", linewidth=1.5)
            axis.add_patch(box)
            if pixels > 14:
                axis.text(
                    cycle.start + width / 2, i + 0.5, model_name(name), ha="center", va="center",
                    fontsize=10 if pixels > 34 else 7, rotation=0 if pixels > 26 else 90, color=canvas.BLACK,
                )  # fmt: skip
    axis.set_ylim(0, max([1, *(len(cycle.buffer) for cycle in run.cycles)]))
    axis.set_yticks([])
    axis.set_ylabel("buffer", fontsize=9)


def _pixels(cycle: Cycle, run: Timeline) -> float:
    """A cycle's width in the picture."""
    return (cycle.last - cycle.start) * _scale(run)


def _scale(run: Timeline) -> float:
    """Pixels an iteration takes."""
    return _AXES_PIXELS / max(run.last, 1)
