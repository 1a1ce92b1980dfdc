"""The experiment's parameters."""

from load_tf.report.markup import Markup, tag
from load_tf.report.stored import Run

TITLE = "Config"


def draw(run: Run) -> Markup:
    """Every parameter that had a say, folded up."""
    return tag("details", tag("summary", "Every parameter, as gin wrote it down"), tag("pre", run.config))
