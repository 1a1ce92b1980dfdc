"""Data without an end, which can't be read into memory: refused by what they say, or once memory is full."""

import itertools
import math
import operator
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from load_tf.errors import UserError

_SHARE = 0.8
"""Of the memory that is free, so much may be filled with images."""


def finite(data: Any, name: str) -> Any:
    """Data as they are, if nothing says that they have no end; what is read into memory is watched meanwhile.

    Args:
      data: as `load_tf.data.pairs.as_split` takes them.
      name: for the sentence.

    Raises:
      UserError: a `tf.data.Dataset` that repeats for ever, or an iterator of `itertools` that does; while it is read,
        what is larger than memory.
    """
    endless = isinstance(data, itertools.cycle)
    if isinstance(data, itertools.repeat):
        endless = operator.length_hint(data, -1) < 0
    elif isinstance(data, tf.data.Dataset):
        endless = int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
    if endless:
        raise UserError(
            f"the {name} data are {type(data).__name__.lstrip('_')} without an end; expected every image once: leave "
            "repeat() away, or take(n)."
        )
    if hasattr(data, "__getitem__") or not isinstance(data, Iterable):
        return data
    return _while_there_is_memory(data, name, _SHARE * free_memory())


def free_memory() -> float:
    """Bytes that this process may still take, by the system and by the control group; infinite if nobody says."""
    found = float("inf")
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found = 1024.0 * int(lines["MemAvailable"].split()[0])
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            parts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            # What is kept of files only because nobody needs its memory is free.
            kept = int(parts["active_file"]) + int(parts["inactive_file"])
            found = min(found, float(int(limit) - used + kept))
    except (OSError, KeyError, ValueError):
        if found == float("inf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return found


def _while_there_is_memory(items: Iterable[Any], name: str, limit: float) -> Iterator[Any]:
    taken = 0.0
    for count, item in enumerate(items, 1):
        if isinstance(item, tuple | list) and len(item) > 1:
            # As they are kept: the image as it comes, the label map in bytes.
            taken += np.asarray(item[0]).nbytes + math.prod(np.shape(item[1]))
        elif hasattr(item, "shape"):
            taken += np.asarray(item).nbytes
        if taken > limit:
            raise UserError(
                f"the {name} data gave {count} images without coming to an end, which is all that fits into the "
                f"{limit / 2**30:.1f} GiB of memory there are for them; expected data that end, or a sequence, of "
                "which an image is read whenever it is needed."
            )
        yield item
