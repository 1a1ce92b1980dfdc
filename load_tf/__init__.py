"""Lookahead adversarial semantic segmentation (LoAd) in TensorFlow 2 and Keras 3.

The names below are imported when they are first used, so that `import load_tf` and `--help` do not wait for TensorFlow.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "AdversarialTraining": "load_tf.training.segmentor",
    "Convention": "load_tf.segmentors.convention",
    "Discriminator": "load_tf.discriminator.settings",
    "DiscriminatorTraining": "load_tf.training.discriminator",
    "Groups": "load_tf.data.groups",
    "Lookahead": "load_tf.algorithm.lookahead",
    "Sampling": "load_tf.discriminator.conditioning",
    "SegmentationDataset": "load_tf.data.dataset",
    "StageOne": "load_tf.training.stage_one",
    "UserError": "load_tf.errors",
    "any_size": "load_tf.segmentors.any_size",
    "from_official_checkpoint": "load_tf.segmentors.official_checkpoint",
    "run": "load_tf.experiment.own_model",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
