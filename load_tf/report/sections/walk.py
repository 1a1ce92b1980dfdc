"""Figure 1 of the run."""

import math

from load_tf.report import walk
from load_tf.report.markup import Markup, join, tag
from load_tf.report.stored import Run
from load_tf.report.timeline import timeline

TITLE = "The walk"


def draw(run: Run) -> Markup | None:
    """The figure, once a cycle has begun."""
    walked = timeline(run.journal)
    if not walked.cycles or math.isnan(walked.start_miou):
        return None
    note = (
        "Every cycle starts at the start model's level. Its best model above the upper bound becomes the next start "
        "model; the label maps of its end model go into the buffer the discriminator learns from."
    )
    return join(tag("p", note, class_="note"), walk.draw(walked))
