"""A SavedModel of `load_tf.serving.saved_model` in use: TensorFlow and the folder are all it takes."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from load_tf.errors import UserError, reason
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.serving.versions import versions

SIGNATURES = ("serving_default", "probabilities", "encoded_image", "metadata")


@dataclasses.dataclass(frozen=True)
class LoadedSegmentor:
    """A segmentor that was loaded from a SavedModel.

    Attributes:
      folder: where it was loaded from.
      class_names: K names.
      colours: uint8 [K, 3], RGB.
      crop: (height, width) in pixels that smaller images are padded to.
      max_pixels: largest height * width of an image.
      convention: the sizes that larger images are padded to, and how logits are up-sampled.
      largest: (height, width) of the largest image; None: any, up to `max_pixels`.
      module: what `tf.saved_model.load` gave; `module.signatures` are the functions by name.
    """

    folder: Path
    class_names: tuple[str, ...]
    colours: np.ndarray
    crop: tuple[int, int]
    max_pixels: int
    module: Any = dataclasses.field(repr=False)
    convention: Convention = OFFICIAL
    largest: tuple[int, int] | None = None

    def refusal(self, height: int, width: int) -> str | None:
        """Why an image of that size can't be labelled: the end of a sentence that begins with its name; else None."""
        if height * width > self.max_pixels:
            return (
                f"has {height} x {width} = {height * width} pixels (height x width); "
                f"the model was exported for at most {self.max_pixels} (max_pixels)."
            )
        if self.largest is not None and (height > self.largest[0] or width > self.largest[1]):
            return (
                f"has {height} x {width} pixels (height x width); the model's network takes at most "
                f"{self.largest[0]} x {self.largest[1]}."
            )
        return None

    def label_maps(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W] for uint8 [B, H, W, 3]."""
        return self.module.signatures["serving_default"](images=tf.constant(images))["label_maps"].numpy()

    def probabilities(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Label maps uint8 [B, H, W] and class probabilities float32 [B, H, W, K] for uint8 [B, H, W, 3]."""
        outputs = self.module.signatures["probabilities"](images=tf.constant(images))
        return outputs["label_maps"].numpy(), outputs["probabilities"].numpy()


def load(directory: str | os.PathLike[str]) -> LoadedSegmentor:
    """Loads a SavedModel.

    Args:
      directory: its folder, or the folder of its numbered versions, of which the newest is taken.

    Raises:
      UserError: if there is none, or it has not the signatures that `load_tf.serving.saved_model.export` writes.
    """
    folder = find(Path(directory))
    try:
        module = tf.saved_model.load(str(folder))
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(f"the SavedModel {folder} can't be loaded: {reason(error)}") from error
    missing = [name for name in SIGNATURES if name not in module.signatures]
    if missing:
        raise UserError(f"the SavedModel {folder} has no signature {missing[0]!r}; expected one that load_tf exported.")
    metadata = {name: value.numpy() for name, value in module.signatures["metadata"]().items()}
    height, width = metadata["crop"].tolist()
    # Models that were exported before these entries are official ones.
    convention, largest = OFFICIAL, None
    if "upsampling" in metadata:
        convention = Convention(metadata["upsampling"].decode(), *metadata["sizes"].tolist())
    if "largest" in metadata and metadata["largest"].all():
        largest = tuple(metadata["largest"].tolist())
    return LoadedSegmentor(
        folder=folder,
        class_names=tuple(name.decode() for name in metadata["class_names"]),
        colours=metadata["colours"],
        crop=(height, width),
        max_pixels=int(metadata["max_pixels"]),
        module=module,
        convention=convention,
        largest=largest,
    )


def find(directory: Path) -> Path:
    """The SavedModel in a folder: itself, or the newest of its numbered versions.

    Raises:
      UserError: if there is none.
    """
    if (directory / "saved_model.pb").is_file():
        return directory
    if not directory.is_dir():
        raise UserError(f"there is no folder {directory}; expected a SavedModel, or numbered versions of one.")
    for version in reversed(versions(directory)):
        if (directory / str(version) / "saved_model.pb").is_file():
            return directory / str(version)
    raise UserError(
        f"the folder {directory} holds no SavedModel; expected saved_model.pb in it or in a numbered folder of it."
    )
