"""Anyone's data set: a folder of images, a folder of masks, and the names of the classes."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from load_tf.data import label_maps, split_folders
from load_tf.data.colours import VOID_COLOUR, Colour, qualitative_palette
from load_tf.data.dataset import IGNORE_LABEL, UNLABELLED_SPLIT, SegmentationDataset
from load_tf.data.groups import Groups
from load_tf.data.split_folders import SPLITS, Files
from load_tf.data.text import read_lines, refuse_duplicates
from load_tf.data.unlabelled import photos
from load_tf.errors import UserError


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
    image_suffix: str = "",
    void: int | None = None,
    label_map: Mapping[int, int] | str | None = None,
    unlabelled: str | None = None,
) -> SegmentationDataset:
    """A data set that is a folder of images and masks.

    An image and its mask have the same file name but for the extension (and the suffixes); images may be JPEG, PNG,
    BMP, GIF, WebP or TIFF, masks PNG, BMP, GIF or TIFF: grey or palette images whose values are the labels, 255 for
    void, or RGB images painted in the colours of the classes. Links are followed.

    Splits are what `train.txt` and `val.txt` (or `validation.txt`), and `test.txt` if there is one, in `data_dir` list,
    UTF-8: an id, image name or path per line, or an image and its mask. Without either of the first two the splits are
    folders, where `images` and `masks` say so with "{split}"; else all images are divided by a keyed draw.

    Only `classes.txt` and `colours.txt` are read at once, and only where their argument is None; everything else is
    looked for when a split is opened.

    Args:
      data_dir: the folder.
      images: the images' folder in it; ids of images in subfolders contain the subfolder. "{split}" stands for train,
        val (or validation, valid) and test. Where there is no folder `images`, `train` with `trainannot` (as SegNet
        ships CamVid), and `train/images` with `train/masks` or `train/labels`, are found without being told.
      masks: the masks' folder in it, likewise.
      class_names: K names; None: the lines of `classes.txt` in `data_dir`.
      colours: K RGB triples in [0, 255], no two the same; None: `colours.txt` in `data_dir` (per class a line "R G B",
        anything behind it is ignored), or, without one, a palette to look at.
      colour_table: RGB -> label for RGB masks, 255 for void; None: the classes' colours, and (224, 224, 192) for void.
      mask_suffix: what mask names have and image names don't, e.g. "_mask".
      validation_fraction: share of the images in `validation`, in (0, 1), where there are neither lists nor folders.
      seed: of the draw, where there are neither lists nor folders.
      name: for tables and file names; None: the folder's name.
      groups: how images are found that belong together, such as the frames of a sequence; then a draw, this one and
        that of the hold-out, takes them as a whole. With blocks, those of a drawn split were made of all images.
      image_suffix: what image names have and mask names don't, e.g. "_leftImg8bit".
      void: the number that stands for void in grey and palette masks, beside 255; none of the classes'.
      label_map: the label of every number in grey and palette masks, e.g. {0: 0, 255: 1}; 255 is void. A number that it
        does not name is refused. "reduce_zero_label": 0 is void, 1 is the first class. "cityscapes": the 19 classes of
        its label ids.
      unlabelled: a folder of photos without masks, in `data_dir` or anywhere: the split `unlabelled`, which a run uses
        where no label is needed. Their ids begin with it. None: there are none.

    Raises:
      UserError: if the folder or the names of its classes are missing, or the colours or labels don't fit them. The
        data set's `split(name)` raises it for images without mask, masks without image, two files of one id, an empty
        list, an id listed twice or in two lists, a file of a list that is not there.
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
    _refuse_colours_given_twice(named or (), class_names, root)
    # Invented colours say nothing about masks: painted ones are refused unless somebody has said what colours mean.
    if colour_table is not None:
        colour_table = {_colour(colour): _label(label, len(class_names)) for colour, label in colour_table.items()}
    elif named is not None:
        colour_table = {VOID_COLOUR: IGNORE_LABEL} | {colour: label for label, colour in enumerate(named)}
    files = Files(
        *(root, *split_folders.found(root, images, masks), image_suffix, mask_suffix, validation_fraction, seed),
        *(len(class_names), colour_table, label_maps.label_table(label_map, void, class_names), groups),
    )
    return SegmentationDataset(
        name or root.resolve().name,
        tuple(class_names),
        named or qualitative_palette(len(class_names)),
        {
            **{split: functools.partial(files.open, split) for split in SPLITS if split != "test" or files.has(split)},
            **({UNLABELLED_SPLIT: functools.partial(photos, root / unlabelled, unlabelled)} if unlabelled else {}),
        },
        groups,
    )


def _refuse_colours_given_twice(colours: Sequence[Colour], class_names: Sequence[str], root: Path) -> None:
    """A colour that two classes have would be the label of the last."""
    of: dict[Colour, str] = {}
    for colour, name in zip(colours, class_names, strict=False):
        if colour in of:
            raise UserError(
                f"the colours of {root} give {colour} to {of[colour]!r} and to {name!r}; expected a colour of its own "
                "for every class."
            )
        of[colour] = name


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
