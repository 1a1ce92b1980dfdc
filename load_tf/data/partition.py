"""One split of a data set divided into two, for a model that has seen the other splits."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

from load_tf.data.dataset import Grouped, Joined, SegmentationDataset, Split, Subset, groups_of, unlabelled_source
from load_tf.data.groups import Group, rows
from load_tf.errors import UserError
from load_tf.randomness import generator


def draw(
    ids: tuple[str, ...], count: int, seed: int, purpose: str, groups: Sequence[Group] | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draws without replacement by key from the sorted ids, so that the order in which they are stored doesn't count.

    Args:
      ids: of a split.
      count: how many to draw, 0 to len(ids).
      seed: the experiment's.
      purpose: what the draw is for; part of the key.
      groups: what every id belongs to. A group is drawn as a whole or not at all: as many groups as come nearest to
        `count`, at least one and not all. Of blocks, every sequence gives its share.

    Returns:
      The indices of the drawn ids and of the others, each sorted by id.

    Raises:
      UserError: if all ids are of one group.
    """
    order = sorted(range(len(ids)), key=ids.__getitem__)
    if groups is None:
        places = generator(seed, purpose).permutation(len(ids))
        drawn, rest = sorted(places[:count]), sorted(places[count:])
        return tuple(order[place] for place in drawn), tuple(order[place] for place in rest)
    sizes = collections.Counter(groups)
    if len(sizes) < 2:
        raise UserError(
            f"the {len(ids)} images for the draw of the {purpose} are of one group, {str(groups[0])!r}; expected two "
            "or more, so that no group is in both parts."
        )
    taken = choose(sizes, count, seed, purpose)
    return tuple(i for i in order if groups[i] in taken), tuple(i for i in order if groups[i] not in taken)


def choose(sizes: Mapping[Group, int], count: int, seed: int, purpose: str) -> set[Group]:
    """Draws whole groups by key.

    Args:
      sizes: of at least two groups, how many images each has.
      count: how many images to draw.
      seed: the experiment's.
      purpose: what the draw is for; part of the key.

    Returns:
      Some of the groups, not all: those whose images come nearest to `count`, from every sequence of blocks its share.
    """
    names = sorted(sizes)
    keyed = [names[place] for place in generator(seed, purpose).permutation(len(names))]
    strata: dict[str, list[Group]] = {}
    for group in keyed:
        strata.setdefault("" if group.block is None else group.name, []).append(group)
    taken: set[Group] = set()
    owed = 0.0
    for _, stratum in sorted(strata.items()):
        of_each = [sizes[group] for group in stratum]
        # What one sequence gives too much or too little, the next makes up for.
        owed += count * sum(of_each) / sum(sizes.values())
        totals = [0, *itertools.accumulate(of_each)]
        number = min(range(len(totals)), key=lambda number: abs(totals[number] - owed))
        taken |= set(stratum[:number])
        owed -= totals[number]
    if not taken:
        return {keyed[0]}
    return taken - {keyed[-1]} if len(taken) == len(sizes) else taken


def keyed_partition(
    dataset: SegmentationDataset, split: str = "validation", train: int = 350, seed: int = 0
) -> SegmentationDataset:
    """A data set whose splits `train` and `validation` are two parts of one split of another.

    For a checkpoint that was trained on the other splits: what it is trained and what it is evaluated on from here is
    then new to it.

    Args:
      dataset: where the images come from.
      split: the split that is divided; it is opened when one of the parts is.
      train: how many of its images `train` has, or nearly so where the data set has groups; the others are
        `validation`.
      seed: of the draw.

    Returns:
      The data set; its name tells of the partition. Its `split(name)` raises UserError if the split has too few images.
    """
    if train < 1:
        raise UserError(f"keyed_partition.train is {train}; expected at least 1.")

    @functools.cache
    def parts() -> tuple[Split, Split]:
        whole = dataset.split(split)
        if train >= len(whole):
            raise UserError(
                f"keyed_partition.train is {train}, but split {split!r} of data set {dataset.name!r} has {len(whole)} "
                "images; expected fewer, so that some are left for validation."
            )
        drawn, rest = draw(whole.ids, train, seed, "partition", groups_of(whole))
        return Subset(whole, drawn), Subset(whole, rest)

    return dataclasses.replace(
        dataset,
        name=f"{dataset.name} ({train} of {split} to train, the rest to validate)",
        sources={"train": lambda: parts()[0], "validation": lambda: parts()[1], **unlabelled_source(dataset)},
    )


def held_blocks(
    dataset: SegmentationDataset,
    split: str = "train",
    block: int = 10,
    margin: int = 2,
    holdout: int = 50,
    untouched: int = 100,
    also_untouched: Sequence[str] = (),
    seed: int = 0,
) -> SegmentationDataset:
    """A data set with new splits `holdout` and `untouched`: blocks of consecutive images that a split then lacks.

    For video, whose neighbouring frames look alike: frames drawn one by one would be known from their neighbours, and a
    single clip speaks for no other. Every sequence (group of the data set; without groups all is one) is cut into
    blocks with `margin` images between them, in the order of the ids with numbers by value. Of these blocks a keyed
    draw takes from every sequence its share. Images that lie beside a held block, up to `margin` away, are in no part.

    Args:
      dataset: where the images come from.
      split: the split that gives them, and keeps the others.
      block: images in a block; the blocks are the groups of the new splits.
      margin: images left out on either side of a held block.
      holdout: images in `holdout`; like `untouched` made up of whole blocks, as many as come nearest.
      untouched: images in `untouched`.
      also_untouched: whole splits that `untouched` has beside them, also in blocks, the last of a sequence as long as
        it comes out. They are no sources of blocks, so they have to be strange to the split that is trained on.
      seed: of the draw.

    Returns:
      The data set; its `split(name)` raises UserError if the split has too few blocks.
    """
    for name, value, least in (
        ("block", block, 1), ("margin", margin, 0), ("holdout", holdout, 1), ("untouched", untouched, 1),
    ):  # fmt: skip
        if value < least:
            raise UserError(f"held_blocks.{name} is {value}; expected at least {least}.")

    @functools.cache
    def parts() -> dict[str, Split]:
        whole = dataset.split(split)
        groups = groups_of(whole)
        names = [""] * len(whole) if groups is None else [group.name for group in groups]
        sequences = rows(whole.ids, names)
        sizes = {
            Group(name, number): block
            for name, places in sequences.items()
            for number in range((len(places) + margin) // (block + margin))
        }
        if len(sizes) * block <= holdout + untouched:
            raise UserError(
                f"held_blocks.holdout and untouched are {holdout} and {untouched}, but split {split!r} of data set "
                f"{dataset.name!r} has {len(sizes)} blocks of {block} images; expected fewer, so that some are left."
            )
        held = choose(sizes, holdout + untouched, seed, "held blocks")
        if len(held) < 2:
            raise UserError(
                f"held_blocks.holdout and untouched are {holdout} and {untouched}, in blocks of {block}; expected a "
                "block at least for each."
            )
        chosen = choose(dict.fromkeys(held, block), holdout, seed, "hold-out blocks")
        of, beside = _cut(sequences, held, block, margin)
        rest = tuple(place for place in range(len(whole)) if place not in of and place not in beside)
        found: dict[str, Split] = {split: Subset(whole, rest)}
        for part, blocks in (("holdout", chosen), ("untouched", held - chosen)):
            places = tuple(sorted(place for place, group in of.items() if group in blocks))
            found[part] = Grouped(Subset(whole, places), tuple(of[place] for place in places))
        for name in also_untouched:
            found["untouched"] = Joined(found["untouched"], _in_blocks(dataset.split(name), name, block))
        return found

    def part(name: str) -> Split:
        return parts()[name]

    return dataclasses.replace(
        dataset,
        name=f"{dataset.name} (blocks of {block} of {split} held)",
        sources={
            **dataset.sources,
            **{name: functools.partial(part, name) for name in (split, "holdout", "untouched")},
        },
    )


def _in_blocks(split: Split, name: str, block: int) -> Split:
    """A whole split whose groups are blocks of consecutive images, told apart from those of other splits."""
    groups = groups_of(split)
    sequences = rows(split.ids, [""] * len(split) if groups is None else [group.name for group in groups])
    of = {
        place: Group(f"{sequence} of {name}" if sequence else name, rank // block)
        for sequence, places in sequences.items()
        for rank, place in enumerate(places)
    }
    return Grouped(split, tuple(of[place] for place in range(len(split))))


def _cut(
    sequences: Mapping[str, Sequence[int]], held: set[Group], block: int, margin: int
) -> tuple[dict[int, Group], set[int]]:
    """The block of every place that is in a held one; the places beside these blocks, up to `margin` away."""
    of: dict[int, Group] = {}
    beside: set[int] = set()
    for name, places in sequences.items():
        for start in range(0, len(places) - block + 1, block + margin):
            group = Group(name, start // (block + margin))
            if group in held:
                of |= dict.fromkeys(places[start : start + block], group)
                beside |= {*places[max(0, start - margin) : start], *places[start + block : start + block + margin]}
    return of, beside
