"""What the numbers in a mask look like: a file shows colours or greys, and its numbers are the labels.

Programs change these numbers without changing a pixel that is shown. A PNG optimiser turns a grey mask into a palette
of greys or into one of fewer bits; a paint program numbers the colours of each file anew. A single file does not tell,
so what was read of many is compared.
"""

import dataclasses
import threading
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from load_tf.data.colours import Colour, voc_palette
from load_tf.data.text import listing, some
from load_tf.errors import UserError

GREYS: tuple[Colour, ...] = tuple((grey, grey, grey) for grey in range(256))
"""What a grey mask of 8 bits shows: every number as itself."""

_MOST = 1024
"""So many palettes tell enough; each takes some kilobytes."""

_VOID = 255  # `load_tf.data.dataset.IGNORE_LABEL`, which stands above this module


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numbers in a mask, and what they are shown as.

    Attributes:
      used: the numbers that occur in it, ascending.
      colours: what 0, 1, ... are shown as; a used number may be without a colour.
    """

    used: tuple[int, ...]
    colours: tuple[Colour, ...]

    @property
    def are_greys(self) -> bool:
        """Whether all that is shown is grey."""
        return all(red == green == blue for red, green, blue in self.colours)

    @classmethod
    def of(cls, values: np.ndarray, colours: Sequence[Colour]) -> "Numbers":
        """Those of a mask [H, W] of whole numbers."""
        # Pillow counts bytes as they are; numpy would make 8 bytes of each first.
        whole = values.dtype == np.uint8
        found = np.flatnonzero(Image.fromarray(values).histogram()) if whole else np.unique(values)
        return cls(tuple(int(number) for number in found), tuple(colours))

    def shown(self, number: int) -> Colour | None:
        """What a number is shown as; None if it has no colour."""
        return self.colours[number] if number < len(self.colours) else None

    def greys_instead(self) -> bool:
        """Whether the greys are what is meant: the palette of a grey mask that was numbered anew.

        Its colours are all grey, and a number that is used is shown as another grey than its own. A palette that
        spreads its greys evenly from black to white (0 and 255; 0, 85, 170 and 255) only makes few labels visible.
        """
        shown = {number: self.shown(number) for number in self.used}
        if not self.are_greys or None in shown.values() or all(shown[n] == GREYS[n] for n in self.used):
            return False
        last = max(i for i, colour in enumerate(self.colours) if any(colour) or i in self.used)
        even = np.arange(last + 1) * 255 / max(last, 1)
        greys = np.array([colour[0] for colour in self.colours[: last + 1]])
        return not (greys[-1] == 255 and (np.abs(greys - even) < 1).all())


class Palettes:
    """What the numbers of many masks are shown as; may be told by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[Colour, ...], dict[int, str]] = {}
        """By palette the numbers that are used with it, each with a file."""

    def add(self, name: str, numbers: Numbers) -> None:
        """Takes up what a file showed."""
        with self._lock:
            if numbers.colours not in self._found and len(self._found) >= _MOST:
                return
            used = self._found.setdefault(numbers.colours, {})
            for number in numbers.used:
                # The first by name, whichever thread comes first.
                used[number] = min(name, used.get(number, name))

    @classmethod
    def of(cls, several: Iterable["Palettes"]) -> "Palettes":
        """All of them as one."""
        whole = cls()
        for one in several:
            for colours, used in one._found.items():
                for number, name in used.items():
                    whole.add(name, Numbers((number,), colours))
        return whole

    def suspicions(self) -> list[str]:
        """Sentences without full stop: colours that are another number in another file, or two in one."""
        return [*self._between_files(), *self._of_voc(), *self._within_files()]

    def _of_voc(self) -> list[str]:
        """That a palette is PASCAL VOC's, which many tools write, but under other numbers."""
        of = {colour: number for number, colour in enumerate(voc_palette())}
        found: dict[str, str] = {}
        for colours, used in self._found.items():
            shown = {number: colours[number] for number in used if number < len(colours)}
            if not all(colour in of for colour in shown.values()) or all(len({*c}) == 1 for c in shown.values()):
                continue
            for number, colour in sorted(shown.items()):
                if of[colour] != number:
                    found.setdefault(used[number], f"{colour} is {number}, there {of[colour]}")
        if not found:
            return []
        first = min(found)
        return [
            f"palettes show the colours of PASCAL VOC's under other numbers ({found[first]}), in "
            f"{listing(sorted(found))}: "
            "a PNG optimiser or a paint program may have numbered them anew, and labels are the numbers"
        ]

    def _between_files(self) -> list[str]:
        by_number: dict[int, dict[Colour, str]] = {}
        by_colour: dict[Colour, dict[int, tuple[tuple[Colour, ...], str]]] = {}
        for colours, used in sorted(self._found.items()):
            for number, name in used.items():
                if number >= len(colours):
                    continue
                # Grey masks beside palettes of the same numbers are no contradiction.
                if colours != GREYS:
                    by_number.setdefault(number, {}).setdefault(colours[number], name)
                by_colour.setdefault(colours[number], {}).setdefault(number, (colours, name))
        found = []
        for colour, numbers in by_colour.items():
            (one, (first, here)), *others = sorted(numbers.items())
            for other, (second, there) in others:
                # A palette may hold a colour at both numbers; then the files agree.
                if first[other : other + 1] != (colour,) or second[one : one + 1] != (colour,):
                    found.append(f"{colour} is {one} in {here!r} and {other} in {there!r}")
        for number, shown in sorted(by_number.items()):
            (one_colour, here), *rest = sorted(shown.items(), key=lambda item: item[1])
            found += [f"{number} is {one_colour} in {here!r} and {other} in {there!r}" for other, there in rest]
        if not found:
            return []
        more = f", and {len(found) - 2} more such" if len(found) > 2 else ""
        return [
            f"the palettes of the masks number the colours differently: {'; '.join(found[:2])}{more}. Labels are the "
            "numbers, so that one colour would be several classes; if the colours are what is meant, save the masks as "
            "RGB and write colours.txt; if some files were stored in fewer bits, save all of them in 8"
        ]

    def _within_files(self) -> list[str]:
        found: dict[str, str] = {}
        for colours, used in sorted(self._found.items()):
            at: dict[Colour, int] = {}
            for number in sorted(used):
                if number >= len(colours) or number == _VOID:
                    continue
                twin = at.setdefault(colours[number], number)
                if twin != number:
                    found[used[number]] = f"{colours[number]} is both {twin} and {number}"
        if not found:
            return []
        first = min(found)
        return [
            f"palettes show two labels in one colour ({found[first]}), in {listing(sorted(found))}: what looks alike "
            "there is of two classes"
        ]


def greys_of_bits(bits: int) -> tuple[Colour, ...]:
    """What the numbers of a grey picture of 1, 2, 4 or 8 bits are shown as, from black to white."""
    step = 255 // (2**bits - 1)
    return tuple(GREYS[number * step] for number in range(2**bits))


def mapped(
    values: np.ndarray, numbers: Numbers, table: Mapping[int, int], name: str, as_greys: bool
) -> tuple[np.ndarray, Numbers]:
    """Labels of the numbers in a mask, by a table.

    Where the table does not name a number, but all greys that the mask shows, these are taken: a program has stored the
    mask in fewer bits.

    Args:
      values: [H, W], whole numbers.
      numbers: theirs.
      table: the label of every number.
      name: the file, for messages.
      as_greys: take the greys, if the table names all of them, whether or not it names the numbers.

    Returns:
      uint8 [H, W], and what was looked up.

    Raises:
      UserError: naming the numbers that the table lacks.
    """
    unknown = [number for number in numbers.used if number not in table]
    greys = [colour[0] for number in numbers.used if (colour := numbers.shown(number)) is not None]
    fit = numbers.are_greys and len(greys) == len(numbers.used) and all(grey in table for grey in greys)
    if fit and (unknown or as_greys):
        values, numbers, unknown = taken_as_greys(values, numbers), Numbers(tuple(sorted(set(greys))), GREYS), []
    if unknown:
        counts = [f"{number} ({(values == number).sum()} pixels)" for number in unknown]
        raise UserError(
            f"mask {name} holds {some(counts)}, which the label map does not name; it names {some(sorted(table))}."
        )
    labels = np.array([table[number] for number in numbers.used], np.uint8)
    if values.dtype != np.uint8:
        return labels[np.searchsorted(np.array(numbers.used), values)], numbers
    by_number = np.zeros(256, np.uint8)
    by_number[list(numbers.used)] = labels
    return by_number[values], numbers


def taken_as_greys(values: np.ndarray, numbers: Numbers) -> np.ndarray:
    """uint8 [H, W], the greys that numbers [H, W] are shown as."""
    table = np.zeros(max(numbers.used) + 1, np.uint8)
    for number in numbers.used:
        table[number] = numbers.colours[number][0]
    return table[values]
