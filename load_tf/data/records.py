"""tensorflow-datasets builders as splits: prepared once into ArrayRecord files, then read at random."""

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from load_tf.data.dataset import Example
from load_tf.errors import UserError
from load_tf.progress import progress

FILE_FORMAT = "array_record"
"""The format that gives random access; a builder's own default (TFRecord) doesn't."""


def prepare_builder(builder: tfds.core.DatasetBuilder, advice: str) -> None:
    """Downloads and prepares a data set, unless that's done; shows nothing but progress bars on a terminal.

    The prepared folder appears by one rename when it is whole, so an interrupted preparation leaves none.

    Args:
      builder: what to prepare, in its own data folder.
      advice: what the user can do where it fails, a sentence's end.

    Raises:
      UserError: if the download, the disk or the source fails, or the folder was prepared in another format.
    """
    checked = tfds.download.DownloadConfig(
        compute_stats=tfds.download.ComputeStatsMode.SKIP, force_checksums_validation=True
    )
    try:
        with quiet():
            builder.download_and_prepare(download_config=checked, file_format=FILE_FORMAT)
    except Exception as error:
        for cause in _causes(error):
            if isinstance(cause, UserError):
                raise cause from None
        # The builder's own refusals are AssertionErrors; a wrong checksum and a failed download have their own types.
        expected = (OSError, AssertionError)
        if isinstance(error, expected) or type(error).__name__ in ("NonMatchingChecksumError", "DownloadError"):
            reason = " ".join(str(error).split())
            raise UserError(f"data set {builder.name!r} could not be prepared ({reason}); {advice}.") from None
        raise
    if builder.info.file_format is None or builder.info.file_format.value != FILE_FORMAT:
        raise UserError(
            f"{builder.data_dir} was prepared in another file format than {FILE_FORMAT}, so its examples can't be read "
            "at random; give another folder for the prepared data set, or remove this one."
        )


class RecordExamples:
    """A split of a prepared data set; its images are decoded by us, not by tensorflow-datasets."""

    def __init__(
        self,
        builder: tfds.core.DatasetBuilder,
        split: str,
        features: tuple[str, str, str],
        num_classes: int,
        ids: Sequence[str] | None = None,
        relabel: np.ndarray | None = None,
    ):
        """Opens the split.

        Args:
          builder: a data set prepared by `prepare_builder`.
          split: its name there.
          features: the names of image, label map and id among its features.
          num_classes: K.
          ids: the ids in the order of the records; None reads the whole split once to find them.
          relabel: uint8 [256], the label for every stored value; None: the value is the label.

        Raises:
          UserError: if the ids and the records differ in number.
        """
        image, label, self._id = features
        self._image, self._label = image, label
        undecoded = {image: tfds.decode.SkipDecoding(), label: tfds.decode.SkipDecoding()}
        self._records: Any = builder.as_data_source(split=split, decoders=undecoded)
        self._where = f"{builder.data_dir}, split {split}"
        self._num_classes = num_classes
        self._relabel = relabel
        if ids is None:
            records = (self._records[i][self._id].decode() for i in range(len(self._records)))
            ids = list(progress(records, f"{builder.name} {split}: reading ids", len(self._records), "image"))
        if len(ids) != len(self._records):
            raise UserError(
                f"{self._where} holds {len(self._records)} examples, expected {len(ids)}; remove the folder, and it is "
                "prepared anew."
            )
        self._ids = tuple(ids)

    @property
    def ids(self) -> tuple[str, ...]:
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Example:
        """Reads one example. Raises UserError naming the folder and the id if it can't be used."""
        from load_tf.data.decoding import check_example, decode_image, decode_mask  # takes TensorFlow, opening doesn't
        from load_tf.data.orientation import orientation_of, upright_label

        id_ = self._ids[index]
        name = f"{id_} in {self._where}"
        record = self._records[index]
        if record[self._id].decode() != id_:
            raise UserError(f"{name} is not where it should be; remove the folder, and it is prepared anew.")
        image, label = decode_image(record[self._image], name), decode_mask(record[self._label], name)
        label, _ = upright_label(label, image.shape[:2], orientation_of(record[self._image]))
        example = Example(image, label if self._relabel is None else self._relabel[label], id_)
        check_example(example, self._num_classes, name)
        return example


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it came from; tensorflow-datasets wraps what a generator raises."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences what tensorflow-datasets prints and logs, and its bars where nobody watches."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()
