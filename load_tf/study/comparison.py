"""The report of a study: one table, one figure."""

import dataclasses
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, SymmetricalLogLocator

from load_tf.errors import UserError
from load_tf.evaluation.bootstrap import MeanGain, mean_gain_over_runs
from load_tf.experiment.study_plan import START
from load_tf.report import canvas
from load_tf.storage.arrays import write_atomically

_COLOURS = (canvas.VERMILLION, canvas.BLUE, canvas.GREEN, canvas.ORANGE, canvas.SKY, "#CC79A7", canvas.GREY)
_HEADER = (
    "| variant | rate | runs | hold-out gain | **untouched gain** | 95 % interval | constants again | "
    "against the first | verdict | spread | per run | worst | diverged | went back | end models | path | pairs | "
    "min | MiB |"
)
_RULE = "|---|--:|--:|--:|--:|--:|--:|--:|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|"


_Number = TypeVar("_Number", int, float)


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run, as its JSON file has it; mIoU as fractions.

    Files of older versions lack what they did not measure: those properties are None.
    """

    values: dict[str, Any]

    @property
    def start(self) -> str | None:
        """The name of the run that it started from; None for one that made its own start."""
        return self.values.get("start")

    @property
    def images(self) -> str | None:
        """Which images are untouched: a digest of their ids."""
        return self.values["untouched"].get("digest")

    @property
    def holdout_after(self) -> float:
        return self.values["holdout"]["after"]

    @property
    def holdout_gain(self) -> float:
        return self.values["holdout"]["after"] - self.values["holdout"]["before"]

    @property
    def gain(self) -> float:
        """Over the classes that the truth has; before versions wrote that, the difference of the printed scores."""
        untouched = self.values["untouched"]
        return untouched.get("gain", untouched["after"] - untouched["before"])

    @property
    def path_length(self) -> float | None:
        """How far the weights walked, there and back: the lengths of all updates' steps, summed."""
        lengths = self.values.get("updates_of_iterations", {}).get("path_length", [])
        known = [length for length in lengths if length is not None]
        return sum(known) if known else None

    @property
    def went_back(self) -> int | None:
        """How often going back changed the weights; None for a method that never does."""
        return self.values.get("went_back")

    @property
    def end_models(self) -> int | None:
        """How many sets of end models' label maps the discriminator was trained on."""
        aggregated = self.values.get("aggregated")
        return None if aggregated is None else aggregated["end_models"]

    @property
    def minutes(self) -> float:
        """Wall-clock time of all phases after stage 1, over all processes that worked on the run."""
        return sum(seconds for phase, seconds in self.values["seconds"].items() if phase != "stage_one") / 60

    @property
    def curve(self) -> list[float]:
        """The hold-out's mIoU, the start's first; NaN where it was not finite."""
        return [self.values["holdout"]["before"], *(math.nan if v is None else v for v in self.values["curve"])]


def read(results: Path, name: str) -> Result:
    """Reads a result.

    Raises:
      UserError: if the file is not one.
    """
    file = results / f"{name}.json"
    try:
        values = json.loads(file.read_text())
        result = Result(values)
        # A file of another program fails here, not in the middle of the report.
        math.isfinite(result.gain + result.holdout_gain + len(result.curve) + len(values["counts_after"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not the result of a study's run; remove it to have the run made again.") from None
    return result


def write(results: Path, rows: Mapping[str, Sequence[str]]) -> None:
    """Writes `table.md`, and `convergence.png` if a variant has a curve.

    Args:
      results: the folder of the JSON files.
      rows: by variant the names of its runs.
    """
    found = {variant: [read(results, name) for name in names] for variant, names in rows.items() if names}
    if found:
        write_atomically(results / "table.md", table(found).encode())
        if any(run.values["curve"] for runs in found.values() for run in runs):
            write_atomically(results / "convergence.png", draw(found))


def mean_gain(runs: Sequence[Result]) -> MeanGain:
    """The variant's gain on untouched images, with the interval over seeds and images."""
    return _gain((runs, "counts_before"), (runs, "counts_after"))


def mean_difference(first: Sequence[Result], runs: Sequence[Result]) -> MeanGain | None:
    """What a variant gains more than another on untouched images; None if they share no seed.

    Each gain is over the start that its own run had: one that was made again, on another machine, is another model.
    """
    pairs = _of_equal_seeds(first, runs)
    if not pairs:
        return None
    others, own = (list(side) for side in zip(*pairs, strict=True))
    sides = [(of, name) for of in (own, others) for name in ("counts_before", "counts_after")]
    return _gain(*sides)


def gain_fitted_again(starts: Sequence[Result], runs: Sequence[Result]) -> MeanGain | None:
    """What is left of a variant's gain when class constants are fitted to its results, and to their starts as well."""
    pairs = [(_start_of(run, starts), run) for run in runs]
    known = [
        (a, b) for a, b in pairs if a is not None and a.values.get("counts_again") and b.values.get("counts_again")
    ]
    if not known or len(known) < len(runs):
        return None
    before, after = (list(side) for side in zip(*known, strict=True))
    return _gain((before, "counts_again"), (after, "counts_again"))


def _start_of(run: Result, starts: Sequence[Result]) -> Result | None:
    """The one that it started from, of starts that may have been made again."""
    named = (start for start in starts if start.values.get("name") == run.start)
    return next((start for start in named if start.values["counts_after"] == run.values["counts_before"]), None)


_Counts = tuple[Sequence[Result], str]
"""Some runs, and the name of their counts."""


def _gain(*sides: _Counts) -> MeanGain:
    """The gain of the second runs' counts over as many first ones'; less that of the fourth over the third.

    Runs from starts whose untouched images differ are folds: those of a seed are put together.
    """
    after = sides[1][0]
    labels = [run.start for run in after]
    starts = labels if len(set(labels)) < len(labels) and None not in labels else None
    if len({run.images for run in after}) == 1:
        before, result, *less = (np.array([run.values[name] for run in runs]) for runs, name in sides)
        groups = _groups([run for runs, _ in sides for run in runs])
        return mean_gain_over_runs(before, result, less=less, groups=groups, starts=starts)
    folds = sorted(set(labels), key=str)
    by_seed: dict[int, dict[str | None, int]] = {}
    for place, run in enumerate(after):
        by_seed.setdefault(run.values["seed"], {})[run.start] = place
    # Only a seed with every fold speaks of all images.
    rows = [[of[fold] for fold in folds] for of in by_seed.values() if len(of) == len(folds)] or [
        list(range(len(after)))
    ]
    before, result, *less = (
        np.array([[row for place in places for row in runs[place].values[name]] for places in rows])
        for runs, name in sides
    )
    named = [_groups([runs[place] for runs, _ in sides]) for place in rows[0]]
    groups = None if any(names is None for names in named) else [name for names in named for name in names or ()]
    return mean_gain_over_runs(before, result, less=less, groups=groups)


def never_acted(first: Sequence[Result], runs: Sequence[Result]) -> bool:
    """Whether what makes a variant differ never came into play: with every seed that both have, the same models.

    Models are told apart by the hold-out's score after every iteration and the result's counts on untouched images,
    which have to be equal to the last bit.
    """
    pairs = _of_equal_seeds(first, runs)
    return bool(pairs) and all(
        a.values[name] == b.values[name] for a, b in pairs for name in ("curve", "counts_before", "counts_after")
    )


def verdict(first: Sequence[Result], runs: Sequence[Result]) -> str:
    """What the comparison with the first variant shows, in words.

    Returns:
      "never acted", or "better" or "worse" where the difference's interval excludes zero, or "gave its starts back"
      where no run found anything above its start, or "no difference shown"; "" without a seed that both have.
    """
    difference = mean_difference(first, runs)
    if difference is None:
        return ""
    if never_acted(first, runs):
        return "never acted"
    if difference.low > 0 or difference.high < 0:
        return "better" if difference.low > 0 else "worse"
    gave_back = all(run.values["counts_before"] == run.values["counts_after"] for run in runs)
    return "gave its starts back" if gave_back else "no difference shown"


def _of_equal_seeds(first: Sequence[Result], runs: Sequence[Result]) -> list[tuple[Result, Result]]:
    others = {(run.values["seed"], run.start): run for run in first}
    pairs = ((others.get((run.values["seed"], run.start)), run) for run in runs)
    return [(other, run) for other, run in pairs if other is not None]


def _groups(runs: Sequence[Result]) -> Sequence[str] | None:
    """The labels of the counts' groups, if all runs have the same; None: every row of counts is independent."""
    labels = runs[0].values.get("groups")
    return labels if all(run.values.get("groups") == labels for run in runs) else None


def table(found: Mapping[str, Sequence[Result]]) -> str:
    """Markdown: a row per variant, then the classes' gains."""
    first = next(iter(found.values()))[0].values
    compared = {variant: runs for variant, runs in found.items() if any(run.values["curve"] for run in runs)}
    gains = {variant: mean_gain(runs) for variant, runs in compared.items()}
    kinds = dict.fromkeys(gain.kind for gain in gains.values())
    rows = len(first["counts_before"])
    joined = (
        ""
        if rows == first["untouched"]["images"] or first.get("groups")
        else (f" (counted in {rows} groups of consecutive images)")
    )
    lines = [
        f"{first['dataset']}: gain in mIoU, points, over the start model. Hold-out "
        f"{first['holdout']['images']} images, on which every method chose its model; untouched "
        f"{_images(compared or found)}, on which nothing was chosen. Interval: "
        f"{' or '.join(kinds) or 'none'}{joined}.",
        "",
        _HEADER,
        _RULE,
    ]
    reference = next(iter(compared.values()), [])
    again = {variant: gain_fitted_again(found.get(START, []), runs) for variant, runs in compared.items()}
    lines += [_row(variant, runs, reference, gains[variant], again[variant]) for variant, runs in compared.items()]
    lines += [
        "",
        "*constants again*: the untouched gain when class constants are fitted to the result once more, and to its "
        "start as well: what is left is not class proportion. *against the first*: the untouched gain less that of the "
        "first row, with its interval. *verdict*: on that difference; *never acted*: the same models to the last bit, "
        "so the setting was not tried; *gave its starts back*: no run found anything above its start on the hold-out. "
        "*worst*: lowest hold-out mIoU on the way, points from the start. *diverged*: cycles that ended on the lower "
        "bound or a number that is not finite, of all. *went back*: times that going back to the start model changed "
        "the weights, of the cycles that another one followed. *end models*: sets of end models' label maps that the "
        "discriminator was trained on. *path*: the lengths of all steps, summed. *pairs*: the discriminator's last "
        "pair accuracy. *min*: wall-clock minutes of a run after stage 1, *MiB*: its peak memory. Counts are sums over "
        "the runs, MiB the maximum, the rest means.",
        "",
        *_starts(found),
        "",
        *_class_table(found),
    ]
    return "\n".join(lines) + "\n"


def _row(variant: str, runs: Sequence[Result], first: Sequence[Result], gain: MeanGain, again: MeanGain | None) -> str:
    against = None if runs is first else mean_difference(first, runs)
    ends = [reason for run in runs for reason in run.values["cycle_ends"]]
    diverged = sum(reason in ("lower_bound", "non_finite") for reason in ends)
    worst = min(np.nanmin(run.curve) - run.curve[0] for run in runs)
    judged = [run.values["pair_accuracy"][-1] for run in runs if run.values["pair_accuracy"]]
    cells = [
        variant,
        ", ".join(dict.fromkeys(f"{run.values['learning_rate']:g}" for run in runs)),
        str(len(runs)),
        f"{100 * np.mean([run.holdout_gain for run in runs]):+.2f}",
        f"**{100 * gain.gain:+.2f}**",
        _interval(gain.low, gain.high),
        _with_interval(again) if again else "",
        _with_interval(against) if against else "",
        verdict(first, runs) if against else "",
        f"{100 * gain.spread:.2f}",
        " ".join(_seed(run) for run in runs),
        f"{100 * worst:+.1f}",
        f"{diverged}/{len(ends)}",
        _times_back(runs),
        _sum([run.end_models for run in runs]),
        _mean([run.path_length for run in runs]),
        f"{100 * np.mean(judged):.0f} %" if judged else "",
        f"{np.mean([run.minutes for run in runs]):.1f}",
        f"{max(run.values['peak_mib'] for run in runs):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _images(found: Mapping[str, Sequence[Result]]) -> int:
    """How many images are untouched, those of all folds."""
    sizes = {run.images: run.values["untouched"]["images"] for runs in found.values() for run in runs}
    return int(sum(sizes.values()))


def _with_interval(gain: MeanGain) -> str:
    return f"{100 * gain.gain:+.2f} ({_interval(gain.low, gain.high)})"


def _interval(low: float, high: float) -> str:
    return "no interval" if math.isnan(low) else f"{100 * low:+.2f} to {100 * high:+.2f}"


def _seed(run: Result) -> str:
    low, high = run.values["untouched"]["low"], run.values["untouched"]["high"]
    return f"{100 * run.gain:+.2f}" + ("" if low is None else f" [{100 * low:+.2f}, {100 * high:+.2f}]")


def _times_back(runs: Sequence[Result]) -> str:
    times = _known([run.went_back for run in runs])
    followed = sum(max(0, len(run.values["cycle_ends"]) - 1) for run in runs)
    return "" if times is None else f"{sum(times)}/{followed}" if any(times) else f"never (0/{followed})"


def _sum(values: Sequence[int | None]) -> str:
    known = _known(values)
    return "" if known is None else str(sum(known))


def _mean(values: Sequence[float | None]) -> str:
    known = _known(values)
    return "" if known is None else f"{np.mean(known):.3g}"


def _known(values: Sequence[_Number | None]) -> list[_Number] | None:
    """The values, or None if a run lacks its own."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _starts(found: Mapping[str, Sequence[Result]]) -> list[str]:
    """What the runs started from."""
    made = found.get(START) or [run for runs in found.values() for run in runs]
    named: dict[str, list[Result]] = {}
    for run in made:
        name = run.values.get("name" if START in found else "start") or f"seed {run.values['seed']}"
        models = named.setdefault(name, [])
        if all(run.values["counts_before"] != other.values["counts_before"] for other in models):
            models.append(run)
    text = "; ".join(
        f"{name}{', made again' if place else ''}: {100 * run.values['holdout']['before']:.2f} / "
        f"{100 * run.values['untouched']['before']:.2f}{_without_constants(run)}"
        for name, models in sorted(named.items())
        for place, run in enumerate(models)
    )
    return [f"The start models' mIoU, hold-out / untouched: {text}."]


def _without_constants(run: Result) -> str:
    bare = run.values.get("uncalibrated")
    if bare is None:
        return ""
    gave = run.values["untouched"]["before"] - bare
    return (
        f" (untouched {100 * bare:.2f} before its class constants; above that, all gains are {100 * gave:+.2f} larger)"
    )


def _class_table(found: Mapping[str, Sequence[Result]]) -> list[str]:
    """Gains by class on the untouched images, means over the seeds."""
    shown = {variant: runs for variant, runs in found.items() if any(run.values["curve"] for run in runs)}
    names = next(iter(found.values()))[0].values["class_names"]
    lines = ["| gain by class | " + " | ".join(shown) + " |", "|---|" + "--:|" * len(shown)]
    for k, name in enumerate(names):
        cells = []
        for runs in shown.values():
            gains = [run.values["class_gains"][k] for run in runs if run.values["class_gains"][k] is not None]
            cells.append(f"{100 * np.mean(gains):+.2f}" if gains else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def draw(found: Mapping[str, Sequence[Result]]) -> bytes:
    """The hold-out's mIoU of all runs over the iterations, as points from their start: here one sees who diverges.

    Args:
      found: by variant its runs; one at least has a curve. A variant without one is left out.

    Returns:
      A PNG, 1200 pixels wide.
    """
    shown = {variant: runs for variant, runs in found.items() if any(run.values["curve"] for run in runs)}
    # Rows of nearly as many panels, each over the whole width, so that none stays empty.
    rows = np.array_split(np.arange(len(shown)), -(-len(shown) // 3))
    lowest = min([0.0, *(100 * (np.nanmin(r.curve) - r.curve[0]) for runs in shown.values() for r in runs)])
    highest = max([0.0, *(100 * (np.nanmax(r.curve) - r.curve[0]) for runs in shown.values() for r in runs)])
    with canvas.plain_style():
        figure = canvas.new_figure(2.5 * len(rows) + 0.7)
        grid = figure.add_gridspec(len(rows), 6)
        axes: list[Axes] = []
        for y, row in enumerate(rows):
            for x, place in enumerate(np.array_split(np.arange(6), len(row))):
                first = axes[0] if axes else None
                axis = figure.add_subplot(grid[y, place[0] : place[-1] + 1], sharex=first, sharey=first)
                axis.tick_params(labelleft=x == 0)
                axes.append(axis)
                variant, runs = list(shown.items())[row[x]]
                _draw_runs(axis, variant, runs, _COLOURS[row[x] % len(_COLOURS)], len(row))
        # A collapse of tens of points would flatten everything else: linear near the start, logarithmic below.
        if lowest < -3:
            axes[0].set_yscale("symlog", linthresh=1.0)
            axes[0].yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1.0, subs=(1, 3)))
        axes[0].yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
        )
        axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylim(lowest * 1.1 - 0.1, highest * 1.2 + 0.1)
        figure.supxlabel("evaluations of the hold-out", fontsize=9)
        figure.supylabel("hold-out mIoU, points from the start", fontsize=9)
        figure.tight_layout()
        return canvas.png(figure)


def _draw_runs(axis: Axes, variant: str, runs: Sequence[Result], colour: str, columns: int) -> None:
    """One panel of a row of so many."""
    axis.axhline(0, color=canvas.GREY, linewidth=0.8)
    for run in runs:
        axis.plot(100 * (np.array(run.curve) - run.curve[0]), color=colour, linewidth=1, alpha=0.8)
    title = f"{variant}: untouched {100 * mean_gain(runs).gain:+.2f}"
    axis.set_title(textwrap.fill(title, 126 // columns, break_on_hyphens=False), fontsize=9, loc="left")
