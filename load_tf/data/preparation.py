"""What happens to a split before a run: every example is read and checked once, and kept in memory if there is room."""

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from load_tf.data import neighbours, notes
from load_tf.data.dataset import (
    UNLABELLED_SPLIT,
    Example,
    ExampleList,
    SegmentationDataset,
    Split,
    Subset,
    groups_of,
    notes_of,
)
from load_tf.data.faults import by_cause
from load_tf.data.inspection import Inspection, read_examples
from load_tf.data.partition import draw
from load_tf.data.text import listing, refuse_duplicates
from load_tf.errors import UserError

LISTED_FAULTS = 20
KEPT_BYTES = 8 * 2**30


def prepare(
    split: Split, num_classes: int, description: str, max_bytes: int = KEPT_BYTES, class_names: tuple[str, ...] = ()
) -> Split:
    """Reads every example of a split once, in parallel, with a progress bar, and refuses the split if any is faulty.

    Args:
      split: the examples.
      num_classes: K.
      description: of the split, for the progress bar and messages, e.g. "voc_segmentation train".
      max_bytes: how much memory the decoded examples may take, 4 bytes a pixel; never more than half of the machine's.
      class_names: of all K classes, to print what is allowed but seldom meant, such as a class that occurs nowhere.

    Returns:
      The split, served from memory if everything fits, else as it was given: then examples are decoded on every access.

    Raises:
      UserError: listing the faults of all examples, the first `LISTED_FAULTS` of them in full, or the ids that occur
        twice.
    """
    return _read(split, num_classes, description, max_bytes, class_names).split


class Prepared(NamedTuple):
    """A split that was read."""

    split: Split
    """Served from memory, if it fits."""
    found: Inspection
    """What it consists of."""


def _read(
    split: Split,
    num_classes: int,
    description: str,
    max_bytes: int,
    class_names: tuple[str, ...],
    trained_on: bool = False,
    labelled: bool = True,
) -> Prepared:
    """The prepared split, and what was found in it."""
    refuse_duplicates(split.ids, description)
    limit = min(max_bytes, _physical_memory() // 2)
    kept: list[Example] | None = []
    size = 0
    inspection = Inspection.empty(description, split.ids)
    for example in read_examples(split, num_classes, description, inspection, labelled):
        if example is None:
            kept = None
        elif kept is not None:
            size += example.image.nbytes + example.label.nbytes
            kept.append(example)
            if size > limit:
                kept = None
    if trained_on:
        inspection.faults += inspection.one_class(class_names)
    if inspection.faults:
        raise UserError(_report(inspection.faults, len(split), description), inspection.faults)
    for suspicion in inspection.suspicions(class_names) if class_names and labelled else ():
        print(f"load_tf: worth a look: {suspicion}.", file=sys.stderr)
    return Prepared(split if kept is None else ExampleList(kept, groups_of(split)), inspection)


def read_all(dataset: SegmentationDataset, names: Sequence[str], drawn: str | None = None) -> dict[str, Prepared]:
    """Prepares several splits, so that a person has the faults of all of them at once.

    Prints where images of two splits look like neighbours, or of one that is to be divided, and no groups keep them
    together.

    Args:
      dataset: the data set.
      names: of the splits, what is trained on first; one that is named twice is prepared once.
      drawn: the split that the hold-out will be drawn from.

    Returns:
      The prepared splits by name.

    Raises:
      UserError: if a split can't be opened, an example of any can't be used, or an image is in two of them.
    """
    splits: dict[str, Prepared] = {}
    parts: dict[str, neighbours.Part] = {}
    seen: list[notes.Notes] = []
    errors: list[UserError] = []
    for name in dict.fromkeys(names):
        try:
            split = dataset.split(name)
            seen += notes_of(split)
            splits[name] = _read(
                split,
                dataset.num_classes,
                f"{dataset.name} {name}",
                KEPT_BYTES,
                dataset.class_names,
                trained_on=name == names[0],
                labelled=name != UNLABELLED_SPLIT,
            )
            found = splits[name].found
            parts[name] = neighbours.Part(found.ids, found.signatures, groups_of(split), tuple(found.digests))
        except UserError as error:
            errors.append(error)
    errors += [UserError(fault) for fault in shared_ids({name: one.split.ids for name, one in splits.items()})]
    if errors:
        # What is wrong with the folder as a whole is said by each of its splits.
        message = "\n".join(dict.fromkeys(map(str, errors)))
        raise UserError(message, tuple(dict.fromkeys(fault for error in errors for fault in error.faults)))
    for suspicion in (*notes.suspicions(seen), *neighbours.copies(parts), *neighbours.suspicions(parts, drawn)):
        print(f"load_tf: worth a look: {suspicion}.", file=sys.stderr)
    return splits


def shared_ids(ids: dict[str, tuple[str, ...]]) -> list[str]:
    """A sentence for every two splits that share examples: what a model has trained on must not judge it."""
    names = list(ids)
    found = []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            if shared := sorted(set(ids[one]) & set(ids[other])):
                found.append(
                    f"splits {one!r} and {other!r} share {len(shared)} examples: {listing(shared)}; expected none."
                )
    return found


def draw_holdout(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """Draws the hold-out by key, without replacement, from the sorted ids (docs/reproduction.md).

    Args:
      split: the validation images; groups of it are drawn as a whole.
      count: how many make the hold-out, or nearly so where there are groups; the paper takes 500 of 1,449.
      seed: the experiment's.

    Returns:
      The hold-out, and the untouched rest on which nothing is ever selected; both sorted by id.

    Raises:
      UserError: unless 1 <= count < len(split), or if all images are of one group.
    """
    if not 1 <= count < len(split):
        raise UserError(
            f"the hold-out is to have {count} images, but there are {len(split)} validation images; expected 1 to "
            f"{len(split) - 1}, so that some stay untouched."
        )
    holdout, untouched = draw(split.ids, count, seed, "hold-out", groups_of(split))
    return Subset(split, holdout), Subset(split, untouched)


def _report(faults: list[str], count: int, description: str) -> str:
    """One message for all faults, a line for every cause."""
    causes = by_cause(faults)
    if len(causes) == 1:
        return causes[0]
    shown = "".join(f"\n  {fault}" for fault in causes[:LISTED_FAULTS])
    more = f"\n  and {len(causes) - LISTED_FAULTS} more, which load_tf.check_dataset lists"
    more = more if len(causes) > LISTED_FAULTS else ""
    return f"{len(faults)} of {count} examples of {description} can't be used:{shown}{more}"


def _physical_memory() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
