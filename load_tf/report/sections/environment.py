"""Where the run was made."""

from load_tf.report.markup import Markup, tag
from load_tf.report.stored import Run
from load_tf.report.words import plain

TITLE = "Environment"


def draw(run: Run) -> Markup | None:
    """Versions, devices, threads, seed and revision."""
    if not run.environment:
        return None
    facts = [(name.replace("_", " "), plain(value)) for name, value in run.environment.items()]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")
