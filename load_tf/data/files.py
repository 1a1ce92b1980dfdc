"""Images and masks that lie as files on a disk: folders, id lists, and the split they make."""

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from load_tf.data.colours import Colour
from load_tf.data.dataset import Example, Listed
from load_tf.data.text import listing, read_bytes
from load_tf.errors import UserError

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
MASK_EXTENSIONS = (".png", ".bmp", ".gif", ".tif", ".tiff")


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
        relabel: np.ndarray | None = None,
    ):
        """Takes the files as they are named; nothing is opened.

        Args:
          pairs: the examples, in order.
          num_classes: K.
          colour_table: RGB -> label, for painted masks.
          relabel: uint8 [256], the label for every value in the masks; None: the value is the label.
        """
        self._pairs = tuple(pairs)
        self._num_classes = num_classes
        self._colour_table = colour_table
        self._relabel = relabel

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(pair.id for pair in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Example:
        """Reads one example.

        Raises:
          UserError: naming the file, if it can't be read, decoded or used.
        """
        from load_tf.data.decoding import check_example, decode_image, decode_mask  # takes TensorFlow, listing doesn't

        pair = self._pairs[index]
        try:
            image = decode_image(read_bytes(pair.image), str(pair.image))
        except UserError as fault:
            raise self._with_the_masks(fault, pair) from None
        label = decode_mask(read_bytes(pair.mask), str(pair.mask), self._colour_table)
        if self._relabel is not None:
            label = self._relabel[label]
        example = Example(image, label, pair.id)
        check_example(example, self._num_classes, str(pair.mask))
        return example

    def _with_the_masks(self, fault: UserError, pair: FilePair) -> UserError:
        """The fault of an image, and that of its mask if it has one, too."""
        from load_tf.data.decoding import decode_mask

        try:
            decode_mask(read_bytes(pair.mask), str(pair.mask), self._colour_table)
        except UserError as other:
            return UserError(f"{fault} {other}", [str(fault), str(other)])
        return fault


def find_files(folder: Path, extensions: Sequence[str], suffix: str = "") -> dict[str, Path]:
    """The files of a folder and its subfolders by id: the path inside the folder, without extension and suffix.

    Hidden files are passed over. Ids are in Unicode normal form C, whatever form the file system has.

    Args:
      folder: where to look.
      extensions: lower-case, with their dots.
      suffix: what the names end with before the extension, e.g. "_mask"; files without it are passed over.

    Raises:
      UserError: if there is no such folder, two files have the same id, or a name isn't Unicode.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; expected one with {', '.join(extensions)} files.")
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            stem, extension = os.path.splitext(name)
            if name.startswith(".") or extension.lower() not in extensions or not stem.endswith(suffix):
                continue
            path = Path(parent, name)
            id_ = path.relative_to(folder).with_name(stem.removesuffix(suffix) or stem).as_posix()
            try:
                id_.encode()
            except UnicodeEncodeError:
                raise UserError(f"the file name {os.fsencode(path)!r} is not UTF-8; rename it.") from None
            id_ = unicodedata.normalize("NFC", id_)
            if id_ in found:
                raise UserError(f"{found[id_]} and {path} have the same id {id_!r}; expected one file per id.")
            found[id_] = path
    return found


def pair_files(ids: Iterable[str], images: Mapping[str, Path], masks: Mapping[str, Path], where: str) -> list[FilePair]:
    """The files of the ids, in their order.

    Args:
      ids: what to find.
      images: image files by id.
      masks: mask files by id.
      where: what names the ids, for messages.

    Raises:
      UserError: naming all (up to five) ids that lack a file.
    """
    ids = list(ids)
    kinds = (("an image", images), ("a mask", masks))
    faults = [f"{where} names {i!r}, which is without {kind}." for kind, files in kinds for i in ids if i not in files]
    for kind, files in kinds:
        missing = [id_ for id_ in ids if id_ not in files]
        if missing:
            raise UserError(
                f"{where} names {len(missing)} id{'s' if len(missing) > 1 else ''} without {kind}: {listing(missing)}.",
                faults,
            )
    return [FilePair(id_, images[id_], masks[id_]) for id_ in ids]
