"""Numbers and settings as words of a page."""

from collections.abc import Mapping
from typing import Any


def judge(score: Mapping[str, Any]) -> str:
    """`better` or `worse` if the interval of the gain keeps off zero, else `same`."""
    low, high = score["gain_low"], score["gain_high"]
    if low is None or high is None:
        return "same"
    return "better" if low > 0 else "worse" if high < 0 else "same"


def signed(value: float) -> str:
    """Two decimals and a sign; a rounded zero has none."""
    rounded = round(value, 2) + 0.0
    return (f"{rounded:+.2f}" if rounded else "0.00").replace("-", "−")


def interval(score: Mapping[str, Any]) -> str:
    """Of a gain, with signs; nothing where there is none."""
    low, high = score["gain_low"], score["gain_high"]
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def duration(seconds: float) -> str:
    """Seconds in words: 45 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain(value: object) -> str:
    """A setting, a list or settings by name with commas; nothing is a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {plain(item)}" for name, item in value.items()) or "none"
    return "–" if value is None else str(value)


def trained_on(summary: Mapping[str, Any]) -> str | None:
    """How many images a run was trained on; None of a run of a version that did not say."""
    counts = summary.get("trained_on")
    if counts is None:
        return None
    without = f", and {counts['unlabelled']} without labels" if counts["unlabelled"] else ""
    return f"{counts['images']} images with labels{without}"
