"""What a data set is: images with label maps, by split, with the names and colours of the classes."""

import dataclasses
import html
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from load_tf.errors import UserError

if TYPE_CHECKING:
    from load_tf.data.groups import Group, Groups
    from load_tf.data.notes import Notes

IGNORE_LABEL = 255
"""Void: pixels that are neither trained on, nor evaluated, nor shown to the discriminator."""

UNLABELLED = 254
"""What stands at every pixel of an image that nobody has labelled: it can be seen, and no class is known there."""

UNLABELLED_SPLIT = "unlabelled"
"""The split whose images have no labels; a data set that has one lets a run use them."""


class Example(NamedTuple):
    """One image and its label map."""

    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    label: np.ndarray
    """uint8 [H, W], values in {0..K-1, IGNORE_LABEL}."""
    id: str


class Split(Protocol):
    """Random access to the examples of one split, in the order of `ids`."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The id of every example; no two are equal."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """Decodes one example. Raises UserError naming the file if it can't be used."""


class Listed:
    """A split as people are shown it: how many examples it has and the first and last of their ids, no pixels."""

    def __repr__(self: Split) -> str:
        ids = [repr(name) for name in self.ids]
        shown = ids if len(ids) <= 3 else [*ids[:2], "...", ids[-1]]
        groups = groups_of(self)
        grouped = "" if groups is None else f" in {len(set(groups))} groups"
        return f"<{type(self).__name__} of {len(ids)} examples{grouped}: {', '.join(shown)}>"


@dataclasses.dataclass(frozen=True, repr=False)
class SegmentationDataset:
    """A data set: `split(name)` gives its examples, which are found and opened only then.

    Attributes:
      name: for tables and file names.
      class_names: K names; the label k is `class_names[k]`.
      colours: K RGB triples in [0, 255].
      sources: for every split, a function that opens it.
      groups: how to find which images belong together, for splits that bring no groups of their own. None: no two do.
    """

    name: str
    class_names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    sources: Mapping[str, Callable[[], Split]]
    groups: "Groups | None" = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.class_names) <= IGNORE_LABEL:
            raise UserError(
                f"data set {self.name!r} has {len(self.class_names)} classes; expected 2 to {IGNORE_LABEL}."
            )
        if len(self.colours) != len(self.class_names):
            raise UserError(
                f"data set {self.name!r} has {len(self.class_names)} class names but {len(self.colours)} colours."
            )
        if UNLABELLED_SPLIT in self.sources and len(self.class_names) > UNLABELLED:
            raise UserError(
                f"data set {self.name!r} has {len(self.class_names)} classes and images without labels; expected at "
                f"most {UNLABELLED}: there {UNLABELLED} stands for what nobody has labelled."
            )

    def __repr__(self) -> str:
        splits = ", ".join(map(repr, self.sources))
        return f"<SegmentationDataset {self.name!r}: {self.num_classes} classes, splits {splits}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the classes with their colours, and which splits there are; none is opened."""
        title = f"{self.name}: splits {', '.join(self.sources)}"
        rows = "".join(
            f'<tr><td>{label}</td><td style="background:rgb({red},{green},{blue});width:2em"></td>'
            f"<td>{html.escape(name)}</td></tr>"
            for label, (name, (red, green, blue)) in enumerate(zip(self.class_names, self.colours, strict=True))
        )
        return f"<table><caption>{html.escape(title)}</caption>{rows}</table>"

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def split(self, name: str) -> Split:
        """Opens a split; `groups_of` it are known if the data set has groups.

        Raises:
          UserError: if there is no such split, it is empty, or an id of it has no group.
        """
        if name not in self.sources:
            raise UserError(
                f"data set {self.name!r} has no split {name!r}; it has {', '.join(map(repr, self.sources))}."
            )
        split = self.sources[name]()
        if not len(split):
            raise UserError(f"split {name!r} of data set {self.name!r} is empty.")
        # What belongs together matters where a hold-out is drawn, and images without labels are in none.
        if self.groups is None or name == UNLABELLED_SPLIT or groups_of(split) is not None:
            return split
        return Grouped(split, self.groups.labels(split.ids))


def unlabelled_source(dataset: SegmentationDataset) -> dict[str, Callable[[], Split]]:
    """The source of a data set's images without labels, for another one that is made of its images; {} without any."""
    return {name: source for name, source in dataset.sources.items() if name == UNLABELLED_SPLIT}


def groups_of(split: Split) -> "tuple[Group, ...] | None":
    """What every example of a split belongs to; None if nothing is known of it.

    Groups were found once, of the whole split: a part of it keeps them.
    """
    return getattr(split, "groups", None)


def notes_of(split: Split) -> "tuple[Notes, ...]":
    """What was noticed of the files of a split, so far: more once they have been read; nothing of one without files."""
    return getattr(split, "notes", ())


@dataclasses.dataclass(frozen=True, repr=False)
class Grouped(Listed):
    """A split of whose examples it is known what they belong to."""

    split: Split
    groups: "tuple[Group, ...]"

    @property
    def ids(self) -> tuple[str, ...]:
        return self.split.ids

    @property
    def notes(self) -> "tuple[Notes, ...]":
        """Those of the split."""
        return notes_of(self.split)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Example:
        return self.split[index]


@dataclasses.dataclass(frozen=True, repr=False)
class Subset(Listed):
    """Some examples of a split, as a split."""

    split: Split
    indices: tuple[int, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        ids = self.split.ids
        return tuple(ids[i] for i in self.indices)

    @property
    def groups(self) -> "tuple[Group, ...] | None":
        groups = groups_of(self.split)
        return None if groups is None else tuple(groups[i] for i in self.indices)

    @property
    def notes(self) -> "tuple[Notes, ...]":
        """Those of the whole."""
        return notes_of(self.split)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.split[self.indices[index]]


@dataclasses.dataclass(frozen=True, repr=False)
class Joined(Listed):
    """Two splits one after the other, as a split."""

    first: Split
    second: Split

    @property
    def ids(self) -> tuple[str, ...]:
        return (*self.first.ids, *self.second.ids)

    @property
    def groups(self) -> "tuple[Group, ...] | None":
        """None unless both have some."""
        first, second = groups_of(self.first), groups_of(self.second)
        return None if first is None or second is None else (*first, *second)

    @property
    def notes(self) -> "tuple[Notes, ...]":
        """Those of both."""
        return (*notes_of(self.first), *notes_of(self.second))

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        behind = index - len(self.first)
        return self.first[index] if behind < 0 else self.second[behind]


@dataclasses.dataclass(frozen=True, repr=False)
class ExampleList(Listed):
    """Examples that are in memory already, as a split: `ExampleList([(image, label, id), ...])`."""

    examples: Sequence[Example]
    groups: "tuple[Group, ...] | None" = None

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(example[2] for example in self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return Example(*self.examples[index])
