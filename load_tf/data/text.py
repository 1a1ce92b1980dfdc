"""What the data sets read and say as text: files, lists of ids, and names in a sentence."""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from load_tf.errors import UserError


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises UserError if it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from None


def read_lines(path: Path) -> tuple[str, ...]:
    """The lines of a UTF-8 text file that aren't blank, stripped, in Unicode normal form C.

    Raises:
      UserError: if the file can't be read, isn't UTF-8, or holds nothing.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); expected one entry per line.") from None
    lines = tuple(unicodedata.normalize("NFC", line.strip()) for line in text.splitlines() if line.strip())
    if not lines:
        raise UserError(f"{path} is empty; expected one entry per line.")
    return lines


def refuse_duplicates(ids: Iterable[str], where: str) -> None:
    """Raises UserError if an id occurs twice."""
    seen: set[str] = set()
    twice: list[str] = []
    for id_ in ids:
        if id_ in seen and id_ not in twice:
            twice.append(id_)
        seen.add(id_)
    if twice:
        raise UserError(f"{where} names {listing(twice)} more than once; expected every id once.")


def listing(items: Sequence[str], shown: int = 5) -> str:
    """'a', 'b' and 3 more."""
    return some([repr(item) for item in items], shown)


def some(items: Sequence[object] | np.ndarray, shown: int = 8) -> str:
    """a, b and 3 more."""
    text = ", ".join(str(item) for item in items[:shown])
    return text if len(items) <= shown else f"{text} and {len(items) - shown} more"
