"""Whether the hold-out speaks for the images that decide nothing."""

from load_tf.report.charts import Line, chart, every_other
from load_tf.report.looks import Looks, looks
from load_tf.report.markup import Markup, join, tag
from load_tf.report.stored import Run
from load_tf.report.words import signed

TITLE = "Hold-out and untouched images"


def draw(run: Run) -> Markup | None:
    """Both gains over the looks, how far they go together, and a warning where they do not."""
    seen = looks(run.journal)
    if seen is None:
        return None
    parts = [tag("p", text, class_="warning") for text in seen.warnings()]
    parts.append(
        tag(
            "p",
            f"Whenever the hold-out was evaluated, {seen.images} untouched images were, too. These watched images "
            "decide nothing: no peak, no end of a cycle. So they stay untouched, and the untouched score above is over "
            "all untouched images, these among them.",
            class_="note",
        )
    )
    if seen.holdout:
        places = [float(place) for place in range(len(seen.holdout) + 1)]
        lines = [
            Line("hold-out", "blue", places, [0.0, *seen.holdout]),
            Line(f"{seen.images} watched images", "orange", places, [0.0, *seen.untouched]),
        ]
        parts += [
            _words(seen),
            tag(
                "div",
                chart(
                    lines,
                    title="Gain from the start, points of mIoU",
                    x_label="looks: adversarial iterations, over all cycles",
                    bands=every_other(seen.cycles),
                    level=(0.0, "the start"),
                    tip=signed,
                ),
                class_="charts",
            ),
        ]
    return join(*parts)


def _words(seen: Looks) -> Markup:
    """The correlation, the signs and the chosen model's gains in a sentence each."""
    count, number = seen.disagreeing
    r = seen.correlation
    correlated = "no correlation, with too few looks or a gain that is constant"
    if r is not None:
        correlated = f"the two gains have the correlation {signed(r)}"
    text = f"{number} looks: {correlated}; in {count} their signs differ."
    if seen.chosen:
        holdout, untouched = map(signed, seen.chosen)
        text += f" The chosen model: {holdout} on the hold-out, {untouched} on the watched images."
    return tag("p", text)
