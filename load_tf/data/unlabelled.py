"""Images without labels: a folder of photos, a list of some, images in memory, or images whose labels are withheld.

All of them are splits whose label maps say `UNLABELLED` at every pixel. The segmentor's adversarial updates take them,
which need no label; real maps, scores and losses by pixel never do.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from load_tf.data.dataset import (
    UNLABELLED,
    UNLABELLED_SPLIT,
    Example,
    ExampleList,
    Joined,
    Listed,
    SegmentationDataset,
    Split,
    Subset,
    groups_of,
    notes_of,
)
from load_tf.data.files import IMAGE_EXTENSIONS, Listing, list_files
from load_tf.data.groups import Group, rows
from load_tf.data.notes import Notes
from load_tf.data.partition import choose, draw
from load_tf.data.text import listing, read_bytes, read_lines, refuse_duplicates
from load_tf.errors import UserError


def without_labels(image: np.ndarray, identity: str) -> Example:
    """An image that nobody has labelled, as an example; its label map takes no memory."""
    return Example(image, np.broadcast_to(np.uint8(UNLABELLED), image.shape[:2]), identity)


class Photos(Listed):
    """Image files without masks, as a split; each is read and decoded when it is asked for."""

    def __init__(self, files: Sequence[tuple[str, Path]], remarks: Sequence[str] = ()) -> None:
        """Nothing is opened.

        Args:
          files: id and path of each.
          remarks: what was noticed when the files were looked for.
        """
        self._files = tuple(files)
        self._notes = Notes(remarks)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(identity for identity, _ in self._files)

    @property
    def notes(self) -> tuple[Notes, ...]:
        """What was noticed of the files that were read so far."""
        return (self._notes,)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        """Reads one image. Raises UserError, naming the file, if it can't be read or decoded."""
        from load_tf.data.decoding import decode_image, has_ignored_orientation  # takes TensorFlow, listing doesn't

        identity, path = self._files[index]
        data = read_bytes(path)
        image = decode_image(data, str(path))
        if has_ignored_orientation(data):
            self._notes.turned(str(path), "not")
        return without_labels(image, identity)


def photos(folder: str | Path, name: str | None = None) -> Photos:
    """All images of a folder and its subfolders, without masks.

    Args:
      folder: where they are; JPEG, PNG, BMP, GIF, WebP or TIFF.
      name: what ids begin with, so that none is that of a labelled image; None: the folder's name.

    Raises:
      UserError: if there is no such folder, it holds no image, or two files have the same name but for the extension.
    """
    folder = Path(folder).expanduser()
    found = list_files(folder, IMAGE_EXTENSIONS)
    others = found.other_kinds(found.others.keys() - found.files.keys())
    if not found.files:
        raise UserError(
            f"{folder} holds no image; expected photos without labels" + (f"; {others}." if others else ".")
        )
    first = name or folder.resolve().name
    files = [(f"{first}/{identity}", found.files[identity]) for identity in sorted(found.files)]
    return Photos(files, [others] if others else [])


def listed_photos(path: str | Path, images: Listing, suffix: str = "") -> Photos:
    """The images that a list names, without masks.

    Args:
      path: of the list: an id, or a path that ends with it, a line.
      images: where they are, by ids that may stand in folders.
      suffix: what names in the list may end with and ids don't.

    Raises:
      UserError: if there is no such list, or naming what it names twice, or what is not there.
    """
    path = Path(path).expanduser()
    names = [Path(line.split()[0]).stem.removesuffix(suffix) for line in read_lines(path)]
    refuse_duplicates(names, str(path))
    found = {Path(identity).name: file for identity, file in images.files.items()}
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{path} names {listing(missing)}, which {images.folder} does not hold; expected its images.")
    return Photos([(name, found[name]) for name in names])


@dataclasses.dataclass(frozen=True, repr=False)
class Withheld(Listed):
    """A split whose labels nobody is told."""

    split: Split

    @property
    def ids(self) -> tuple[str, ...]:
        return self.split.ids

    @property
    def groups(self) -> tuple[Group, ...] | None:
        """Those of the split."""
        return groups_of(self.split)

    @property
    def notes(self) -> tuple[Notes, ...]:
        """Those of the split."""
        return notes_of(self.split)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Example:
        image, _, identity = self.split[index]
        return without_labels(image, identity)


@dataclasses.dataclass(frozen=True, repr=False)
class OfOneClass(Withheld):
    """A split as if every pixel were of class 0: for an evaluator of which only the predictions are asked."""

    def __getitem__(self, index: int) -> Example:
        image, _, identity = self.split[index]
        return Example(image, np.broadcast_to(np.uint8(0), image.shape[:2]), identity)


@dataclasses.dataclass(frozen=True, repr=False)
class Relabelled(Listed):
    """A split with other label maps in place of its own, such as those that a model has made up."""

    split: Split
    labels: Sequence[np.ndarray]
    """uint8 [H, W] for every image."""

    @property
    def ids(self) -> tuple[str, ...]:
        return self.split.ids

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Example:
        image, _, identity = self.split[index]
        return Example(image, self.labels[index], identity)


def as_unlabelled(images: Any) -> Split:
    """Images without labels as a split.

    Args:
      images: the path of a folder; a split, whose labels are withheld; a sequence, or an iterable of a known end such
        as a `tf.data.Dataset`, of images uint8 [H, W, 3], not batched.

    Raises:
      UserError: if it is none of these, or it is empty.
    """
    if isinstance(images, str | Path):
        return photos(images)
    if hasattr(images, "ids") and hasattr(images, "__getitem__"):
        return Withheld(images)
    if isinstance(images, dict | bytes) or not isinstance(images, Iterable):
        raise UserError(f"unlabelled is {type(images).__name__}; expected images, or the path of a folder of photos.")
    found = [_example(item, f"{UNLABELLED_SPLIT}_{index:05d}") for index, item in enumerate(images)]
    if not found:
        raise UserError("unlabelled is empty; expected images, or None.")
    return ExampleList(found)


def _example(item: Any, identity: str) -> Example:
    if isinstance(item, tuple | list):
        raise UserError(
            f"{identity} is a {type(item).__name__} of {len(item)}; expected an image alone, uint8 [H, W, 3]: images "
            "with labels belong into the training data."
        )
    image = np.asarray(item)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        batched = "; batches must be taken apart first (unbatch)" if image.ndim == 4 else ""
        raise UserError(f"{identity} is {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3]{batched}.")
    return without_labels(image, identity)


def few_labels(
    dataset: SegmentationDataset,
    split: str = "train",
    labelled: int = 100,
    block: int | None = None,
    keep_images: bool = True,
    seed: int = 0,
) -> SegmentationDataset:
    """A data set of which a split keeps a few labels: so it is measured what its other images are worth without any.

    Args:
      dataset: where the images come from.
      split: the split that keeps some labels.
      labelled: how many of its images keep theirs, or nearly so with blocks.
      block: for video: labels are kept by whole blocks of so many consecutive images of a sequence (group of the data
        set), of every sequence its share; None: image by image.
      keep_images: whether the others become the split `unlabelled`, before those it had; False: there is none.
      seed: of the draw; with another one other labels are kept.

    Returns:
      The data set. Its `split(name)` raises UserError if the split has too few images.
    """
    for name, value in (("labelled", labelled), ("block", 1 if block is None else block)):
        if value < 1:
            raise UserError(f"few_labels.{name} is {value}; expected at least 1.")

    @functools.cache
    def parts() -> dict[str, Split]:
        whole = dataset.split(split)
        if labelled >= len(whole):
            raise UserError(
                f"few_labels.labelled is {labelled}, but split {split!r} of data set {dataset.name!r} has {len(whole)} "
                "images; expected fewer, so that some are left without labels."
            )
        kept, rest = _drawn(whole, labelled, block, seed)
        without: Split = Withheld(Subset(whole, rest))
        if UNLABELLED_SPLIT in dataset.sources and keep_images:
            without = Joined(without, dataset.split(UNLABELLED_SPLIT))
        return {split: Subset(whole, kept), UNLABELLED_SPLIT: without}

    def part(name: str) -> Split:
        return parts()[name]

    others = {name: source for name, source in dataset.sources.items() if name != UNLABELLED_SPLIT}
    new = (split, UNLABELLED_SPLIT) if keep_images else (split,)
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name} ({labelled} labels of {split})",
        sources={**others, **{name: functools.partial(part, name) for name in new}},
    )


def _drawn(whole: Split, count: int, block: int | None, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The places of the images that keep their labels, and of the others."""
    if block is None:
        return draw(whole.ids, count, seed, "few labels")
    groups = groups_of(whole)
    sequences = rows(whole.ids, [""] * len(whole) if groups is None else [group.name for group in groups])
    of = {place: Group(name, rank // block) for name, places in sequences.items() for rank, place in enumerate(places)}
    sizes = collections.Counter(of.values())
    if len(sizes) < 2:
        raise UserError(f"few_labels.block is {block}, and all {len(whole)} images are in one; expected fewer.")
    taken = choose(sizes, count, seed, "few labels")
    places = range(len(whole))
    return tuple(p for p in places if of[p] in taken), tuple(p for p in places if of[p] not in taken)
