"""Settings from outside: what a notebook, a shell or an old file sets for Keras, Matplotlib and TensorFlow.

What would stop load_tf, or change what it computes, is overridden before their first import, or refused in a sentence.
What does not hold here is written down in `environment.json`. This module imports none of the three.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from load_tf.errors import UserError

overridden: dict[str, str] = {}
"""Settings that were found and do not hold here, by name."""

BITS = ("TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE")
"""Environment variables on which the bits of a result depend."""

_KERAS_FILE = {
    "floatx": ("float32", "float64", "float16", "bfloat16"),
    "image_data_format": ("channels_last", "channels_first"),
}
"""What Keras takes in `keras.json`; anything else ends its import."""


def for_a_command() -> None:
    """Prepares a process of load_tf's own: pictures are drawn into files, and Keras runs on TensorFlow.

    Raises:
      UserError: `keras.json` holds what Keras can't be imported with.
    """
    _check_keras_file()
    # Notebooks set it for all that a cell starts; Matplotlib ends its import where that backend is not installed.
    override("MPLBACKEND", "agg")
    _choose_backend()


def for_python() -> None:
    """Prepares a process of the user's, before load_tf imports Keras and Matplotlib; theirs stay as they are.

    Raises:
      UserError: as `for_a_command`.
    """
    if "keras" not in sys.modules:
        _check_keras_file()
        _choose_backend()
    chosen = os.environ.get("MPLBACKEND")
    if chosen and "matplotlib" not in sys.modules:
        # Matplotlib would refuse it in its own import and stay half imported, which Keras' import then falls over.
        del os.environ["MPLBACKEND"]
        import matplotlib

        os.environ["MPLBACKEND"] = chosen
        try:
            matplotlib.rcParams["backend"] = chosen
        except ValueError:
            # It names one that is not installed; the figures here are drawn into files.
            override("MPLBACKEND", "agg")


def refuse_other_backend() -> None:
    """Raises UserError if Keras was imported with another backend than TensorFlow."""
    import keras

    backend = keras.config.backend()
    if backend != "tensorflow":
        raise UserError(
            f"Keras was imported with the backend {backend!r}; expected 'tensorflow': set KERAS_BACKEND=tensorflow, "
            "or import load_tf before keras, in a new process."
        )


def override(name: str, value: str) -> None:
    """Sets an environment variable, and takes note of what it was."""
    before = os.environ.get(name)
    if before not in (None, "", value):
        overridden[name] = str(before)
    os.environ[name] = value


def _choose_backend() -> None:
    in_file = _keras_file()[1].get("backend", "tensorflow")
    if "KERAS_BACKEND" not in os.environ and in_file != "tensorflow":
        overridden["keras.json: backend"] = str(in_file)
    override("KERAS_BACKEND", "tensorflow")


def _keras_file() -> tuple[Path, dict[str, Any]]:
    """Where Keras reads its settings, and what stands there; nothing if it can't be read, as Keras has it."""
    home = os.environ.get("KERAS_HOME")
    file = (Path(home) if home else Path.home() / ".keras") / "keras.json"
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        content = {}
    return file, content if isinstance(content, dict) else {}


def _check_keras_file() -> None:
    file, content = _keras_file()
    for name, known in _KERAS_FILE.items():
        if content.get(name, known[0]) not in known:
            expected = ", ".join(map(repr, known))
            raise UserError(f"{file}: {name} is {content[name]!r}; expected one of {expected}.")
