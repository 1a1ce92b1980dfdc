"""Writing a segmentor as a SavedModel: numbered folders, as TensorFlow Serving wants them.

The model loads with TensorFlow alone. It has four signatures (`load_tf.serving.graph.ServedSegmentor`):

- `serving_default`: `images` uint8 [B, H, W, 3] -> `label_maps` uint8 [B, H, W];
- `probabilities`: the same images -> `label_maps` and `probabilities` float32 [B, H, W, K];
- `encoded_image`: `image_bytes`, one JPEG or PNG a call -> `label_maps`;
- `metadata`: nothing -> `class_names`, `colours`, `crop`, `max_pixels`, `largest`, `upsampling`, `sizes`.

TensorFlow Serving's REST interface refuses signatures without inputs; for its clients the metadata also stand in
`assets.extra/classes.json`. Requests that the server warms up with stand beside them (`load_tf.serving.warmup`).
"""

import contextlib
import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL
from load_tf.errors import UserError
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.labelling import MAX_PIXELS, Size
from load_tf.serving import warmup
from load_tf.serving.graph import ServedSegmentor
from load_tf.serving.versions import versions

UNFINISHED = ".unfinished-"
"""What the name of a folder begins with until it is complete and gets its number."""


def export(
    model: keras.Model,
    directory: str | os.PathLike[str],
    *,
    crop: Size,
    class_names: Sequence[str],
    colours: Sequence[Sequence[int]],
    max_pixels: int = MAX_PIXELS,
    convention: Convention = OFFICIAL,
    largest: Size | None = None,
) -> Path:
    """Writes a segmentor as the next version in `directory`; a version is there complete or not at all.

    Args:
      model: a segmentor, RGB [B, H, W, 3] in [0, 255] -> logits [B, h, w, K].
      directory: the folder of the versions; made if need be. Nothing in it is ever overwritten.
      crop: (height, width) that smaller images are padded to, as the convention allows.
      class_names: K names.
      colours: K RGB triples in [0, 255].
      max_pixels: images with more pixels, height * width, are refused by the model.
      convention: the segmentor's: the sizes it is given, and how its logits are up-sampled.
      largest: the only (height, width) that the segmentor takes, then also the crop; larger images are refused. None:
        any size.

    Returns:
      The folder of the new version, `directory/N`.

    Raises:
      UserError: if an argument does not fit, or the directory can't be written.
    """
    _check(crop, class_names, colours, max_pixels, convention, largest)
    served = ServedSegmentor(
        model,
        crop=crop,
        class_names=class_names,
        colours=colours,
        max_pixels=max_pixels,
        convention=convention,
        largest=largest,
    )
    _check_classes(served, len(class_names))
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(directory)
        # In the same folder, so that the rename stays within one file system; its name is no number, so that a
        # server that watches the folder does not see it.
        unfinished = directory / f"{UNFINISHED}{uuid.uuid4().hex}"
        unfinished.mkdir()
    except OSError as error:
        raise UserError(f"cannot write a SavedModel to {directory}: {error.strerror}.") from error
    try:
        _save(served, unfinished)
        _write_classes(unfinished, crop, class_names, colours, max_pixels, largest)
        warmup.write(unfinished / "assets.extra", crop)
        _flush(unfinished, *unfinished.rglob("*"))
        return _publish(unfinished, directory)
    except (OSError, tf.errors.OpError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"cannot write a SavedModel to {directory}: {reason}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check(
    crop: Size,
    class_names: Sequence[str],
    colours: Sequence[Sequence[int]],
    max_pixels: int,
    convention: Convention,
    largest: Size | None,
) -> None:
    if largest is None:
        convention.check_crop(tuple(int(side) for side in crop))
    elif tuple(crop) != tuple(largest):
        raise UserError(f"crop is {tuple(crop)}; expected the only size that the network takes, {tuple(largest)}.")
    if not 1 <= len(class_names) <= IGNORE_LABEL:
        raise UserError(f"{len(class_names)} class names were given; expected 1 to {IGNORE_LABEL}.")
    if len(colours) != len(class_names):
        raise UserError(f"{len(colours)} colours were given for {len(class_names)} classes; expected as many.")
    for name, colour in zip(class_names, colours, strict=True):
        if len(colour) != 3 or any(not 0 <= value <= 255 for value in colour):
            raise UserError(f"the colour of class {name!r} is {tuple(colour)}; expected three values in [0, 255].")
    if max_pixels < 1:
        raise UserError(f"max_pixels is {max_pixels}; expected at least 1.")


def _check_classes(served: ServedSegmentor, num_classes: int) -> None:
    outputs = served.probabilities.get_concrete_function().structured_outputs["probabilities"].shape[-1]
    if outputs is not None and outputs != num_classes:
        raise UserError(f"the segmentor has {outputs} outputs a pixel, but {num_classes} class names were given.")


def _save(served: ServedSegmentor, folder: Path) -> None:
    signatures = {
        "serving_default": served.label_maps,
        "probabilities": served.probabilities,
        "encoded_image": served.encoded_image,
        "metadata": served.metadata,
    }
    # The gradients of layers with custom ones would need their Python code to be of any use.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(served, str(folder), signatures=signatures, options=options)


def _write_classes(
    folder: Path,
    crop: Size,
    class_names: Sequence[str],
    colours: Sequence[Sequence[int]],
    max_pixels: int,
    largest: Size | None,
) -> None:
    extra = folder / "assets.extra"
    extra.mkdir()
    classes = [
        {"label": label, "name": name, "colour": [int(value) for value in colour]}
        for label, (name, colour) in enumerate(zip(class_names, colours, strict=True))
    ]
    content = {"classes": classes, "crop": [int(side) for side in crop], "max_pixels": int(max_pixels)}
    if largest is not None:
        content["largest"] = [int(side) for side in largest]
    (extra / "classes.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _flush(*paths: Path) -> None:
    """Brings files and folders to the disk, so that a rename can't arrive there before what it names."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _publish(unfinished: Path, directory: Path) -> Path:
    """Renames to the next free number, which another process may take first."""
    while True:
        version = directory / str(max(versions(directory), default=0) + 1)
        try:
            unfinished.rename(version)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            _flush(directory)
            return version


def _remove_abandoned(directory: Path) -> None:
    """Removes what exports that were killed left behind; an hour is more than any living one takes."""
    for entry in directory.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - entry.stat().st_mtime > 3600:
                shutil.rmtree(entry, ignore_errors=True)
