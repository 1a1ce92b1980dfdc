"""A user's own Keras model as a segmentor."""

import zipfile
from pathlib import Path

import gin
import keras

from load_tf.errors import UserError
from load_tf.segmentors.segmentor import Segmentor

# A size k * 32 + 1, at which official strides of up to 32 divide exactly.
_PROBE = 257


@gin.configurable
def keras_model(num_classes: int, path: str = gin.REQUIRED, pretrained: bool = True) -> Segmentor:
    """A model saved with `model.save("my.keras")`.

    Args:
      num_classes: K, of the data set.
      path: the file.
      pretrained: False to train it in stage 1 first.

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
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: Keras cannot load it ({reason})") from error
    probe = tuple(_PROBE if size is None else size for size in model.input_shape[1:3])
    if len(model.output_shape) != 4 or len(model.input_shape) != 4 or model.input_shape[-1] != 3:
        raise UserError(
            f"{path}: maps {model.input_shape} to {model.output_shape}; "
            f"expected [B, H, W, 3] to [B, h, w, {num_classes}]"
        )
    if model.output_shape[-1] != num_classes:
        raise UserError(f"{path}: has {model.output_shape[-1]} output channels; the data set has {num_classes} classes")
    height = model.compute_output_shape((1, *probe, 3))[1]
    stride = max(1, round(probe[0] / height))
    return Segmentor(model, pretrained, f"Keras model {model.name} from {path}", stride)
