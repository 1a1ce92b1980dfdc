"""Folders of numbered versions, the layout of TensorFlow Serving: `MODEL/1`, `MODEL/2`, and so on."""

import re
from pathlib import Path

VERSION = re.compile(r"[1-9][0-9]*")


def versions(directory: Path) -> list[int]:
    """The numbers that are taken in a folder, ascending; the largest is what TensorFlow Serving serves."""
    return sorted(int(entry.name) for entry in directory.iterdir() if VERSION.fullmatch(entry.name))
