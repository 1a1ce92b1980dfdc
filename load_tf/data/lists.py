"""Lists of images as data sets come with them: ids, file names, paths, or an image and its mask in each line."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from load_tf.data.files import IMAGE_EXTENSIONS, MASK_EXTENSIONS, FilePair
from load_tf.data.text import listing
from load_tf.errors import UserError

Named = tuple[Path, Path]
"""An image and its mask."""


def holds_pairs(lines: Sequence[str]) -> bool:
    """Whether the first line of a list names two files, an image and a mask."""
    return _two(lines[0]) is not None


def pairs(path: Path, lines: Sequence[str], root: Path) -> list[Named]:
    """The files that a list of pairs names.

    Args:
      path: of the list, for messages.
      lines: "image mask" each, divided by blanks, tabs, commas or semicolons; either is a path as it is, or what is
        left of it without some of its first folders is a path in `root`.
      root: the data set's folder.

    Raises:
      UserError: naming all lines that are none, and all files that are not there.
    """
    found: list[Named] = []
    faults: list[str] = []
    for line in lines:
        two = _two(line)
        if two is None:
            faults.append(f"{path} has the line {line!r}; expected an image and its mask, as in its first line.")
            continue
        files = [on_disk(root, text) for text in two]
        faults += [f"{path} names {t!r}, which is not in {root}." for t, f in zip(two, files, strict=True) if f is None]
        if files[0] is not None and files[1] is not None:
            found.append((files[0], files[1]))
    if faults:
        more = f" So are {len(faults) - 1} more." if len(faults) > 1 else ""
        raise UserError(faults[0] + more, faults)
    return found


def identified(lists: Mapping[str, Sequence[Named]], root: Path) -> dict[str, list[FilePair]]:
    """Pairs with ids: the images' names without extension or, where two are the same, their paths in the folder.

    Args:
      lists: pairs by split; an image may stand in several.
      root: the data set's folder.
    """
    images = dict.fromkeys(image for pairs_ in lists.values() for image, _ in pairs_)
    short = len({image.stem for image in images}) == len(images)
    return {
        split: [FilePair(image.stem if short else _inside(image, root), image, mask) for image, mask in pairs_]
        for split, pairs_ in lists.items()
    }


def ids(lines: Iterable[str], images: Mapping[str, Path], root: Path) -> list[str]:
    """The ids in a list that names ids, image files or paths of images.

    Args:
      lines: of the list.
      images: the image files by id.
      root: the data set's folder.
    """
    of = {path: id_ for id_, path in images.items()}

    def one(line: str) -> str:
        stem, dot, extension = line.rpartition(".")
        name = stem if dot and f".{extension.lower()}" in IMAGE_EXTENSIONS else line
        if line in images or name in images:
            return line if line in images else name
        file = on_disk(root, line) if "/" in line else None
        return of.get(file, name) if file is not None else name

    return [one(line) for line in lines]


def on_disk(root: Path, text: str) -> Path | None:
    """The file that a path means: as it is, or without some of its first folders in `root`; None if there is none.

    Lists often hold paths of the machine they were written on.
    """
    if Path(text).is_absolute() and Path(text).is_file() and not Path(text).is_relative_to(root):
        return Path(text)
    parts = [part for part in PurePosixPath(text).parts if part not in ("/", ".")]
    if ".." in parts:
        return None
    return next((path for start in range(len(parts)) if (path := root.joinpath(*parts[start:])).is_file()), None)


def _two(line: str) -> tuple[str, str] | None:
    """The two files of a line, None if it doesn't name two."""
    parts = re.split(r"[\s,;]+", line)
    known = {*IMAGE_EXTENSIONS, *MASK_EXTENSIONS}
    if len(parts) != 2 or not all(PurePosixPath(part).suffix.lower() in known for part in parts):
        return None
    return parts[0], parts[1]


def _inside(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).with_suffix("").as_posix()


def refuse_shared(of: Mapping[str, tuple[Path, Sequence[str]]], split: str) -> None:
    """Refuses ids that a split's list shares with another.

    Args:
      of: by split the list and its ids.
      split: the one that is opened.

    Raises:
      UserError: naming both lists and the ids.
    """
    path, mine = of[split]
    for name, (other, theirs) in of.items():
        shared = sorted(set(mine).intersection(theirs)) if name != split else []
        if shared:
            raise UserError(f"{path} and {other} both name {listing(shared)}; expected no image in two splits.")
