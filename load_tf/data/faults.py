"""Faults of many files as few lines: one for every cause."""

import re
from collections.abc import Sequence

from load_tf.data.text import listing

LISTED_ALIKE = 5
"""Up to so many faults of one cause are listed one by one."""

_FILE = re.compile(r"(\b(?:mask|image) )(\S.*?)(?= (?:holds|has|is|can't) )")
_COUNTS = re.compile(r" \(\d+ pixels\)")


def by_cause(faults: Sequence[str]) -> list[str]:
    """The faults, where more than `LISTED_ALIKE` only differ in the file as one: the first, and which others have it.

    Args:
      faults: sentences.

    Returns:
      Sentences, in the order of the first of each cause.
    """
    alike: dict[str, list[str]] = {}
    for fault in faults:
        alike.setdefault(_cause(fault), []).append(fault)
    found: list[str] = []
    for fault in faults:
        same = alike[_cause(fault)]
        if len(same) <= LISTED_ALIKE or not _FILE.search(fault):
            found.append(fault)
        elif fault is same[0]:
            names = [match[2] for other in same[1:] if (match := _FILE.search(other))]
            found.append(f"{fault} So it is with {len(names)} others: {listing(names)}.")
    return found


def _cause(fault: str) -> str:
    return _COUNTS.sub("", _FILE.sub(r"\1", fault, count=1))
