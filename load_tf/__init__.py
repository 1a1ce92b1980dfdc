"""Lookahead adversarial semantic segmentation (LoAd) in TensorFlow 2 and Keras 3.

The names below are imported when they are first used, so that `import load_tf` and `--help` do not wait for TensorFlow.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "Lookahead": "load_tf.lookahead",
    "SegmentationDataset": "load_tf.data.dataset",
    "UserError": "load_tf.errors",
    "from_official_checkpoint": "load_tf.segmentors.official_checkpoint",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
