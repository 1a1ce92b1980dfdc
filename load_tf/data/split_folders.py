"""Where the files of a split lie: what lists name, a folder for every split, or a share of one folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from load_tf.data import lists
from load_tf.data.colours import Colour
from load_tf.data.dataset import Grouped, Split
from load_tf.data.files import (
    IMAGE_EXTENSIONS,
    MASK_EXTENSIONS,
    FilePair,
    ImageFiles,
    Listing,
    list_files,
    pair_files,
    refuse_alone,
)
from load_tf.data.groups import Group, Groups
from load_tf.data.partition import draw
from load_tf.data.text import read_lines, refuse_duplicates
from load_tf.errors import UserError

SPLITS = ("train", "validation", "test")
_LISTS = {"train": ("train.txt",), "validation": ("val.txt", "validation.txt"), "test": ("test.txt",)}
_FOLDERS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}
_ADVICE = "; folder.void and folder.label_map say what other numbers are"
_PLACE = "{split}"
_DEFAULT = ("images", "masks")
_KNOWN = (
    (_PLACE, f"{_PLACE}annot"),
    (f"{_PLACE}/images", f"{_PLACE}/masks"),
    (f"{_PLACE}/images", f"{_PLACE}/labels"),
)
"""Where images and masks lie in data sets that have a folder for every split."""


def found(root: Path, images: str, masks: str) -> tuple[str, str]:
    """The folders of images and masks: those named, or where these are the default and not there, a known layout's."""
    if (images, masks) != _DEFAULT or (root / images).is_dir():
        return images, masks
    return next((pair for pair in _KNOWN if all((root / _in(name, "train")).is_dir() for name in pair)), _DEFAULT)


def _in(name: str, split: str) -> str:
    return name.replace(_PLACE, split)


@dataclasses.dataclass(frozen=True)
class Files:
    """The arguments of `load_tf.data.folder.folder`, looked up when a split is opened."""

    root: Path
    images: str
    masks: str
    image_suffix: str
    mask_suffix: str
    validation_fraction: float
    seed: int
    num_classes: int
    colour_table: Mapping[Colour, int] | None
    label_map: Mapping[int, int] | None
    groups: Groups | None

    def has(self, split: str) -> bool:
        """Whether there is a list or a folder of a split; beside lists of the others its folder is none."""
        listed = any(self._list_file(name) for name in ("train", "validation"))
        return self._list_file(split) is not None or (not listed and self._folder_of(split) is not None)

    def open(self, split: str) -> Split:
        """Finds the files of a split."""
        written = {name: path for name in SPLITS if (path := self._list_file(name))}
        lines = {name: read_lines(path) for name, path in written.items()}
        groups: tuple[Group, ...] | None = None
        remarks: list[str] = []
        if any(lists.holds_pairs(these) for these in lines.values()):
            pairs = self._from_pairs(split, written, lines)
        elif _PLACE in f"{self.images}{self.masks}":
            pairs, remarks = self._from_folders(split, written, lines)
        else:
            images, masks = self._list(self.images, self.masks)
            remarks = _passed_over(images, masks)
            ids = {name: lists.ids(these, images.files, self.root) for name, these in lines.items()}
            for name, path in written.items():
                refuse_duplicates(ids[name], str(path))
            if lines.keys() & {"train", "validation"}:
                self._refuse_unlisted(split, written)
                lists.refuse_shared({name: (written[name], ids[name]) for name in written}, split)
                pairs = pair_files(ids[split], images, masks, str(written[split]))
            elif split == "test":
                pairs = pair_files(ids[split], images, masks, str(written[split]))
            else:
                pairs, groups = self._drawn(split, images, masks, ids.get("test", []))
                remarks += self._named_as_splits(images)
        files = ImageFiles(pairs, self.num_classes, self.colour_table, self.label_map, remarks, _ADVICE)
        return files if groups is None else Grouped(files, groups)

    def _list_file(self, split: str) -> Path | None:
        """The list of a split, if there is one."""
        paths = (self.root / name for name in _LISTS[split])
        return next((path for path in paths if path.is_file()), None)

    def _folder_of(self, split: str) -> str | None:
        """What a split's folder is called, if splits have folders and it is there."""
        if _PLACE not in f"{self.images}{self.masks}":
            return None
        return next((name for name in _FOLDERS[split] if (self.root / _in(self.images, name)).is_dir()), None)

    def _list(self, images: str, masks: str) -> tuple[Listing, Listing]:
        return (
            list_files(self.root / images, IMAGE_EXTENSIONS, self.image_suffix),
            list_files(self.root / masks, MASK_EXTENSIONS, self.mask_suffix),
        )

    def _refuse_unlisted(self, split: str, written: Mapping[str, Path]) -> None:
        if split not in written:
            raise UserError(f"{self.root} has no list of the split {split!r}; expected {' or '.join(_LISTS[split])}.")

    def _from_pairs(
        self, split: str, written: Mapping[str, Path], lines: Mapping[str, Sequence[str]]
    ) -> list[FilePair]:
        """What a list of images and their masks names."""
        self._refuse_unlisted(split, written)
        named = {name: lists.pairs(written[name], these, self.root) for name, these in lines.items()}
        found = lists.identified(named, self.root)
        ids = {name: [pair.id for pair in pairs] for name, pairs in found.items()}
        refuse_duplicates(ids[split], str(written[split]))
        lists.refuse_shared({name: (written[name], ids[name]) for name in written}, split)
        return found[split]

    def _from_folders(
        self, split: str, written: Mapping[str, Path], lines: Mapping[str, Sequence[str]]
    ) -> tuple[list[FilePair], list[str]]:
        """What lies in the folders of a split, or what its list names of it.

        Ids that two splits have get the folder before them.
        """
        places = {name: folder for name in SPLITS if (folder := self._folder_of(name))}
        if split not in places:
            expected = " or ".join(str(self.root / _in(self.images, name)) for name in _FOLDERS[split])
            raise UserError(f"{self.root} has no folder of the split {split!r}; expected {expected}.")
        listed = {name: self._list(_in(self.images, at), _in(self.masks, at)) for name, at in places.items()}
        images, masks = listed[split]
        if split in lines:
            ids = lists.ids(lines[split], images.files, self.root)
            refuse_duplicates(ids, str(written[split]))
            pairs = pair_files(ids, images, masks, str(written[split]))
        else:
            refuse_alone(images, masks, self.root)
            pairs = pair_files(sorted(images.files), images, masks, str(images.folder))
        everywhere = [id_ for of, _ in listed.values() for id_ in of.files]
        if len(set(everywhere)) < len(everywhere):
            pairs = [pair._replace(id=f"{places[split]}/{pair.id}") for pair in pairs]
        return pairs, _passed_over(images, masks)

    def _drawn(
        self, split: str, images: Listing, masks: Listing, tested: Sequence[str]
    ) -> tuple[list[FilePair], tuple[Group, ...] | None]:
        """A part of the keyed draw from all images but those of the test list, and what its images belong to."""
        refuse_alone(images, masks, self.root)
        ids = sorted(images.files.keys() - set(tested))
        count = round(len(ids) * self.validation_fraction)
        if not 0 < count < len(ids):
            others = images.other_kinds()
            raise UserError(
                f"{self.root / self.images} has {len(ids)} images, too few to draw a share of "
                f"{self.validation_fraction} for validation" + (f"; {others}." if others else ".")
            )
        groups = None if self.groups is None else self.groups.labels(ids)
        drawn, rest = draw(tuple(ids), count, self.seed, "folder split", groups)
        chosen = drawn if split == "validation" else rest
        pairs = pair_files([ids[i] for i in chosen], images, masks, str(self.root))
        return pairs, None if groups is None else tuple(groups[i] for i in chosen)

    def _named_as_splits(self, images: Listing) -> list[str]:
        """That subfolders are named as splits are, which a draw does not look at."""
        tops = {id_.partition("/")[0] for id_ in images.files if "/" in id_}
        named = [name for names in _FOLDERS.values() for name in names if name in tops]
        if "train" not in named or len(named) < 2:
            return []
        return [
            f"{images.folder} has the subfolders {' and '.join(named)}, but training and validation images are drawn "
            f"from all of them; for these splits write folder.images = '{self.images}/{_PLACE}' and folder.masks = "
            f"'{self.masks}/{_PLACE}'"
        ]


def _passed_over(images: Listing, masks: Listing) -> list[str]:
    """Files of other kinds that belong to no image or mask that is read."""
    known = images.files.keys() | masks.files.keys()
    found = (listing.other_kinds(listing.others.keys() - known) for listing in (images, masks))
    return [sentence for sentence in found if sentence]
