"""How the game was played, as charts: the discriminator's trainings, the segmentor's updates, stage 1."""

import math
from collections.abc import Iterable, Sequence

from load_tf.report.charts import Line, chart, every_other, number
from load_tf.report.markup import Markup, join, tag
from load_tf.report.stored import Run
from load_tf.report.timeline import Event, finite_or_nan

TITLE = "Health of the game"
_EPOCH, _UPDATE = "epochs of the discriminator, over all trainings", "adversarial iterations, over all cycles"


def draw(run: Run) -> Markup | None:
    """Warnings, and a chart for everything the journal measured; what it did not, is left out."""
    journal = run.journal
    warnings = [tag("p", text, class_="warning") for text in _warnings(journal)]
    charts = [
        *_stage_one(_of(journal, "stage_one")),
        *_trainings(journal),
        *_directions(_of(journal, "direction")),
        *_updates(_of(journal, "update")),
    ]
    return join(*warnings, tag("div", *charts, class_="charts")) if warnings or charts else None


def _warnings(journal: Iterable[Event]) -> list[str]:
    """What the run warned of, every text once, with how often."""
    texts = [str(event.get("text", "")) for event in journal if event["event"] == "warning"]
    return [f"{text} ({texts.count(text)} times)" if texts.count(text) > 1 else text for text in dict.fromkeys(texts)]


def _stage_one(epochs: Sequence[Event]) -> list[Markup]:
    return _charts(
        epochs,
        "epochs of stage 1",
        (
            ("Stage 1: cross-entropy", None, (("training", "loss", "orange"),)),
            ("Stage 1: mIoU on the hold-out, %", 100.0, (("hold-out", "miou", "blue"),)),
        ),
    )


def _trainings(journal: Sequence[Event]) -> list[Markup]:
    kept = {(event["cycle"], event["best"]) for event in journal if event["event"] == "discriminator_end"}
    epochs = _of(journal, "discriminator")
    places = [i + 1 for i, epoch in enumerate(epochs) if (epoch.get("cycle"), epoch.get("epoch")) in kept]
    charts = _charts(
        epochs,
        _EPOCH,
        (
            (
                "Discriminator on the hold-out, right in %",
                100.0,
                (
                    ("pairs", "pair_accuracy", "blue"),
                    ("real maps", "real_accuracy", "green"),
                    ("fake maps", "fake_accuracy", "orange"),
                    ("places (area under the curve)", "place_auc", "red"),
                ),
            ),
            (
                "Discriminator: loss",
                None,
                (("training", "training_loss", "orange"), ("hold-out", "loss", "blue")),
            ),
            ("Discriminator: how far real maps score above fake ones", None, (("margin", "margin", "blue"),)),
        ),
    )
    if charts and places:
        shown = ", ".join(map(str, places[:40])) + (" …" if len(places) > 40 else "")
        charts.insert(0, tag("p", f"Kept of each training, and what the cycle after it was judged by: epoch {shown}."))
    return charts


def _directions(directions: Sequence[Event]) -> list[Markup]:
    return _charts(
        directions,
        "cycles",
        (
            (
                "Do batches agree on the discriminator's direction? (cosine)",
                None,
                (("agreement", "agreement", "blue"),),
            ),
            (
                "At wrong points it prefers the truth: right in %",
                100.0,
                (("localisation", "localisation", "blue"),),
            ),
        ),
    )


def _updates(updates: Sequence[Event]) -> list[Markup]:
    return _charts(
        updates,
        _UPDATE,
        (
            ("Segmentor: adversarial loss", None, (("loss", "loss", "blue"),)),
            ("Segmentor: norm of the gradient", None, (("norm", "gradient_norm", "red"),)),
            (
                "Shares of what the discriminator sees, %",
                100.0,
                (
                    ("points changed against the start model", "changed_share", "blue"),
                    ("maps taken for real", "fooled_share", "green"),
                    ("points where the sample is not the arg-max", "sampled_share", "orange"),
                ),
            ),
            ("Distance of the weights from the start model", None, (("distance", "distance", "blue"),)),
        ),
    )


def _charts(
    events: Sequence[Event],
    x_label: str,
    wanted: Iterable[tuple[str, float | None, tuple[tuple[str, str, str], ...]]],
) -> list[Markup]:
    """One chart for each of `wanted`: title, factor if the values are fractions, and (label, key, colour) by curve."""
    charts = []
    for title, factor, curves in wanted:
        x = [float(i + 1) for i in range(len(events))]
        lines = []
        for label, key, colour in curves:
            values = [(factor or 1.0) * finite_or_nan(event.get(key)) for event in events]
            if any(map(math.isfinite, values)):
                lines.append(Line(label, colour, x, values))
        if lines:
            level = (50.0, "chance") if "right in" in title else None
            charts.append(
                chart(
                    lines,
                    title=title,
                    x_label=x_label,
                    bands=every_other(event.get("cycle") for event in events),
                    level=level,
                    y_range=(0.0, 104.0) if level else None,
                    tip=number,
                )
            )
    return charts


def _of(journal: Iterable[Event], name: str) -> list[Event]:
    return [event for event in journal if event["event"] == name]
