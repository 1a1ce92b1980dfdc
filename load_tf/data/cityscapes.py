"""Cityscapes (Cordts et al., CVPR 2016), fine annotations: 2,975 train and 500 validation images, 19 classes.

The images can only be had after registration, so this module was tested on made-up files of the same layout, not on the
real ones.
"""

import functools
from pathlib import Path

import numpy as np

from load_tf.data.colours import Colour
from load_tf.data.dataset import IGNORE_LABEL, UNLABELLED_SPLIT, SegmentationDataset, Split
from load_tf.data.files import ImageFiles, list_files, pair_files
from load_tf.data.groups import Groups
from load_tf.data.text import listing
from load_tf.data.unlabelled import listed_photos
from load_tf.errors import UserError

_CLASSES: tuple[tuple[str, int, Colour], ...] = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
"""Name, label id in the files, colour; in the order of the train ids 0 to 18 (cityscapesScripts, `labels.py`)."""

CLASS_NAMES = tuple(name for name, _, _ in _CLASSES)
COLOURS = tuple(colour for _, _, colour in _CLASSES)

_FOLDERS = {"train": "train", "validation": "val"}
_FEATURES = ("image_left", "segmentation_label", "image_id")


def train_ids() -> np.ndarray:
    """uint8 [256]: the train id of every label id of the files, 255 for those that aren't evaluated."""
    table = np.full(256, IGNORE_LABEL, np.uint8)
    for train_id, (_, label_id, _) in enumerate(_CLASSES):
        table[label_id] = train_id
    return table


def cityscapes(data_dir: str | None = None, unlabelled: str | None = None) -> SegmentationDataset:
    """Cityscapes with the splits `train` and `validation`; nothing is looked for before a split is opened.

    The groups are the city and the sequence of an id, "aachen_000000" of "aachen_000000_000019".

    Args:
      data_dir: either a folder with the extracted `leftImg8bit` and `gtFine`, which are read where they lie; or the
        folder of tensorflow-datasets (None: its own, `~/tensorflow_datasets`), where `cityscapes/semantic_segmentation`
        is prepared from `leftImg8bit_trainvaltest.zip` and `gtFine_trainvaltest.zip` in `downloads/manual`. The former
        needs half the disk and opens at once; the latter reads the split once to learn the ids.
      unlabelled: a file that lists images below `leftImg8bit`, such as those of `train_extra`, one a line with or
        without "_leftImg8bit.png": the split `unlabelled`. None: there are none.

    Returns:
      The data set. Its `split(name)` raises UserError if the files are missing.
    """
    sources = {split: functools.partial(_open, data_dir, split) for split in _FOLDERS}
    if unlabelled is not None:
        sources[UNLABELLED_SPLIT] = functools.partial(_open_unlabelled, data_dir, unlabelled)
    return SegmentationDataset("cityscapes", CLASS_NAMES, COLOURS, sources, Groups("^([^_]+_[^_]+)_"))


def _open(data_dir: str | None, split: str) -> Split:
    if data_dir is not None:
        root = Path(data_dir).expanduser()
        if (root / "leftImg8bit").is_dir():
            return _extracted(root, _FOLDERS[split])
        if not root.is_dir():
            raise UserError(f"data_dir {root} is not a folder; expected one with leftImg8bit and gtFine in it.")
    return _prepared(data_dir, split)


def _open_unlabelled(data_dir: str | None, path: str) -> Split:
    root = Path(data_dir or ".").expanduser() / "leftImg8bit"
    if not root.is_dir():
        raise UserError(f"cityscapes.unlabelled is {path!r}; expected data_dir to have leftImg8bit in it, extracted.")
    return listed_photos(path, list_files(root, (".png",), "_leftImg8bit"), "_leftImg8bit")


def _extracted(root: Path, split: str) -> Split:
    """The split in the official layout: folders by city, an image `*_leftImg8bit.png` and labels `*_labelIds.png`."""
    images = list_files(root / "leftImg8bit" / split, (".png",), "_leftImg8bit")
    masks = list_files(root / "gtFine" / split, (".png",), "_gtFine_labelIds")
    alone = sorted(images.files.keys() - masks.files.keys())
    if alone:
        raise UserError(f"{len(alone)} images of {root} have no _gtFine_labelIds.png: {listing(alone)}.")
    pairs = [
        pair._replace(id=Path(pair.id).name) for pair in pair_files(sorted(images.files), images, masks, str(root))
    ]
    return ImageFiles(pairs, len(CLASS_NAMES), label_map=dict(enumerate(train_ids().tolist())))


def _prepared(data_dir: str | None, split: str) -> Split:
    """The split of `cityscapes/semantic_segmentation`."""
    import tensorflow_datasets as tfds  # a second that `--help` needn't wait for

    from load_tf.data.records import RecordExamples, prepare_builder, quiet

    with quiet():
        builder = tfds.builder("cityscapes/semantic_segmentation", data_dir=data_dir)
    prepare_builder(builder, "register at https://www.cityscapes-dataset.com, or give the extracted folder as data_dir")
    return RecordExamples(builder, split, _FEATURES, len(CLASS_NAMES), relabel=train_ids())
