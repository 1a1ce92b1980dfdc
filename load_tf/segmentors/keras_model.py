"""A user's own Keras model as a segmentor."""

import re
import zipfile
from pathlib import Path

import keras

from load_tf.errors import UserError, reason
from load_tf.segmentors.convention import Convention
from load_tf.segmentors.labelling import Size
from load_tf.segmentors.own import OwnModel
from load_tf.segmentors.segmentor import Segmentor


def keras_model(
    num_classes: int,
    path: str,
    pretrained: bool = True,
    upsampling: str | None = None,
    multiple: int | None = None,
    crop: Size | None = None,
) -> Segmentor:
    """A model saved with `model.save("my.keras")`, as `load_tf.run` takes it.

    Args:
      num_classes: K, of the data set.
      path: the file.
      pretrained: False to train it in stage 1 first.
      upsampling: how it was trained to up-sample its logits: "half_pixel", as Keras does, or "aligned", with aligned
        corners and sizes of 16 k + 1; None: half-pixel, but aligned for the official networks.
      multiple: larger images than the crop are padded to multiples of so many pixels (and 1 with "aligned"); None:
        found by trying.
      crop: the experiment's, for networks that take images of one size only.

    Raises:
      UserError: it cannot be loaded, or is no segmentor of K classes.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; expected a model saved with model.save('....keras')")
    if not zipfile.is_zipfile(path):
        # Keras' older format, HDF5, knows no safe mode: a file of it can carry code that loading it runs.
        raise UserError(f"{path} is not in the .keras format; expected a model saved with model.save('....keras').")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises nearly anything on a file that is not what it wrote.
        raise UserError(f"{path}: Keras cannot load it ({_why(error)})") from error
    convention: Convention | str | None = upsampling
    if multiple is not None:
        aligned = upsampling == "aligned"
        convention = Convention(upsampling or "half_pixel", multiple, 1 if aligned else 0)
    try:
        own = OwnModel(model, crop)
        if own.num_classes != num_classes:
            raise UserError(f"has {own.num_classes} output channels; the data set has {num_classes} classes.")
        return own.segmentor(pretrained, f"Keras model {model.name} from {path}", convention)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _why(error: Exception) -> str:
    """Why Keras can't load a file, and what to do where the file is sound."""
    text = str(error)
    instead = "build it of Keras' own layers, or run it from Python with load_tf.run, where that code is"
    if "Lambda" in text and "safe_mode" in text:
        return f"it has a Lambda layer, which is code, and code of a file is not run; {instead}"
    if found := re.search(r"Could not locate (?:class|function) '([^']+)'", text):
        return f"the code of its {found[1]!r} is not in the file; {instead}"
    return reason(error)
