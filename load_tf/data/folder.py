"""Anyone's data set: a folder of images, a folder of masks, and the names of the classes."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from load_tf.data.colours import VOID_COLOUR, Colour, voc_palette
from load_tf.data.dataset import IGNORE_LABEL, Grouped, SegmentationDataset, Split
from load_tf.data.files import IMAGE_EXTENSIONS, MASK_EXTENSIONS, FilePair, ImageFiles, find_files, pair_files
from load_tf.data.groups import Group, Groups
from load_tf.data.partition import draw
from load_tf.data.text import listing, read_lines, refuse_duplicates
from load_tf.errors import UserError

_LISTS = {"train": ("train.txt",), "validation": ("val.txt", "validation.txt"), "test": ("test.txt",)}


def folder(
    data_dir: str,
    images: str = "images",
    masks: str = "masks",
    class_names: Sequence[str] | None = None,
    colours: Sequence[Colour] | None = None,
    colour_table: Mapping[Colour, int] | None = None,
    mask_suffix: str = "",
    validation_fraction: float = 0.2,
    seed: int = 0,
    name: str | None = None,
    groups: Groups | None = None,
) -> SegmentationDataset:
    """A data set that is a folder of images and masks.

    An image and its mask have the same file name but for the extension (and `mask_suffix`); images may be JPEG, PNG,
    BMP, GIF or WebP, masks PNG, BMP, GIF or TIFF: grey or palette images whose values are the labels, 255 for void, or
    RGB images painted in the colours of the classes.

    Splits are what `train.txt` and `val.txt` (or `validation.txt`), and `test.txt` if there is one, in `data_dir` list,
    an id or image name per line, UTF-8. Without either of the first two all images are divided by a keyed draw.

    Only `classes.txt` and `colours.txt` are read at once, and only where their argument is None; everything else is
    looked for when a split is opened.

    Args:
      data_dir: the folder.
      images: the images' folder in it; ids of images in subfolders contain the subfolder.
      masks: the masks' folder in it.
      class_names: K names; None: the lines of `classes.txt` in `data_dir`.
      colours: K RGB triples in [0, 255]; None: `colours.txt` in `data_dir` (per class a line "R G B", anything
        behind it is ignored), or, without one, the PASCAL VOC palette.
      colour_table: RGB -> label for RGB masks, 255 for void; None: the classes' colours, and (224, 224, 192) for void.
      mask_suffix: what mask names have and image names don't, e.g. "_mask".
      validation_fraction: share of the images in `validation`, in (0, 1), where there are no lists.
      seed: of the draw, where there are no lists.
      name: for tables and file names; None: the folder's name.
      groups: how images are found that belong together, such as the frames of a sequence; then a draw, this one and
        that of the hold-out, takes them as a whole. With blocks, those of a drawn split were made of all images.

    Raises:
      UserError: if the folder or the names of its classes are missing, or the colours don't fit them. The data set's
        `split(name)` raises it for images without mask, masks without image, two files of one id, an empty list, an id
        listed twice or in two lists.
    """
    root = Path(data_dir).expanduser()
    if not root.is_dir():
        raise UserError(f"data_dir {root} is not a folder; expected one with {images!r} and {masks!r} in it.")
    if not 0 < validation_fraction < 1:
        raise UserError(f"folder.validation_fraction is {validation_fraction}; expected a value between 0 and 1.")
    if class_names is None:
        if not (root / "classes.txt").is_file():
            raise UserError(f"{root} has no classes.txt; expected one class name per line, or folder.class_names.")
        class_names = read_lines(root / "classes.txt")
    refuse_duplicates(class_names, f"the list of classes of {root}")
    named = tuple(map(_colour, colours)) if colours is not None else _listed_colours(root / "colours.txt", class_names)
    # Invented colours say nothing about masks: painted ones are refused unless somebody has said what colours mean.
    if colour_table is not None:
        colour_table = {_colour(colour): _label(label, len(class_names)) for colour, label in colour_table.items()}
    elif named is not None:
        colour_table = {VOID_COLOUR: IGNORE_LABEL} | {colour: label for label, colour in enumerate(named)}
    files = _Folder(root, images, masks, mask_suffix, validation_fraction, seed, len(class_names), colour_table, groups)
    return SegmentationDataset(
        name or root.resolve().name,
        tuple(class_names),
        named or voc_palette(len(class_names)),
        {split: functools.partial(files.open, split) for split in _LISTS if split != "test" or files.list_file(split)},
        groups,
    )


@dataclasses.dataclass(frozen=True)
class _Folder:
    """The arguments of `folder`, looked up when a split is opened."""

    root: Path
    images: str
    masks: str
    mask_suffix: str
    validation_fraction: float
    seed: int
    num_classes: int
    colour_table: Mapping[Colour, int] | None
    groups: Groups | None

    def open(self, split: str) -> Split:
        """Finds the files of a split."""
        images = find_files(self.root / self.images, IMAGE_EXTENSIONS)
        masks = find_files(self.root / self.masks, MASK_EXTENSIONS, self.mask_suffix)
        lists = {name: self._listed(name, images) for name in _LISTS if self.list_file(name)}
        if lists.keys() & {"train", "validation"}:
            pairs, groups = self._from_lists(split, lists, images, masks), None
        else:
            pairs, groups = self._drawn(split, images, masks, lists.get("test", []))
        files = ImageFiles(pairs, self.num_classes, self.colour_table)
        return files if groups is None else Grouped(files, groups)

    def list_file(self, split: str) -> Path | None:
        """The id list of a split, if there is one."""
        paths = (self.root / name for name in _LISTS[split])
        return next((path for path in paths if path.is_file()), None)

    def _listed(self, split: str, images: Mapping[str, Path]) -> list[str]:
        """The ids in a list, which may name image files instead."""
        path = self.list_file(split)
        assert path is not None
        ids = [line if line in images else _without_extension(line) for line in read_lines(path)]
        refuse_duplicates(ids, str(path))
        return ids

    def _from_lists(
        self, split: str, lists: Mapping[str, list[str]], images: Mapping[str, Path], masks: Mapping[str, Path]
    ) -> list[FilePair]:
        path = self.list_file(split)
        if path is None:
            raise UserError(f"{self.root} has no list of the split {split!r}; expected {' or '.join(_LISTS[split])}.")
        for other in lists.keys() - {split}:
            shared = sorted(set(lists[split]).intersection(lists[other]))
            if shared:
                raise UserError(
                    f"{path} and {self.list_file(other)} both name {listing(shared)}; expected no image in two splits."
                )
        return pair_files(lists[split], images, masks, str(path))

    def _drawn(
        self, split: str, images: Mapping[str, Path], masks: Mapping[str, Path], tested: Sequence[str]
    ) -> tuple[list[FilePair], tuple[Group, ...] | None]:
        """A part of the keyed draw from all images but those of the test list, and what its images belong to."""
        if split == "test":
            return pair_files(tested, images, masks, str(self.list_file(split))), None
        for kind, files, others in (("mask", images, masks), ("image", masks, images)):
            alone = sorted(files.keys() - others.keys())
            if alone:
                raise UserError(
                    f"{len(alone)} files of {self.root} have no {kind}: {listing([str(files[id_]) for id_ in alone])}.",
                    [f"{files[id_]} has no {kind}." for id_ in alone],
                )
        ids = sorted(images.keys() - set(tested))
        count = round(len(ids) * self.validation_fraction)
        if not 0 < count < len(ids):
            raise UserError(
                f"{self.root / self.images} has {len(ids)} images, too few to draw a share of "
                f"{self.validation_fraction} for validation."
            )
        groups = None if self.groups is None else self.groups.labels(ids)
        drawn, rest = draw(tuple(ids), count, self.seed, "folder split", groups)
        chosen = drawn if split == "validation" else rest
        pairs = pair_files([ids[i] for i in chosen], images, masks, str(self.root))
        return pairs, None if groups is None else tuple(groups[i] for i in chosen)


def _listed_colours(path: Path, class_names: Sequence[str]) -> tuple[Colour, ...] | None:
    """The colours of `colours.txt`, None without one."""
    if not path.is_file():
        return None
    lines = read_lines(path)
    if len(lines) != len(class_names):
        raise UserError(f"{path} has {len(lines)} colours; expected {len(class_names)}, one per class.")
    try:
        return tuple(_colour([int(number) for number in line.replace(",", " ").split()[:3]]) for line in lines)
    except ValueError:
        raise UserError(
            f'{path} has a line that does not start with three numbers; expected "R G B" per line.'
        ) from None


def _colour(value: Sequence[int]) -> Colour:
    """An RGB triple, checked."""
    if len(value) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in value):
        raise UserError(f"{value!r} is not a colour; expected three integers from 0 to 255.")
    return value[0], value[1], value[2]


def _label(value: int, num_classes: int) -> int:
    """A label of a colour table, checked."""
    if value not in range(num_classes) and value != IGNORE_LABEL:
        raise UserError(f"colour_table has the label {value!r}; expected 0 to {num_classes - 1}, or {IGNORE_LABEL}.")
    return value


def _without_extension(line: str) -> str:
    stem, dot, extension = line.rpartition(".")
    return stem if dot and f".{extension.lower()}" in IMAGE_EXTENSIONS else line
