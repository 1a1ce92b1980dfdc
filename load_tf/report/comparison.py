"""The report of a study: one table, one figure."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from load_tf.arrays import write_atomically
from load_tf.errors import UserError
from load_tf.evaluation.bootstrap import MeanGain, mean_gain_over_runs
from load_tf.report import canvas

_COLOURS = (canvas.VERMILLION, canvas.BLUE, canvas.GREEN, canvas.ORANGE, canvas.SKY, "#CC79A7", canvas.GREY)
_HEADER = (
    "| variant | rate | seeds | hold-out gain | **untouched gain** | 95 % interval | against the first | spread | "
    "per seed | worst | diverged | pairs | min | MiB |"
)


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run, as its JSON file has it; mIoU as fractions."""

    values: dict[str, Any]

    @property
    def holdout_after(self) -> float:
        return self.values["holdout"]["after"]

    @property
    def holdout_gain(self) -> float:
        return self.values["holdout"]["after"] - self.values["holdout"]["before"]

    @property
    def gain(self) -> float:
        return self.values["untouched"]["after"] - self.values["untouched"]["before"]

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
    """Writes `table.md` and `convergence.png`.

    Args:
      results: the folder of the JSON files.
      rows: by variant the names of its runs.
    """
    found = {variant: [read(results, name) for name in names] for variant, names in rows.items() if names}
    if found:
        write_atomically(results / "table.md", table(found).encode())
        write_atomically(results / "convergence.png", draw(found))


def mean_gain(runs: Sequence[Result]) -> MeanGain:
    """The variant's gain on untouched images, with the interval over seeds and images."""
    before, after = (np.array([run.values[f"counts_{when}"] for run in runs]) for when in ("before", "after"))
    return mean_gain_over_runs(before, after)


def mean_difference(first: Sequence[Result], runs: Sequence[Result]) -> MeanGain | None:
    """What a variant's results are better by than another's on untouched images; None if they share no seed."""
    others = {run.values["seed"]: run for run in first}
    pairs = [(others[run.values["seed"]], run) for run in runs if run.values["seed"] in others]
    if not pairs:
        return None
    before, after = (np.array([run.values["counts_after"] for run in side]) for side in zip(*pairs, strict=True))
    return mean_gain_over_runs(before, after)


def table(found: Mapping[str, Sequence[Result]]) -> str:
    """Markdown: a row per variant, then the classes' gains."""
    first = next(iter(found.values()))[0].values
    seeds = max(len(runs) for runs in found.values())
    groups = len(first["counts_before"])
    lines = [
        f"{first['dataset']}: gain in mIoU, points, over the start model of the same seed. Hold-out "
        f"{first['holdout']['images']} images, on which every method chose its model; untouched "
        f"{first['untouched']['images']}, on which nothing was chosen. Interval: {seeds} seeds and {groups} "
        f"{'images' if groups == first['untouched']['images'] else 'groups of images'} resampled together, 10,000 "
        "draws.",
        "",
        _HEADER,
        "|---|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    compared = {variant: runs for variant, runs in found.items() if any(run.values["curve"] for run in runs)}
    reference = next(iter(compared.values()), [])
    lines += [_row(variant, runs, reference) for variant, runs in compared.items()]
    lines += [
        "",
        "*against the first*: the untouched gain less that of the first row, with its interval. *worst*: lowest "
        "hold-out mIoU on the way, points from the start. *diverged*: cycles that ended on the lower bound or "
        "a number that is not finite, of all. *pairs*: the discriminator's last pair accuracy. *min*: "
        "wall-clock minutes of a run after stage 1, *MiB*: its peak memory; means and maximum over seeds.",
        "",
        *_starts(found),
        "",
        *_class_table(found),
    ]
    return "\n".join(lines) + "\n"


def _row(variant: str, runs: Sequence[Result], first: Sequence[Result]) -> str:
    gain = mean_gain(runs)
    against = None if runs is first else mean_difference(first, runs)
    ends = [reason for run in runs for reason in run.values["cycle_ends"]]
    diverged = sum(reason in ("lower_bound", "non_finite") for reason in ends)
    worst = min(np.nanmin(run.curve) - run.curve[0] for run in runs)
    judged = [run.values["pair_accuracy"][-1] for run in runs if run.values["pair_accuracy"]]
    cells = [
        variant,
        f"{runs[0].values['learning_rate']:g}",
        str(len(runs)),
        f"{100 * np.mean([run.holdout_gain for run in runs]):+.2f}",
        f"**{100 * gain.gain:+.2f}**",
        f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}",
        _with_interval(against) if against else "",
        f"{100 * gain.spread:.2f}",
        " ".join(_seed(run) for run in runs),
        f"{100 * worst:+.1f}",
        f"{diverged}/{len(ends)}",
        f"{100 * np.mean(judged):.0f} %" if judged else "",
        f"{np.mean([run.minutes for run in runs]):.1f}",
        f"{max(run.values['peak_mib'] for run in runs):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _with_interval(gain: MeanGain) -> str:
    return f"{100 * gain.gain:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"


def _seed(run: Result) -> str:
    untouched = run.values["untouched"]
    return f"{100 * run.gain:+.2f} [{100 * untouched['low']:+.2f}, {100 * untouched['high']:+.2f}]"


def _starts(found: Mapping[str, Sequence[Result]]) -> list[str]:
    """What the seeds started from."""
    starts = {run.values["seed"]: run for runs in found.values() for run in runs}
    text = "; ".join(
        f"seed {seed}: {100 * run.values['holdout']['before']:.2f} / {100 * run.values['untouched']['before']:.2f}"
        for seed, run in sorted(starts.items())
    )
    return [f"The start models' mIoU, hold-out / untouched: {text}."]


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

    Returns:
      A PNG, 1200 pixels wide.
    """
    shown = {variant: runs for variant, runs in found.items() if any(run.values["curve"] for run in runs)}
    columns = min(3, max(len(shown), 1))
    rows = max(1, -(-len(shown) // columns))
    lowest = min([0.0, *(100 * (np.nanmin(r.curve) - r.curve[0]) for runs in shown.values() for r in runs)])
    highest = max([0.0, *(100 * (np.nanmax(r.curve) - r.curve[0]) for runs in shown.values() for r in runs)])
    with canvas.plain_style():
        height = 2.3 * rows + 0.7
        figure = canvas.new_figure(height)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axis, (variant, runs), number in zip(axes.flat, shown.items(), range(len(shown)), strict=False):
            colour = _COLOURS[number % len(_COLOURS)]
            axis.axhline(0, color=canvas.GREY, linewidth=0.8)
            for run in runs:
                axis.plot(100 * (np.array(run.curve) - run.curve[0]), color=colour, linewidth=1, alpha=0.8)
            axis.set_title(f"{variant}: untouched {100 * mean_gain(runs).gain:+.2f}", fontsize=9, loc="left")
        for axis in list(axes.flat)[len(shown) :]:
            axis.set_visible(False)
        # A collapse of tens of points would flatten everything else: linear near the start, logarithmic below.
        if shown and lowest < -3:
            axes[0, 0].set_yscale("symlog", linthresh=1.0)
        axes[0, 0].set_ylim(lowest * 1.1 - 0.1, highest * 1.2 + 0.1)
        figure.supxlabel("evaluations of the hold-out", fontsize=9)
        figure.supylabel("hold-out mIoU, points from the start", fontsize=9)
        figure.tight_layout()
        return canvas.png(figure)
