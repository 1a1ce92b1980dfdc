"""Labelling videos with a SavedModel, frame by frame; takes OpenCV, which is an optional extra."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from load_tf.errors import UserError
from load_tf.progress import progress
from load_tf.serving.label_files import OVERLAY_OPACITY, overlay
from load_tf.serving.loaded import LoadedSegmentor


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    """What became of a video.

    Attributes:
      file: the overlay, an MP4 of the video's size and frame rate.
      frames: how many were labelled.
      seconds: wall time.
    """

    file: Path
    frames: int
    seconds: float


def label_video(
    segmentor: LoadedSegmentor, source: Path, output: Path, *, batch_size: int = 4, overwrite: bool = False
) -> LabelledVideo:
    """Writes `x_overlay.mp4` for a video `x`: every frame blended with the colours of its label map.

    Args:
      segmentor: the model.
      source: a video OpenCV can read.
      output: the folder of the result; made if need be.
      batch_size: frames that are labelled together.
      overwrite: replace a result that is there.

    Raises:
      UserError: if OpenCV is not installed, the video can't be read or is too large, or the result is there already or
        can't be written.
    """
    cv2 = _opencv()
    target = output / f"{source.stem}_overlay.mp4"
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already; choose another --output, or add --overwrite.")
    if target.resolve() == source.resolve():
        raise UserError(f"the result {target} would replace the video itself; choose another --output.")
    capture = cv2.VideoCapture(str(source))
    width, height = (int(capture.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if not capture.isOpened() or width < 1 or height < 1:
        raise UserError(f"{source} can't be read as a video.")
    if width * height > segmentor.max_pixels:
        raise UserError(f"{source} has {height} x {width} pixels; the model takes {segmentor.max_pixels} at most.")
    if (refusal := segmentor.refusal(height, width)) is not None:
        raise UserError(f"{source} {refusal}")
    unfinished = target.with_name(f".{target.stem}.unfinished.mp4")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't make the folder {output} for the results: {error.strerror}.") from error
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter_fourcc(*"mp4v"), rate, (width, height))
    if not writer.isOpened():
        raise UserError(f"{target} can't be written as an MP4.")
    start, frames = time.perf_counter(), 0
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    ticks = progress(range(max(count, 0)), source.name, unit="frame")
    try:
        for batch in _batches(cv2, capture, batch_size):
            for frame, label_map in zip(batch, segmentor.label_maps(batch), strict=True):
                blended = overlay(frame, label_map, segmentor.colours, OVERLAY_OPACITY)
                writer.write(cv2.cvtColor(blended, cv2.COLOR_RGB2BGR))
                frames += 1
                next(ticks, None)
        writer.release()
        if not frames:
            raise UserError(f"{source} holds no frame that can be read.")
        unfinished.replace(target)
    finally:
        capture.release()
        unfinished.unlink(missing_ok=True)
    return LabelledVideo(target, frames, time.perf_counter() - start)


def _batches(cv2: Any, capture: Any, batch_size: int) -> Iterator[np.ndarray]:
    """Frames as uint8 [B, H, W, 3], RGB."""
    waiting: list[np.ndarray] = []
    while True:
        there, frame = capture.read()
        if there:
            waiting.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        if waiting and (not there or len(waiting) == batch_size):
            yield np.stack(waiting)
            waiting = []
        if not there:
            return


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise UserError("labelling a video takes OpenCV: pip install opencv-python-headless.") from None
    return cv2
