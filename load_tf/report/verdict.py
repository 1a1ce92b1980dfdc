"""What stands at the top of a run's page: the result in one sentence, and the scores it is made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from load_tf.evaluation.table import over_groups
from load_tf.report.markup import Markup, join, tag
from load_tf.report.timeline import Event
from load_tf.report.words import interval, judge, signed

PARTS = (
    ("untouched", "untouched images", "the honest gain: nothing was chosen on them"),
    ("holdout", "hold-out", "LoAd chose its model on these"),
    ("full", "all evaluated images", "what Table 1 is over"),
)
"""The scores of a summary, the most telling first."""

Summary = Mapping[str, Any]
"""`report/summary.json`."""


def verdict(summary: Summary, journal: Sequence[Event]) -> Markup:
    """The result in one sentence and three tiles."""
    scores = scored(summary)
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
            tag("span", f"{score['baseline']:.2f} → {score['load']:.2f}, {interval(score) or 'no interval'}"),
            tag("span", note, class_="note"),
            class_="tile",
        )
        for title, note, score in scores
    ]
    warnings = [tag("p", doubt, class_="warning") for doubt in doubts(summary)]
    return join(sentence, tag("div", *tiles, class_="tiles"), *warnings)


def scored(summary: Summary) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Title, note and score of every part that has images, the most telling first."""
    found = [(title, note, summary.get(key) or {}) for key, title, note in PARTS]
    return [part for part in found if part[2].get("baseline") is not None and part[2].get("load") is not None]


def doubts(summary: Summary) -> list[str]:
    """Why the scores may say little: a start far from converged, images that are alike."""
    found = [(summary.get(name) or {}).get("warning") for name in ("start", "neighbours")]
    return [doubt for doubt in found if doubt]


def _interval_over(score: Mapping[str, Any]) -> str:
    # A summary without `groups` is of a version whose intervals took images as independent.
    over = over_groups(score.get("groups"))
    return f"95\N{NO-BREAK SPACE}% interval {interval(score)}, {over}" if interval(score) else f"no interval {over}"
