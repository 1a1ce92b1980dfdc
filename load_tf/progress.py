"""Progress bars on a terminal, nothing in a pipe."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yields `items`, showing a bar on standard error while it is a terminal."""
    yield from tqdm(
        items, desc=description, total=total, unit=unit, file=sys.stderr, leave=False, disable=not sys.stderr.isatty()
    )
