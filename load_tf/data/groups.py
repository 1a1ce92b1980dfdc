"""What belongs together: images of one sequence, patient, scene or tile, or neighbours in a row of ids.

Images of one group resemble each other. A draw that divides a group lets a model be chosen, or judged, on images that
it knows from their neighbours; an interval that takes them as independent is too short.
"""

import collections
import csv
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from load_tf.data.text import listing, read_lines
from load_tf.errors import UserError, check_whole


class Group(NamedTuple):
    """What an image belongs to."""

    name: str
    """Of the sequence, patient, scene or tile; "" where there are only blocks."""
    block: int | None = None
    """Which of its blocks of consecutive images, from 0; None where it is not divided into blocks."""

    def __str__(self) -> str:
        parts = ([self.name] if self.name else []) + ([f"block {self.block}"] if self.block is not None else [])
        return ", ".join(parts)


@dataclasses.dataclass(frozen=True)
class Groups:
    """How to find the group of an image: by a pattern, a table, or blocks. At least one of the three is given.

    >>> names = ["seq1_f9", "seq1_f10", "seq2_f1"]
    >>> [str(group) for group in Groups(pattern="^([^_]+)_").labels(names)]
    ['seq1', 'seq1', 'seq2']
    >>> [str(group) for group in Groups(table={"a": "patient 1", "b": "patient 1"}).labels(["a", "b"])]
    ['patient 1', 'patient 1']
    >>> [str(group) for group in Groups(pattern="^([^_]+)_", block=1).labels(names)]
    ['seq1, block 0', 'seq1, block 1', 'seq2, block 0']

    Attributes:
      pattern: a regular expression that is searched in the id: its first bracket, or all that matches, is the group's
        name, e.g. "^([^_]+)_" for what stands in front of the first underscore.
      table: a file with a line "id,group" for every image (tab instead of comma in a .tsv; a first line "id,group" is
        passed over), or the group's name by id. Not with `pattern`.
      block: this many consecutive ids are a group; ids are ordered with numbers by value. With `pattern` or `table`
        every block stays inside one of their groups.
    """

    pattern: str | None = None
    table: str | Mapping[str, str] | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        if self.pattern is None and self.table is None and self.block is None:
            raise UserError("groups has neither pattern, nor table, nor block; expected one of them.")
        if self.pattern is not None and self.table is not None:
            raise UserError("groups has both pattern and table; expected one of them.")
        if self.block is not None:
            check_whole(self, "block", called="groups")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise UserError(f"groups.pattern {self.pattern!r} is no regular expression: {error}.") from None

    def labels(self, ids: Sequence[str]) -> tuple[Group, ...]:
        """The groups of images.

        Args:
          ids: of a whole split, since what is a block depends on all of them.

        Raises:
          UserError: naming ids that the pattern does not match or the table lacks.
        """
        names = self._names(ids)
        if self.block is None:
            return tuple(map(Group, names))
        found: dict[int, Group] = {}
        for name, places in rows(ids, names).items():
            found |= {place: Group(name, rank // self.block) for rank, place in enumerate(places)}
        return tuple(found[place] for place in range(len(ids)))

    def _names(self, ids: Sequence[str]) -> list[str]:
        if self.pattern is not None:
            found = {identity: _first_bracket(self.pattern, identity) for identity in ids}
            what, where = f"the pattern {self.pattern!r} does not match", "a pattern that finds a name in every id"
        elif self.table is not None:
            table = _read(self.table) if isinstance(self.table, str) else self.table
            found = {identity: table.get(identity) for identity in ids}
            what, where = f"{self.table if isinstance(self.table, str) else 'the table'} lacks", "a group for every id"
        else:
            return [""] * len(ids)
        missing = [identity for identity, name in found.items() if name is None]
        if missing:
            raise UserError(f"groups: {what} {len(missing)} of {len(ids)} ids: {listing(missing)}; expected {where}.")
        return [str(found[identity]) for identity in ids]


def as_groups(given: Any, ids: Sequence[str], what: str) -> Groups:
    """Groups as Python gives them.

    Args:
      given: `Groups`; a pattern; a whole number, the length of blocks; or the groups' names, by id or in the order of
        the ids.
      ids: of the split the names are for.
      what: the split, for messages.

    Raises:
      UserError: if it is none of these, or there are not as many names as ids.
    """
    if isinstance(given, Groups):
        return given
    if isinstance(given, str):
        return Groups(pattern=given)
    if isinstance(given, int) and not isinstance(given, bool):
        return Groups(block=given)
    if isinstance(given, Mapping):
        return Groups(table={str(identity): str(name) for identity, name in given.items()})
    if not hasattr(given, "__len__") or not hasattr(given, "__getitem__"):
        raise UserError(
            f"groups is {type(given).__name__}; expected load_tf.Groups, a pattern, a number of consecutive images, or "
            "the groups' names."
        )
    if len(given) != len(ids):
        raise UserError(f"groups has {len(given)} names; expected one for each of the {len(ids)} images of {what}.")
    return Groups(table={identity: str(name) for identity, name in zip(ids, given, strict=True)})


def in_words(groups: Sequence[Group]) -> str:
    """How many groups, and how large: "15 blocks of up to 10 images in 3 sequences"."""
    sizes = collections.Counter(groups)
    names = {group.name for group in sizes}
    kind = "groups" if any(group.block is None for group in sizes) else "blocks"
    inside = f" in {len(names)} sequences" if kind == "blocks" and names != {""} else ""
    return f"{len(sizes)} {kind} of up to {max(sizes.values())} images{inside}"


def rows(ids: Sequence[str], names: Sequence[str]) -> dict[str, list[int]]:
    """By name the places of its ids, in the order of the ids with numbers by value: "f9" comes before "f10"."""
    found: dict[str, list[int]] = {}
    for place in sorted(range(len(ids)), key=lambda place: _by_value(ids[place])):
        found.setdefault(names[place], []).append(place)
    return dict(sorted(found.items()))


def _by_value(identity: str) -> tuple[list[tuple[str, int]], str]:
    pieces = [*re.split(r"([0-9]+)", identity), ""]
    return [(text, int(number or -1)) for text, number in zip(pieces[::2], pieces[1::2], strict=True)], identity


def _first_bracket(pattern: str, identity: str) -> str | None:
    match = re.search(pattern, identity)
    if match is None:
        return None
    bracket: str | None = match[1] if match.re.groups else match[0]
    return bracket


def _read(path: str) -> dict[str, str]:
    """A table of ids and groups. Raises UserError for a line that is none, and for an id with two groups."""
    file = Path(path).expanduser()
    found: dict[str, str] = {}
    for number, row in enumerate(csv.reader(read_lines(file), delimiter="\t" if file.suffix == ".tsv" else ",")):
        cells = [cell.strip() for cell in row]
        if len(cells) < 2 or not cells[0] or not cells[1]:
            raise UserError(f"{path}: {row!r} is no id with its group; expected two columns, id and group.")
        if number == 0 and cells[:2] == ["id", "group"]:
            continue
        if found.setdefault(cells[0], cells[1]) != cells[1]:
            raise UserError(f"{path} names {cells[0]!r} in two groups; expected one.")
    return found
