"""PASCAL VOC 2012 segmentation (Everingham et al., IJCV 2015): 21 classes, 1,464 train and 1,449 validation images.

`voc()` is what an experiment asks for. Given a folder, it reads images and masks where they lie: nothing is copied,
nothing can be stale. Given none, it downloads the official archive through `VocSegmentation`, the tensorflow-datasets
builder, which prepares ArrayRecord files once; the images stay in their original bytes, since encoding them anew would
change what a published checkpoint scores.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from load_tf.data.colours import voc_palette
from load_tf.data.dataset import UNLABELLED_SPLIT, Example, SegmentationDataset, Split
from load_tf.data.files import IMAGE_EXTENSIONS, FilePair, ImageFiles, find_files, list_files, pair_files
from load_tf.data.records import RecordExamples, prepare_builder, quiet
from load_tf.data.text import listing, read_bytes, read_lines, refuse_duplicates
from load_tf.data.unlabelled import listed_photos
from load_tf.errors import UserError

CLASS_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
COLOURS = voc_palette(len(CLASS_NAMES))

ARCHIVE_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
_ARCHIVE = tfds.download.checksums.UrlInfo(
    size=tfds.core.utils.Size(1_999_639_040),
    checksum="e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
    filename="VOCtrainval_11-May-2012.tar",
)

_LISTS = {"train": ("train.txt",), "validation": ("val.txt",), "train_aug": ("trainaug.txt", "train_aug.txt")}
_LIST_FOLDER = Path("ImageSets", "Segmentation")
_FEATURES = ("image", "label", "id")


@dataclasses.dataclass(frozen=True)
class VocFolder:
    """An extracted VOC2012 folder, and where the additional masks of `train_aug` are.

    Attributes:
      root: holds `JPEGImages`, `SegmentationClass` and `ImageSets/Segmentation`.
      augmented: a `SegmentationClassAug` folder; its list, `trainaug.txt` or `train_aug.txt`, is among the others,
        in it or beside it.
    """

    root: Path
    augmented: Path

    def pairs(self, split: str) -> list[FilePair]:
        """The files of a split, in the order of its list.

        Raises:
          UserError: if the list is missing, empty or names an id twice, if a file it names is missing, or if an image
            of `train_aug` is one of `validation`.
        """
        path = self.list_file(split)
        ids = _listed(path)
        refuse_duplicates(ids, str(path))
        if split == "train_aug" and (unseen := self._find("validation")) is not None:
            shared = sorted(set(_listed(unseen)).intersection(ids))
            if shared:
                raise UserError(f"{path} names {len(shared)} images of the validation split: {listing(shared)}.")
        images = list_files(self.root / "JPEGImages", IMAGE_EXTENSIONS)
        masks = list_files(self.augmented if split == "train_aug" else self.root / "SegmentationClass", (".png",))
        return pair_files(ids, images, masks, str(path))

    def list_file(self, split: str) -> Path:
        """The id list of a split. Raises UserError if there is none."""
        path = self._find(split)
        if path is None:
            names = " or ".join(_LISTS[split])
            raise UserError(
                f"{self.root} has no split {split!r}: expected {names} in {self.root / _LIST_FOLDER}"
                + (f" or {self.augmented}, and masks in the latter." if split == "train_aug" else ".")
            )
        return path

    def splits(self) -> list[str]:
        """The splits that are there."""
        return [split for split in _LISTS if self._find(split) is not None]

    def fingerprint(self) -> str:
        """Of every file's path, size and time, lists included: changes when the source does."""
        pairs = [pair for split in self.splits() for pair in self.pairs(split)]
        lists = [self.list_file(split) for split in self.splits()]
        return _fingerprint([*lists, *(pair.image for pair in pairs), *(pair.mask for pair in pairs)])

    def _find(self, split: str) -> Path | None:
        folders = [self.root / _LIST_FOLDER]
        if split == "train_aug":
            if not self.augmented.is_dir():
                return None
            folders += [self.augmented, self.augmented.parent]
        paths = [folder / name for folder in folders for name in _LISTS[split]]
        return next((path for path in paths if path.is_file()), None)


def _listed(path: Path) -> list[str]:
    """The ids of a list; some lists hold the paths of image and mask, the official ones ids."""
    return [Path(line.split()[0]).stem for line in read_lines(path)]


def voc(
    data_dir: str | None = None,
    augmented_dir: str | None = None,
    prepared_dir: str | None = None,
    unlabelled: str | None = None,
) -> SegmentationDataset:
    """PASCAL VOC 2012 segmentation, with the splits `train`, `validation` and `train_aug`.

    Nothing is looked for, read or downloaded before a split is opened.

    Args:
      data_dir: the extracted `VOC2012` folder, or one that contains it, or one that contains `VOCdevkit/VOC2012`. It is
        read as it is. None downloads the official archive (2 GB) and prepares it; with the extracted files the folder
        grows to 6 GB, of which only `voc_segmentation` is needed afterwards.
      augmented_dir: a `SegmentationClassAug` folder (Hariharan et al. 2011) for the split `train_aug`, 10,582 images
        with the official list; None looks in the VOC2012 folder.
      prepared_dir: where a download is kept; None is tensorflow-datasets' own folder, `~/tensorflow_datasets`.
      unlabelled: a file that lists images of `data_dir`, one a line, which are the split `unlabelled`, whether they
        have masks or not; none of them may be in the other splits of a run. None: there are none.

    Returns:
      The data set. Its `split(name)` raises UserError if the folder, the list or a file is missing, saying what was
      expected, or if the download fails.
    """
    open_source = functools.partial(_open, data_dir, augmented_dir, prepared_dir)
    sources = {split: functools.partial(open_source, split) for split in _LISTS}
    if unlabelled is not None:
        sources[UNLABELLED_SPLIT] = functools.partial(_open_unlabelled, data_dir, unlabelled)
    return SegmentationDataset("voc_segmentation", CLASS_NAMES, COLOURS, sources)


def voc_folder(data_dir: str | Path, augmented_dir: str | Path | None = None) -> VocFolder:
    """Finds the extracted VOC 2012 in or below a folder. Raises UserError if it isn't there."""
    data_dir = Path(data_dir).expanduser()
    wanted = ("JPEGImages", "SegmentationClass", str(_LIST_FOLDER))
    candidates = (data_dir, data_dir / "VOC2012", data_dir / "VOCdevkit" / "VOC2012")
    root = next((path for path in candidates if all((path / name).is_dir() for name in wanted)), None)
    if root is None:
        state = "is not a folder" if not data_dir.is_dir() else "does not contain PASCAL VOC 2012"
        raise UserError(
            f"data_dir {data_dir} {state}; expected a VOC2012 folder, or one that contains VOC2012 or "
            f"VOCdevkit/VOC2012, with {', '.join(wanted)} in it."
        )
    augmented = Path(augmented_dir).expanduser() if augmented_dir else root / "SegmentationClassAug"
    if augmented_dir and not augmented.is_dir():
        raise UserError(f"augmented_dir {augmented} is not a folder; expected one with the masks of train_aug.")
    return VocFolder(root, augmented)


def _open(data_dir: str | None, augmented_dir: str | None, prepared_dir: str | None, split: str) -> Split:
    """A split, from the folder or the prepared download."""
    if data_dir is not None:
        return ImageFiles(voc_folder(data_dir, augmented_dir).pairs(split), len(CLASS_NAMES))
    with quiet():
        builder = VocSegmentation(config=voc_config(augmented_dir=augmented_dir), data_dir=prepared_dir)
    advice = f"check the connection, or fetch {ARCHIVE_URL}, extract it and give the folder as data_dir"
    prepare_builder(builder, advice)
    ids = builder.info.metadata["ids"]
    if split not in ids:
        raise UserError(
            f"the official archive has no split {split!r}: expected augmented_dir to be a SegmentationClassAug folder "
            "with trainaug.txt in or beside it."
        )
    return RecordExamples(builder, split, _FEATURES, len(CLASS_NAMES), ids[split])


def _open_unlabelled(data_dir: str | None, path: str) -> Split:
    if data_dir is None:
        raise UserError(f"voc.unlabelled is {path!r}, but data_dir is None; expected an extracted VOC2012 folder.")
    return listed_photos(path, list_files(voc_folder(data_dir).root / "JPEGImages", IMAGE_EXTENSIONS))


@dataclasses.dataclass(eq=False)
class VocConfig(tfds.core.BuilderConfig):
    """What is prepared: the official archive or an extracted folder; the name carries a fingerprint of local files.

    tensorflow-datasets uses a prepared folder again without a look at its source, so the name has to tell them apart.

    Attributes:
      source: an extracted folder; None downloads.
      augmented: a `SegmentationClassAug` folder, or None.
    """

    source: str | None = None
    augmented: str | None = None


def voc_config(data_dir: str | None = None, augmented_dir: str | None = None) -> VocConfig:
    """The configuration of `VocSegmentation` for a folder (see `voc`), or for the official archive.

    Raises:
      UserError: as `voc(...).split(name)` does, if a folder or a file that a list names is missing.
    """
    if data_dir is not None:
        folder = voc_folder(data_dir, augmented_dir)
        name, source = f"folder-{folder.fingerprint()}", str(folder.root)
        return VocConfig(name=name, description="From a folder.", source=source, augmented=augmented_dir)
    if augmented_dir is None:
        return VocSegmentation.BUILDER_CONFIGS[0]
    augmented = Path(augmented_dir).expanduser()
    lists = [parent / name for parent in (augmented, augmented.parent) for name in _LISTS["train_aug"]]
    masks = find_files(augmented, (".png",)).values()
    name = f"official-aug-{_fingerprint([*(path for path in lists if path.is_file()), *masks])}"
    return VocConfig(name=name, description="The official archive and train_aug.", augmented=str(augmented))


def _fingerprint(paths: Iterable[Path]) -> str:
    """Of the paths, sizes and times of files: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        state = path.stat()
        digest.update(repr((str(path.resolve()), state.st_size, state.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]


class VocSegmentation(tfds.core.GeneratorBasedBuilder):
    """tensorflow-datasets builder, `tfds.builder("voc_segmentation")`; tensorflow-datasets' own `voc` has no masks.

    Features: `image` (the original JPEG bytes), `label` (uint8 PNG of labels, 255 = void) and `id`. The examples lie in
    the order of the official lists, which `info.metadata["ids"]` holds by split.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [VocConfig(name="official", description="The official archive.")]
    url_infos: ClassVar = {ARCHIVE_URL: _ARCHIVE}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="PASCAL VOC 2012, semantic segmentation: images and class masks of 20 classes and background.",
            homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.LabeledImage(
                        labels=list(CLASS_NAMES), shape=(None, None, 1), encoding_format="png"
                    ),
                    "id": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict(),
            # The lists' order is kept, so that the ids are known without reading two gigabytes.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, Any]]]:
        config = self.builder_config
        source = config.source or Path(dl_manager.download_and_extract(ARCHIVE_URL))
        folder = voc_folder(source, config.augmented)
        pairs = {split: folder.pairs(split) for split in folder.splits()}
        self.info.metadata["ids"] = {split: [pair.id for pair in pairs[split]] for split in pairs}
        return {split: self._generate_examples(pairs[split]) for split in pairs}

    def _generate_examples(self, pairs: Sequence[FilePair]) -> Iterator[tuple[str, dict[str, Any]]]:
        from load_tf.data.decoding import check_example, decode_image, decode_mask  # takes TensorFlow

        for pair in pairs:
            data = read_bytes(pair.image)
            label = decode_mask(read_bytes(pair.mask), str(pair.mask))
            check_example(
                Example(decode_image(data, str(pair.image)), label, pair.id), len(CLASS_NAMES), str(pair.mask)
            )
            yield pair.id, {"image": data, "label": label[..., None], "id": pair.id}
