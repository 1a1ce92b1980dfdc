"""Progress bars on a terminal and in a notebook, nothing in a pipe."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import auto

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yields `items`, showing a bar on standard error while it is a terminal, or in a notebook, whose it then is."""
    yield from auto.tqdm(
        items, desc=description, total=total, unit=unit, file=sys.stderr, leave=False, disable=not is_shown()
    )


def is_shown() -> bool:
    """Whether somebody sees a bar: a notebook's standard error is no terminal, but tqdm has a bar for it."""
    return auto.tqdm.__mro__[1].__module__ == "tqdm.notebook" or bool(sys.stderr and sys.stderr.isatty())
