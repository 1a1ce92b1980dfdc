"""Images that look like neighbours: two frames of a video, two cuts of a scan, one photograph twice.

An image's signature is how its colours change from each of 8 x 8 fields to the next; two images are near when the
cosine of their signatures is above `NEAR`. On CamVid that holds for 47 % of neighbours in the training list, a second
apart, and for all in the validation list, a fifteenth of a second apart; among 1,386 PASCAL VOC and 573 Stanford
Background photographs it finds the five that are in the latter twice, and no other pair.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from load_tf.data.dataset import UNLABELLED_SPLIT
from load_tf.data.groups import Group
from load_tf.data.text import listing

NEAR = 0.8
"""The largest cosine of two different photographs was 0.74 on PASCAL VOC, 0.78 on Stanford Background."""

COPY = 0.998
"""Above it two images are one, in another size or encoding."""

SAME = 0.95
CHANCE = 0.02
"""Up to this share of a part's images may be near by chance (0.4 % among 1,000 synthetic scenes are): then only those
count whose cosine is above `SAME`."""

FIELDS = 8
COLOUR_WEIGHT = 3.0
"""Of red less green and yellow less blue against brightness: in street scenes brightness alone is alike everywhere."""

REMEDY = (
    "say with groups what belongs together, e.g. folder.groups = @groups() with groups.pattern = '^([^_]+)_' (a name "
    "in the id) or groups.block = 10 (so many consecutive ids), in Python groups=load_tf.Groups(...)"
)

SIZE = 2 * FIELDS * (FIELDS - 1) * 3
_ROWS = 1024


def signature(image: np.ndarray) -> np.ndarray:
    """float32 [SIZE] of length 1, of an image uint8 [H, W, 3]; zeros for an image of one colour."""
    step = max(1, min(image.shape[:2]) // 256)  # of large images a grid of pixels will do
    image = fields = image[::step, ::step]
    for axis in (0, 1):
        bounds = np.linspace(0, image.shape[axis], FIELDS + 1).astype(int)
        # An image with fewer pixels than fields gives a pixel to several.
        sums = np.add.reduceat(fields, np.minimum(bounds[:-1], image.shape[axis] - 1), axis=axis, dtype=np.float64)
        widths = np.maximum(np.diff(bounds), 1)
        fields = sums / widths.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    red, green, blue = np.moveaxis(fields, -1, 0)
    channels = np.stack(
        [(red + green + blue) / 3, COLOUR_WEIGHT * (red - green), COLOUR_WEIGHT * ((red + green) / 2 - blue)]
    )
    changes = np.concatenate([np.diff(channels, axis=axis).ravel() for axis in (1, 2)])
    length = np.linalg.norm(changes)
    return (changes / length if length > 1e-6 else changes * 0).astype(np.float32)


def nearest(these: np.ndarray, those: np.ndarray, itself: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """For every image the most similar one of others.

    Args:
      these: float32 [N, SIZE], signatures.
      those: float32 [M, SIZE], signatures, M > 0.
      itself: both are the same images, none of which is compared with itself.

    Returns:
      int64 [N], which of the others, and float32 [N], the cosine.
    """
    places, cosines = np.zeros(len(these), np.int64), np.full(len(these), -1, np.float32)
    for start in range(0, len(these), _ROWS):
        found = these[start : start + _ROWS] @ those.T
        rows = np.arange(len(found))
        if itself:
            found[rows, start + rows] = -1
        places[start : start + _ROWS] = found.argmax(axis=1)
        cosines[start : start + _ROWS] = found.max(axis=1)
    return places, cosines


@dataclasses.dataclass(frozen=True)
class Part:
    """Images that are to be kept apart from others.

    Attributes:
      ids: N ids.
      signatures: float32 [N, SIZE].
      groups: what each belongs to, or None.
      digests: of their pixels; empty where they are not known.
    """

    ids: tuple[str, ...]
    signatures: np.ndarray
    groups: tuple[Group, ...] | None
    digests: tuple[str, ...] = ()


def copies(parts: Mapping[str, Part]) -> list[str]:
    """A sentence for every two parts of which one holds images that are in the other under other names.

    Images that are equal in every pixel are, whatever groups they are said to be of; and those that are equal but for
    their size or a lossy encoding (a cosine above `COPY`).

    Args:
      parts: by name; what is trained on first. Parts that share ids are passed over: that is said elsewhere.
    """
    return [sentence for one, other in _two_by_two(parts) for sentence in _copies(one, parts[one], other, parts[other])]


def _two_by_two(parts: Mapping[str, Part]) -> Iterator[tuple[str, str]]:
    """Every two parts that have images, and none of one id; what is trained on, without labels too, first.

    Not the labelled and the unlabelled images that are trained on: nothing is scored on either.
    """
    first = next(iter(parts), None)
    rank = {first: 0, UNLABELLED_SPLIT: 1}
    names = sorted((name for name, part in parts.items() if part.ids), key=lambda name: rank.get(name, 2))
    for one, other in itertools.combinations(names, 2):
        if other != UNLABELLED_SPLIT and not set(parts[one].ids) & set(parts[other].ids):
            yield one, other


def _copies(one: str, first: Part, other: str, second: Part) -> list[str]:
    known = {digest: identity for identity, digest in zip(first.ids, first.digests, strict=False) if digest}
    equal = [(i, known[digest]) for i, digest in zip(second.ids, second.digests, strict=False) if digest in known]
    nearly: list[tuple[str, str]] = []
    # Neighbouring frames of a camera that stands still are nearly equal, too; without groups that they are is said.
    if first.groups is not None and second.groups is not None:
        exact = {identity for identity, _ in equal}
        places, cosines = nearest(second.signatures, first.signatures)
        rows = (row for row in np.flatnonzero(cosines > COPY) if second.ids[row] not in exact)
        nearly = [(second.ids[row], first.ids[places[row]]) for row in rows]
    return [
        f"{len(these)} images of {other} are {how} images of {one} ({_in_words(these)}): scores there say nothing of "
        "new images"
        for these, how in ((equal, "equal in every pixel to"), (nearly, "nearly equal to"))
        if these
    ]


def _in_words(twins: Sequence[tuple[str, str]], shown: int = 3) -> str:
    text = ", ".join(f"{one!r} and {other!r}" for one, other in twins[:shown])
    return text if len(twins) <= shown else f"{text}, {len(twins) - shown} more"


def suspicions(parts: Mapping[str, Part], drawn: str | None = None) -> list[str]:
    """A sentence for every two parts with images that look like neighbours, or that a group is in both of.

    Groups that no two parts share are taken at their word: then nothing is said of how the images look. Parts that
    share ids are passed over: that is said elsewhere.

    Args:
      parts: by name; what is trained on first.
      drawn: the part that is yet to be divided by a draw; without groups its own images are compared.
    """
    found: list[str] = []
    for one, other in _two_by_two(parts):
        found += _between(one, parts[one], other, parts[other])
    if drawn is not None and drawn in parts and parts[drawn].groups is None and len(parts[drawn].ids) > 1:
        part = parts[drawn]
        count, example = _near(part, part)
        if count:
            found.append(
                f"{count} of {len(part.ids)} images of {drawn!r} look like neighbours of others of it ({example}), and "
                f"the draw of the hold-out may part them; {REMEDY}"
            )
    return found


def _between(one: str, first: Part, other: str, second: Part) -> list[str]:
    grouped = first.groups is not None and second.groups is not None
    shared = set(first.groups or ()) & set(second.groups or ())
    if grouped and not shared:
        return []
    # A block of one list is none of another, whatever its number.
    named = sorted({group.name for group in shared if group.block is None})
    count, example = _near(second, first)
    if not count and not named:
        return []
    what = (
        [f"splits {one!r} and {other!r} share {len(named)} group{'s' if len(named) > 1 else ''}, {listing(named)}"]
        if named
        else []
    )
    if count:
        what.append(f"{count} of {len(second.ids)} images of {other!r} look like neighbours of {one!r} ({example})")
    remedy = "lists that keep groups whole would part them" if grouped else REMEDY
    return [f"{', and '.join(what)}: scores there say little of other scenes; {remedy}"]


def _near(these: Part, those: Part) -> tuple[int, str]:
    """How many have a near one among the others, more than by chance, and the most similar two."""
    places, cosines = nearest(these.signatures, those.signatures, itself=these is those)
    most = int(cosines.argmax())
    near = int((cosines > NEAR).sum())
    count = near if near > CHANCE * len(cosines) else int((cosines > SAME).sum())
    return count, f"{these.ids[most]!r} and {those.ids[places[most]]!r} most"
