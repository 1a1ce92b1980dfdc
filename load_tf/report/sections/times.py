"""Where the time went, and the memory."""

from load_tf.report.markup import Markup, tag
from load_tf.report.stored import Run
from load_tf.report.words import duration

TITLE = "Time and memory"


def draw(run: Run) -> Markup | None:
    """Seconds of every phase as bars."""
    seconds: dict[str, float] = {}
    peaks: dict[str, float] = {}
    for entry in run.timings:
        name = str(entry["phase"])
        seconds[name] = seconds.get(name, 0.0) + float(entry["seconds"])
        peaks[name] = max(peaks.get(name, 0.0), float(entry.get("peak_mib", 0.0)))
    if not seconds:
        return None
    longest, total = max(seconds.values()), sum(seconds.values())
    rows = [
        tag(
            "tr",
            tag("th", name.replace("_", " "), scope="row", class_="text"),
            tag("td", tag("i", class_="bar", style=f"width:{100 * value / (longest or 1):.1f}%"), class_="wide"),
            tag("td", duration(value)),
            tag("td", f"{100 * value / (total or 1):.0f} %"),
            tag("td", f"{peaks[name]:,.0f} MiB" if peaks[name] else ""),
        )
        for name, value in sorted(seconds.items(), key=lambda item: -item[1])
    ]
    foot = tag(
        "tr", tag("th", "all", scope="row", class_="text"), tag("td"), tag("td", duration(total)), tag("td"), tag("td")
    )
    return tag(
        "div", tag("table", tag("tbody", *rows), tag("tfoot", foot), class_="times"), class_="scroll", tabindex=0
    )
