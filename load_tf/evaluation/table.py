"""Table 1: IoU by class before and after LoAd, the gain with its interval, the paper's columns beside it."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from load_tf.evaluation.bootstrap import GainIntervals, Groups, paired_bootstrap
from load_tf.evaluation.miou import iou, mean_iou
from load_tf.evaluation.paper import TABLE_1, VOC_CLASS_NAMES

COLUMNS = ("baseline", "load", "gain", "gain_low", "gain_high", "paper_baseline", "paper_load")
MEAN = "mIoU"


@dataclasses.dataclass(frozen=True)
class Table:
    """Scores in per cent by row and column, of which the three renderings are made.

    Attributes:
      rows: the classes' names, then `mIoU`; each with a number or None (does not apply) for every one of `COLUMNS`.
      notes: sentences to print with the table: what the intervals rest on, and where the gain in mIoU is not the
        difference of the two printed scores.
    """

    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    notes: tuple[str, ...] = ()

    def csv(self) -> str:
        """`table1.csv`: a header, then one row a class, per cent with two decimals, empty where nothing applies."""
        lines = [["class", *COLUMNS]]
        lines += [[_quoted(name), *(_number(value) for value in values)] for name, values in self.rows]
        return "".join(",".join(line) + "\n" for line in lines)

    def markdown(self, caption: Iterable[str] = ()) -> str:
        """`table1.md`: the caption's lines, then the columns that hold something, aligned; gains carry their sign."""
        header, body = self._cells()
        body = [[cell.replace("|", "\\|") for cell in row] for row in body]
        body[-1] = [f"**{cell}**" if cell else "" for cell in body[-1]]
        widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = ["| " + " | ".join(_aligned(row, widths)) + " |" for row in [header, rule, *body]]
        return "".join(f"{line}\n" for line in caption) + "\n" * bool(caption) + "\n".join(lines) + "\n"

    def text(self) -> str:
        """The table for a terminal."""
        header, body = self._cells()
        widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
        rule = ["-" * width for width in widths]
        rows = [header, rule, *body[:-1], rule, body[-1]]
        return "".join("  ".join(_aligned(row, widths)).rstrip() + "\n" for row in rows)

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """What people read: the interval in one column, empty columns left out."""
        columns: list[tuple[str, Callable[[dict[str, float | None]], str]]] = [
            ("baseline", lambda row: _number(row["baseline"])),
            ("LoAd", lambda row: _number(row["load"])),
            ("gain", lambda row: _number(row["gain"], sign=True)),
            ("95 % interval", _interval),
            ("paper baseline", lambda row: _number(row["paper_baseline"])),
            ("paper LoAd", lambda row: _number(row["paper_load"])),
        ]
        rows = [(name, dict(zip(COLUMNS, values, strict=True))) for name, values in self.rows]
        shown = [(title, cell) for title, cell in columns if any(cell(row) for _, row in rows)]
        return ["class", *(title for title, _ in shown)], [
            [name, *(cell(row) for _, cell in shown)] for name, row in rows
        ]


def table1(
    class_names: Sequence[str],
    baseline: np.ndarray,
    load: np.ndarray | None = None,
    *,
    groups: Groups = None,
    seed: int = 0,
    draws: int = 10_000,
) -> Table:
    """Table 1 of a run, or, without `load`, of a model alone.

    The scores follow the official rule (`miou.mean_iou`). The gain in mIoU is over the classes that the truth has, the
    same for both models, so where a model predicts a class that no image has, it need not be the difference of the two
    printed scores; a note then says so.

    Args:
      class_names: K names. If they are VOC's 21, a run has the paper's columns beside it.
      baseline: int64 [N, K, K], confusion matrices per image of the segmentor before LoAd.
      load: int64 [N, K, K], of the same images after LoAd; None fills the baseline's column only.
      groups: N labels, of images that the bootstrap draws together; None: every image for itself.
      seed: of the bootstrap.
      draws: of the bootstrap.

    Raises:
      ValueError: if the matrices do not have K classes, or `paired_bootstrap` refuses them.
    """
    if baseline.shape[-1] != len(class_names):
        raise ValueError(f"confusion matrices of shape {baseline.shape} for {len(class_names)} class names.")
    before = [*iou(baseline.sum(0)), mean_iou(baseline)]
    columns: list[Sequence[float | None]] = [before]
    notes: tuple[str, ...] = ()
    if load is None:
        columns += [[None] * len(before)] * 4
    else:
        intervals = paired_bootstrap(baseline, load, groups=groups, seed=seed, draws=draws)
        columns += [
            [*iou(load.sum(0)), mean_iou(load)],
            [*intervals.gain, intervals.miou_gain],
            [*intervals.low, intervals.miou_low],
            [*intervals.high, intervals.miou_high],
        ]
        notes = (_interval_note(intervals.groups), *_class_note(class_names, baseline, load))
    paper = load is not None and tuple(class_names) == VOC_CLASS_NAMES
    rows = []
    for name, values in zip([*class_names, MEAN], zip(*columns, strict=True), strict=True):
        rows.append((name, (*(_per_cent(value) for value in values), *(TABLE_1[name] if paper else (None, None)))))
    return Table(tuple(rows), notes)


def summary(
    baseline: np.ndarray,
    load: np.ndarray | None,
    holdout: Sequence[int],
    *,
    groups: Groups = None,
    seed: int = 0,
    draws: int = 10_000,
) -> dict[str, dict[str, float | int | None]]:
    """The scores of `summary.json` on all images, on the hold-out and on the untouched ones.

    LoAd chooses its model on the hold-out, so its gain there is optimistic and, with it, the full one (which is what
    the paper prints); the untouched images, evaluated but not in the hold-out, give the honest gain.

    Args:
      baseline: int64 [N, K, K], confusion matrices per image before LoAd.
      load: int64 [N, K, K] after LoAd, or None.
      holdout: those of the N images that are in the hold-out; may be empty.
      groups: N labels, of images that the bootstrap draws together; None: every image for itself.
      seed: of the bootstrap.
      draws: of the bootstrap.

    Returns:
      For "full", "holdout" and "untouched": `images`, `groups` (how many the interval rests on; None where images
      count as independent), and in per cent `baseline`, `load`, `gain`, `gain_low`, `gain_high`; None where nothing
      applies (no such image, nothing but void, no interval of a single group).
    """
    chosen = np.zeros(len(baseline), bool)
    chosen[np.asarray(holdout, np.int64)] = True
    parts = {"full": np.ones(len(baseline), bool), "holdout": chosen, "untouched": ~chosen}
    return {name: _scores(baseline, load, part, groups, seed, draws) for name, part in parts.items()}


def _scores(
    baseline: np.ndarray, load: np.ndarray | None, part: np.ndarray, groups: Groups, seed: int, draws: int
) -> dict[str, float | int | None]:
    scores: dict[str, float | int | None] = dict.fromkeys(("groups", *COLUMNS[:5]))
    chosen = None if groups is None else [label for label, inside in zip(groups, part, strict=True) if inside]
    if part.any():
        scores["baseline"] = _per_cent(mean_iou(baseline[part]))
    if part.any() and load is not None:
        intervals: GainIntervals = paired_bootstrap(baseline[part], load[part], groups=chosen, seed=seed, draws=draws)
        scores |= {
            "groups": intervals.groups,
            "load": _per_cent(mean_iou(load[part])),
            "gain": _per_cent(intervals.miou_gain),
            "gain_low": _per_cent(intervals.miou_low),
            "gain_high": _per_cent(intervals.miou_high),
        }
    return {"images": int(part.sum()), **scores}


def over_groups(groups: int | None) -> str:
    """What an interval is over, in words: "over 12 groups of images" or "over images as independent"."""
    if groups is None:
        return "over images as independent"
    return f"over {groups} group{'s' if groups != 1 else ''} of images"


def _interval_note(groups: int | None) -> str:
    return f"95 % interval: paired bootstrap {over_groups(groups)}."


def _class_note(class_names: Sequence[str], baseline: np.ndarray, load: np.ndarray) -> list[str]:
    """A sentence if a class without truth is predicted: then the gain is over fewer classes than the scores."""
    predicted = (baseline.sum(0) + load.sum(0)).sum(0)
    lacking = (baseline.sum((0, 2)) == 0) & (predicted > 0)
    names = [name for name, lacks in zip(class_names, lacking, strict=True) if lacks]
    if not names:
        return []
    return [
        f"The gain in mIoU is over the classes that the truth has. It lacks {', '.join(names)}, predicted all the "
        "same, so the gain need not be the difference of the two scores, which count every predicted class."
    ]


def _per_cent(fraction: float | None) -> float | None:
    return None if fraction is None or math.isnan(fraction) else 100 * float(fraction)


def _number(value: float | None, sign: bool = False) -> str:
    if value is None:
        return ""
    rounded = round(value, 2) + 0.0  # no "-0.00"
    return f"{rounded:+.2f}" if sign and rounded else f"{rounded:.2f}"


def _interval(row: dict[str, float | None]) -> str:
    low, high = row["gain_low"], row["gain_high"]
    return "" if low is None or high is None else f"[{_number(low, sign=True)}, {_number(high, sign=True)}]"


def _quoted(name: str) -> str:
    """A class name as a CSV field (RFC 4180)."""
    return '"' + name.replace('"', '""') + '"' if any(sign in name for sign in ',"\r\n') else name


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Names to the left, numbers to the right."""
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
