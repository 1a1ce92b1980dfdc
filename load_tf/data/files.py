"""Images and masks that lie as files on a disk: folders, id lists, and the split they make."""

import collections
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from load_tf.data.colours import Colour
from load_tf.data.dataset import Example, Listed
from load_tf.data.notes import Notes
from load_tf.data.text import listing, read_bytes
from load_tf.errors import UserError

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MASK_EXTENSIONS = (".png", ".bmp", ".gif", ".tif", ".tiff")
_BESIDE_IMAGES = (".txt", ".json", ".xml", ".csv", ".tsv", ".md", ".yaml", ".yml", ".ini", ".db", ".log", ".html")
"""What lies beside images and is none: annotations, notes, what file browsers leave."""


class FilePair(NamedTuple):
    """Where one example is."""

    id: str
    image: Path
    mask: Path


class ImageFiles(Listed):
    """The examples of pairs of files, as a split; each is read, decoded and checked when it is asked for."""

    def __init__(
        self,
        pairs: Sequence[FilePair],
        num_classes: int,
        colour_table: Mapping[Colour, int] | None = None,
        label_map: Mapping[int, int] | None = None,
        remarks: Sequence[str] = (),
        advice: str = "",
    ):
        """Takes the files as they are named; nothing is opened.

        Args:
          pairs: the examples, in order.
          num_classes: K.
          colour_table: RGB -> label, for painted masks.
          label_map: the label for every number in grey and palette masks; None: the number is the label.
          remarks: what was noticed when the files were looked for.
          advice: what to do about a label that is none, the end of a sentence.
        """
        self._pairs = tuple(pairs)
        self._num_classes = num_classes
        self._colour_table = colour_table
        self._label_map = label_map
        self._notes = Notes(remarks)
        self._noted: set[int] = set()
        self._advice = advice

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(pair.id for pair in self._pairs)

    @property
    def notes(self) -> tuple[Notes, ...]:
        """What was noticed of the files that were read so far."""
        return (self._notes,)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Example:
        """Reads one example.

        Raises:
          UserError: naming the file, if it can't be read, decoded or used.
        """
        # Takes TensorFlow, listing doesn't.
        from load_tf.data.decoding import check_example, decode_image, has_ignored_orientation
        from load_tf.data.orientation import UPRIGHT, orientation_of, upright_label

        pair = self._pairs[index]
        data = read_bytes(pair.image)
        try:
            image = decode_image(data, str(pair.image))
        except UserError as fault:
            raise self._with_the_masks(fault, pair) from None
        # A training reads every file again and again; only the first time there is something to notice.
        new = index not in self._noted
        label = self._label(pair, new)
        if (orientation := orientation_of(data)) != UPRIGHT:
            label, with_it = upright_label(label, image.shape[:2], orientation)
            if new:
                self._notes.turned(str(pair.image), "with its mask" if with_it else "alone")
        elif new and has_ignored_orientation(data):
            self._notes.turned(str(pair.image), "not")
        example = Example(image, label, pair.id)
        check_example(example, self._num_classes, str(pair.mask), self._advice)
        self._noted.add(index)
        return example

    def _label(self, pair: FilePair, new: bool = True) -> np.ndarray:
        """uint8 [H, W]; what is noticed of a new one is noted."""
        from load_tf.data.decoding import decode_labels

        label, numbers = decode_labels(read_bytes(pair.mask), str(pair.mask), self._colour_table, self._label_map)
        if new:
            self._notes.mask(str(pair.mask), numbers)
        return label

    def _with_the_masks(self, fault: UserError, pair: FilePair) -> UserError:
        """The fault of an image, and that of its mask if it has one, too."""
        try:
            self._label(pair)
        except UserError as other:
            return UserError(f"{fault} {other}", [str(fault), str(other)])
        return fault


class Listing(NamedTuple):
    """What lies in a folder and its subfolders."""

    folder: Path
    extensions: tuple[str, ...]
    files: dict[str, Path]
    """Those with one of the extensions, by id."""
    others: dict[str, Path]
    """Those of other kinds, by id; without what is known to lie beside images."""

    def other_kinds(self, of: Iterable[str] | None = None) -> str | None:
        """Which files of other kinds there are, in a sentence without full stop; None if there are none.

        Args:
          of: the ids to look at; None: all.
        """
        ids = sorted(self.others if of is None else self.others.keys() & set(of))
        if not ids:
            return None
        kinds = collections.Counter(_kind(self.others[id_]) for id_ in ids)
        counts = " and ".join(f"{count} {kind.format('s' * (count > 1))}" for kind, count in sorted(kinds.items()))
        shown = listing([self.others[id_].name for id_ in ids], 3)
        return (
            f"{self.folder} holds {counts}, which {'is' if len(ids) == 1 else 'are'} not read ({shown}); expected "
            f"{', '.join(self.extensions[:-1])} or {self.extensions[-1]}"
        )


def find_files(folder: Path, extensions: Sequence[str], suffix: str = "") -> dict[str, Path]:
    """The files of a folder by id, as `list_files` finds them."""
    return list_files(folder, extensions, suffix).files


def list_files(folder: Path, extensions: Sequence[str], suffix: str = "") -> Listing:
    """The files of a folder and its subfolders by id: the path inside the folder, without extension and suffix.

    Hidden files are passed over, links are followed. Ids are in Unicode normal form C, whatever form the file system
    has.

    Args:
      folder: where to look.
      extensions: lower-case, with their dots.
      suffix: what the names end with before the extension, e.g. "_mask"; files without it are passed over.

    Raises:
      UserError: if there is no such folder, a subfolder can't be read, two files have the same id, or a name isn't
        Unicode.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; expected one with {', '.join(extensions)} files.")
    found: dict[str, Path] = {}
    others: dict[str, Path] = {}
    for path in _files(folder):
        stem, extension = os.path.splitext(path.name)
        if not stem.endswith(suffix):
            continue
        id_ = path.relative_to(folder).with_name(stem.removesuffix(suffix) or stem).as_posix()
        try:
            id_.encode()
        except UnicodeEncodeError:
            raise UserError(f"the file name {os.fsencode(path)!r} is not UTF-8; rename it.") from None
        id_ = unicodedata.normalize("NFC", id_)
        if extension.lower() not in extensions:
            if extension.lower() not in _BESIDE_IMAGES:
                others[id_] = path
            continue
        if id_ in found:
            raise UserError(f"{found[id_]} and {path} have the same id {id_!r}; expected one file per id.")
        found[id_] = path
    return Listing(folder, tuple(extensions), found, others)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that isn't hidden, sorted within its own; links are followed, but in no circle."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} can't be read: {error.strerror}.")

    root = os.path.realpath(folder)
    ways = {str(folder): {root}}  # by folder what lies on the way to it
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        way = ways.pop(parent)
        inside = {os.path.join(parent, name): os.path.realpath(os.path.join(parent, name)) for name in folders}
        kept = {p: real for p, real in inside.items() if real not in way and not root.startswith(f"{real}{os.sep}")}
        folders[:] = sorted(n for n in folders if not n.startswith(".") and os.path.join(parent, n) in kept)
        ways |= {os.path.join(parent, name): way | {kept[os.path.join(parent, name)]} for name in folders}
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _kind(path: Path) -> str:
    """What a file of another kind is, with a place for the plural."""
    if path.is_symlink() and not path.exists():
        return "broken link{}"
    # An extension with braces must not become a place.
    suffix = path.suffix.replace("{", "{{").replace("}", "}}")
    return f"{suffix} file{{}}" if suffix else "file{} without extension"


def pair_files(ids: Iterable[str], images: Listing, masks: Listing, where: str) -> list[FilePair]:
    """The files of the ids, in their order.

    Args:
      ids: what to find.
      images: the folder of images.
      masks: the folder of masks.
      where: what names the ids, for messages.

    Raises:
      UserError: naming all (up to five) ids that lack a file, and files of other kinds that may be theirs.
    """
    ids = list(ids)
    kinds = (("an image", images), ("a mask", masks))
    others = [f"{other}." for _, of in kinds if (other := of.other_kinds(i for i in ids if i not in of.files))]
    faults = [
        f"{where} names {i!r}, which is without {kind}."
        for kind, of in kinds
        for i in ids
        if i not in of.files and i not in of.others
    ]
    for kind, of in kinds:
        missing = [id_ for id_ in ids if id_ not in of.files]
        if missing:
            other = of.other_kinds(missing)
            raise UserError(
                f"{where} names {len(missing)} id{'s' if len(missing) > 1 else ''} without {kind}: {listing(missing)}"
                + (f"; {other}." if other else "."),
                faults + others,
            )
    return [FilePair(id_, images.files[id_], masks.files[id_]) for id_ in ids]


def refuse_alone(images: Listing, masks: Listing, where: Path) -> None:
    """Refuses images without mask, and masks without image.

    Args:
      images: the folder of images.
      masks: the folder of masks.
      where: the data set's folder, for messages.

    Raises:
      UserError: naming the files, and files of other kinds that may belong to them.
    """
    for kind, these, those in (("mask", images, masks), ("image", masks, images)):
        alone = sorted(these.files.keys() - those.files.keys())
        if not alone:
            continue
        others = those.other_kinds(alone)
        faults = [f"{these.files[id_]} has no {kind}." for id_ in alone if id_ not in those.others]
        files = listing([str(these.files[id_]) for id_ in alone])
        raise UserError(
            f"{len(alone)} files of {where} have no {kind}: {files}" + (f"; {others}." if others else "."),
            [*faults, *([f"{others}."] if others else [])],
        )
