"""Labelling image files with a SavedModel: palette PNGs, overlays, probabilities."""

import collections
import concurrent.futures
import dataclasses
import io
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from load_tf.data.decoding import decode_image
from load_tf.errors import UserError
from load_tf.progress import progress
from load_tf.serving.image_files import output_files
from load_tf.serving.loaded import LoadedSegmentor
from load_tf.storage.arrays import write_atomically

OVERLAY_OPACITY = 0.5
"""Share of the class colour in an overlay."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What `predict` did.

    Attributes:
      written: the label map of every image that was labelled, by image.
      failures: why the others were not, by image: one sentence each.
      seconds: wall time of reading, labelling and writing.
    """

    written: dict[Path, Path]
    failures: dict[Path, str]
    seconds: float

    @property
    def images_per_second(self) -> float:
        return len(self.written) / max(self.seconds, 1e-9)


@dataclasses.dataclass(frozen=True)
class _Job:
    """An image on its way: where it came from, its pixels uint8 [H, W, 3], and the files to write."""

    source: Path
    image: np.ndarray
    files: Sequence[Path]


def predict(
    segmentor: LoadedSegmentor,
    images: Sequence[Path],
    output: str | os.PathLike[str],
    *,
    overlays: bool = False,
    probabilities: bool = False,
    batch_size: int = 4,
    overwrite: bool = False,
) -> Prediction:
    """Labels image files.

    Images are decoded as everywhere else (`load_tf.data.decoding`): a photo with an EXIF orientation is turned upright,
    and its label map lies as the photo is looked at. A file that can't be labelled is reported in the result, the rest
    is done.

    Args:
      segmentor: the model.
      images: files, none twice.
      output: the folder of the results; made if need be. `x.jpg` gives `x.png`, uint8 indices [H, W] with the
        model's colours as palette; `load_tf.serving.image_files.output_files` says what happens to equal names.
      overlays: also write `x_overlay.png`, the image blended with the colours.
      probabilities: also write `x_probabilities.npy`, float32 [H, W, K].
      batch_size: images of one size that are labelled together, at most. Images larger than the crop count as more.
      overwrite: replace results that are there.

    Raises:
      UserError: before anything is labelled, if results are there already or would replace images; later, if a
        result can't be written.
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; expected at least 1.")
    endings = [".png"] + ["_overlay.png"] * overlays + ["_probabilities.npy"] * probabilities
    files = output_files(images, Path(output), endings)
    if not overwrite:
        _refuse_existing([file for group in files for file in group])
    _make_folders({file.parent for group in files for file in group})
    start = time.perf_counter()
    written: dict[Path, Path] = {}
    failures: dict[Path, str] = {}
    sources = progress(zip(images, files, strict=True), "labelling", total=len(images), unit="image")
    for batch in _batches(_decoded(sources, segmentor, failures), segmentor.crop, batch_size):
        for job in _label(segmentor, batch, overlays, probabilities, failures):
            written[job.source] = job.files[0]
    return Prediction(written, failures, time.perf_counter() - start)


def palette_png(label_map: np.ndarray, colours: np.ndarray) -> bytes:
    """A label map as PNG: pixels are class indices, the palette holds the colours.

    Args:
      label_map: uint8 [H, W].
      colours: uint8 [K, 3].
    """
    picture = Image.fromarray(label_map)
    picture.putpalette(colours.astype(np.uint8).tobytes())
    return _png(picture)


def overlay(image: np.ndarray, label_map: np.ndarray, colours: np.ndarray, opacity: float) -> np.ndarray:
    """The image under its label map: `(1 - opacity) * image + opacity * colour`, rounded.

    Args:
      image: uint8 [H, W, 3].
      label_map: uint8 [H, W], values in [0, K).
      colours: uint8 [K, 3].
      opacity: share of the colour, in [0, 1].

    Returns:
      uint8 [H, W, 3].
    """
    blend = (1.0 - opacity) * image.astype(np.float32) + opacity * colours[label_map].astype(np.float32)
    return np.round(blend).astype(np.uint8)


def _refuse_existing(files: Iterable[Path]) -> None:
    existing = [file for file in files if file.exists()]
    if existing:
        more = f" and {len(existing) - 1} more of the results" if len(existing) > 1 else ""
        raise UserError(f"{existing[0]}{more} exists already; choose another --output, or add --overwrite.")


def _make_folders(folders: Iterable[Path]) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"can't make the folder {folder} for the results: {error.strerror}.") from error


def _decoded(
    sources: Iterable[tuple[Path, Sequence[Path]]],
    segmentor: LoadedSegmentor,
    failures: dict[Path, str],
    ahead: int = 4,
) -> Iterator[_Job]:
    """Decodes images in threads, a few ahead of their use; adds the unusable ones to `failures`."""

    def finish(source: Path, files: Sequence[Path], image: concurrent.futures.Future[np.ndarray]) -> Iterator[_Job]:
        try:
            yield _Job(source, image.result(), files)
        except UserError as error:
            failures[source] = str(error)

    pending: collections.deque[tuple[Path, Sequence[Path], concurrent.futures.Future[np.ndarray]]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for source, files in sources:
            pending.append((source, files, pool.submit(_read, source, segmentor)))
            if len(pending) > ahead:
                yield from finish(*pending.popleft())
        while pending:
            yield from finish(*pending.popleft())


def _read(source: Path, segmentor: LoadedSegmentor) -> np.ndarray:
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source} can't be read: {error.strerror}.") from error
    image = decode_image(content, str(source))
    refusal = segmentor.refusal(*image.shape[:2])
    if refusal is not None:
        raise UserError(f"{source} {refusal}")
    return image


def _batches(jobs: Iterable[_Job], crop: tuple[int, int], batch_size: int) -> Iterator[list[_Job]]:
    """Groups images of one size; those that wait for company are bounded in number."""
    waiting: dict[tuple[int, int], list[_Job]] = {}
    for job in jobs:
        height, width = job.image.shape[:2]
        # Memory goes with the padded pixels, so a large image counts as several crops.
        crops = max(height, crop[0]) * max(width, crop[1]) / (crop[0] * crop[1])
        group = waiting.setdefault((height, width), [])
        group.append(job)
        if len(group) + 1 > batch_size / crops:
            yield waiting.pop((height, width))
        elif sum(map(len, waiting.values())) >= 4 * batch_size:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def _label(
    segmentor: LoadedSegmentor, batch: list[_Job], overlays: bool, probabilities: bool, failures: dict[Path, str]
) -> Iterator[_Job]:
    """Labels images of one size and writes the results; yields those that were done."""
    images = np.stack([job.image for job in batch])
    try:
        if probabilities:
            maps, soft = segmentor.probabilities(images)
        else:
            maps, soft = segmentor.label_maps(images), None
    except tf.errors.OpError as error:
        if len(batch) > 1:
            for job in batch:
                yield from _label(segmentor, [job], overlays, probabilities, failures)
            return
        failures[batch[0].source] = f"{batch[0].source} could not be labelled: {error.message.strip()}"
        return
    for index, job in enumerate(batch):
        contents = [palette_png(maps[index], segmentor.colours)]
        if overlays:
            blended = overlay(job.image, maps[index], segmentor.colours, OVERLAY_OPACITY)
            contents.append(_png(Image.fromarray(blended)))
        if soft is not None:
            contents.append(_npy(soft[index]))
        for file, content in zip(job.files, contents, strict=True):
            _write(file, content)
        yield job


def _write(file: Path, content: bytes) -> None:
    try:
        write_atomically(file, content)
    except OSError as error:
        raise UserError(f"{file} can't be written: {error.strerror}.") from error


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
