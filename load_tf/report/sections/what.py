"""What was run: settings, cycles, peaks and time."""

from load_tf.report.endings import ending
from load_tf.report.markup import Markup, tag
from load_tf.report.stored import Run
from load_tf.report.timeline import timeline
from load_tf.report.words import duration, plain, trained_on

TITLE = "What was run"


def draw(run: Run) -> Markup:
    """Settings, cycles, peaks and time as a list of terms."""
    walk = timeline(run.journal)
    settings = dict(run.summary.get("settings", {}))
    if len(settings.get("crop", [])) == 2:
        settings["crop"] = " × ".join(map(str, settings["crop"]))
    if settings.get("dataset") == "pairs":
        settings["dataset"] = "image and label pairs, given in Python"
    facts = [(name.replace("_", " "), plain(value)) for name, value in settings.items()]
    if images := trained_on(run.summary):
        facts.append(("trained on", images))
    ends: dict[str, int] = {}
    for cycle in walk.cycles:
        if cycle.end:
            reason = ending(cycle.end["reason"]).sentence
            ends[reason] = ends.get(reason, 0) + 1
    peaks = [cycle.peak for cycle in walk.cycles if cycle.peak]
    if walk.cycles:
        ended = ", ".join(f"{n} ended when {reason}" for reason, n in ends.items())
        facts.append(("cycles", "; ".join(filter(None, [str(len(walk.cycles)), ended]))))
        facts.append(("adversarial iterations", str(walk.last)))
        found = "; ".join(f"cycle {p['cycle']}, iteration {p['iteration']}: {100 * p['miou']:.2f}" for p in peaks)
        facts.append(("peaks", f"{len(peaks)}" + (f" ({found})" if found else "; the result is the start model")))
    total = sum(float(entry.get("seconds", 0.0)) for entry in run.timings)
    if total:
        facts.append(("time", duration(total)))
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")
