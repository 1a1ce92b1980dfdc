"""Reading every example of a split once: what is wrong with it, and what it consists of."""

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar

import numpy as np

from load_tf import interruption
from load_tf.data.dataset import IGNORE_LABEL, Example, Split
from load_tf.data.neighbours import SIZE, signature
from load_tf.data.text import listing
from load_tf.data.threads import Ahead
from load_tf.errors import UserError
from load_tf.progress import progress

T = TypeVar("T")

Size = tuple[int, int]
"""Height and width in pixels."""

MOSTLY_VOID = 0.95
"""Share of void pixels above which a mask is worth a look."""


@dataclasses.dataclass
class Inspection:
    """What was found in a split; the arrays have a row for every example, zeros where it is faulty.

    Attributes:
      description: of the split.
      ids: of all examples.
      faults: sentences, in the order of the examples.
      pixels: int64 [N, 256], pixels of every label.
      sizes: int32 [N, 2], height and width.
      digests: of every image's pixels.
      mask_digests: of every label map.
      signatures: float32 [N, SIZE], by which neighbours are found.
    """

    description: str
    ids: tuple[str, ...]
    faults: list[str]
    pixels: np.ndarray
    sizes: np.ndarray
    digests: list[str]
    mask_digests: list[str]
    signatures: np.ndarray

    @classmethod
    def empty(cls, description: str, ids: tuple[str, ...]) -> "Inspection":
        count = len(ids)
        pixels, sizes = np.zeros((count, 256), np.int64), np.zeros((count, 2), np.int32)
        signatures = np.zeros((count, SIZE), np.float32)
        return cls(description, ids, [], pixels, sizes, [""] * count, [""] * count, signatures)

    def add(self, index: int, found: "_Found") -> None:
        """Takes up one example."""
        self.faults += found.faults
        if found.example is not None:
            self.pixels[index] = found.pixels
            self.sizes[index] = found.example.label.shape
            self.digests[index], self.mask_digests[index] = found.digest, found.mask_digest
            self.signatures[index] = found.signature

    def one_class(self, class_names: tuple[str, ...]) -> list[str]:
        """A sentence if void is all that its masks hold beside a single class, so that nothing can be learnt of them.

        Binary masks are often 0 and 255, where 255 is meant to be the second class.
        """
        labelled = np.flatnonzero(self.pixels[:, : len(class_names)].sum(axis=0))
        if len(labelled) != 1 or not self.pixels[:, IGNORE_LABEL].any():
            return []
        label = int(labelled[0])
        advice = "if 255 is a class, say so with folder.label_map = {0: 0, 255: 1}, or write its number"
        return [
            f"the masks of {self.description} hold {label} ({class_names[label]!r}) and {IGNORE_LABEL} only, and "
            f"{IGNORE_LABEL} is void; expected labels of two classes or more: {advice}."
        ]

    def suspicions(self, class_names: tuple[str, ...]) -> list[str]:
        """What is allowed but seldom meant, each in a sentence."""
        found = []
        labelled = self.pixels[:, : len(class_names)]
        total = self.pixels.sum(axis=1)
        for name, count in zip(class_names, labelled.sum(axis=0), strict=True):
            if not count:
                found.append(f"class {name!r} occurs in no mask of {self.description}")
        for finding, where in (
            ("a single class and nothing else", (labelled > 0).sum(axis=1) == 1),
            (f"void in more than {MOSTLY_VOID:.0%} of its pixels", self.pixels[:, IGNORE_LABEL] > MOSTLY_VOID * total),
        ):
            rows = np.flatnonzero(where & (total > 0))
            if rows.size:
                names = listing([self.ids[row] for row in rows])
                found.append(f"{rows.size} masks of {self.description} hold {finding}: {names}")
        same: dict[str, list[str]] = {}
        for identity, digest in zip(self.ids, self.digests, strict=True):
            if digest:
                same.setdefault(digest, []).append(identity)
        for ids in same.values():
            if len(ids) > 1:
                found.append(f"images of {self.description} are equal in every pixel: {listing(ids)}")
        return found


@dataclasses.dataclass(frozen=True)
class _Found:
    """One example, read; `example` is None where it is faulty."""

    faults: tuple[str, ...] = ()
    example: Example | None = None
    pixels: np.ndarray | None = None
    digest: str = ""
    mask_digest: str = ""
    signature: np.ndarray | None = None


def read_examples(
    split: Split,
    num_classes: int,
    description: str,
    inspection: Inspection | None = None,
    labelled: bool = True,
) -> Iterator[Example | None]:
    """Reads every example in parallel, with a progress bar; a signal need not wait for the end.

    Args:
      split: the examples.
      num_classes: K.
      description: of the split, for the progress bar.
      inspection: takes up what is found.
      labelled: whether there are labels to check.

    Yields:
      The examples in order, None for a faulty one.
    """
    from load_tf.data.decoding import check_example, check_image  # takes TensorFlow, drawing a hold-out doesn't

    ids = split.ids

    def read(index: int) -> _Found:
        try:
            example = Example(*split[index])
            if labelled:
                check_example(example, num_classes, ids[index])
            else:
                check_image(example.image, ids[index])
            if example.id != ids[index]:
                raise UserError(f"example {index} has the id {example.id!r}, but the split says {ids[index]!r}.")
        except UserError as error:
            return _Found(error.faults)
        pixels = np.bincount(example.label.ravel(), minlength=256)
        digests = _digest(example.image), _digest(example.label)
        return _Found((), example, pixels, *digests, signature(example.image))

    found = progress(_in_order(read, len(split)), f"checking {description}", total=len(split), unit="image")
    with interruption.abandonable():
        for index, one in enumerate(found):
            if inspection is not None:
                inspection.add(index, one)
            yield one.example


def sizes_of(split: Split, description: str) -> set[Size]:
    """(height, width) of a split's images, read in parallel; those that can't be read are left out.

    Args:
      split: the examples.
      description: of the split, for the progress bar.
    """

    def size(index: int) -> Size | None:
        try:
            height, width = split[index].image.shape[:2]
        except UserError:
            return None
        return height, width

    found = progress(_in_order(size, len(split)), f"sizes of {description}", total=len(split), unit="image")
    with interruption.abandonable():
        return {one for one in found if one is not None}


def _in_order(read: Callable[[int], T], count: int) -> Iterator[T]:
    """Calls `read` for 0 to count - 1 in threads; a bounded number is read ahead."""
    with Ahead[T](4) as ahead:
        for index in range(count):
            yield from ahead.call(read, index)
        yield from ahead.rest()


def _digest(pixels: np.ndarray) -> str:
    """Of the size, too: an image of one colour has the bytes of another of as many pixels."""
    key = repr(pixels.shape).encode()
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=key).hexdigest()


def larger_than(
    crop: tuple[int, int], parts: Mapping[str, tuple[Inspection, Collection[str]]], use: Callable[[Size], str]
) -> list[str]:
    """A sentence if images are higher or wider than a crop that they have to fit into.

    Args:
      crop: height and width in pixels.
      parts: by what they are for, e.g. "training", what was found, and the ids that count.
      use: what to set for the largest (height, width), e.g. "experiment.crop = (369, 481)".

    Returns:
      One sentence for all images, or none.
    """
    larger: dict[str, list[str]] = {}
    largest = (0, 0)
    for what, (found, ids) in parts.items():
        for identity, (height, width) in zip(found.ids, found.sizes.tolist(), strict=True):
            if identity not in ids:
                continue
            largest = max(largest[0], height), max(largest[1], width)
            if height > crop[0] or width > crop[1]:
                larger.setdefault(what, []).append(identity)
    if not larger:
        return []
    names = [name for these in larger.values() for name in these]
    kinds = " and ".join(f"{len(these)} {what}" for what, these in larger.items())
    return [
        f"{kinds} {'images are' if len(names) > 1 else 'image is'} larger than the crop {crop[0]}x{crop[1]}, up to "
        f"{largest[0]}x{largest[1]} (height x width): {listing(names)}; use {use(largest)}."
    ]
