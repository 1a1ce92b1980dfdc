"""Lookahead adversarial semantic segmentation (LoAd) in TensorFlow 2 and Keras 3.

Each name below is imported when it is first used, so that `import load_tf` and `--help` do not wait for TensorFlow.
Imported before Keras and TensorFlow, it keeps TensorFlow's notes to its developers out of a notebook.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

# What an editor and a type checker read. `_EXPORTS` says the same to Python; a test holds the two together.
if TYPE_CHECKING:
    from load_tf.algorithm.lookahead import Lookahead as Lookahead
    from load_tf.data.dataset import SegmentationDataset as SegmentationDataset
    from load_tf.data.groups import Groups as Groups
    from load_tf.discriminator.conditioning import Sampling as Sampling
    from load_tf.discriminator.settings import Discriminator as Discriminator
    from load_tf.errors import UserError as UserError
    from load_tf.experiment.defaults import defaults as defaults
    from load_tf.experiment.defaults import paper as paper
    from load_tf.experiment.own_model import run as run
    from load_tf.segmentors.any_size import any_size as any_size
    from load_tf.segmentors.convention import Convention as Convention
    from load_tf.segmentors.official_checkpoint import from_official_checkpoint as from_official_checkpoint
    from load_tf.training.discriminator import DiscriminatorTraining as DiscriminatorTraining
    from load_tf.training.segmentor import AdversarialTraining as AdversarialTraining
    from load_tf.training.stage_one import StageOne as StageOne

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
    "defaults": "load_tf.experiment.defaults",
    "from_official_checkpoint": "load_tf.segmentors.official_checkpoint",
    "paper": "load_tf.experiment.defaults",
    "run": "load_tf.experiment.own_model",
}

__all__ = sorted(_EXPORTS)

# TensorFlow reads it when it is imported, which is mostly before anything of load_tf is used.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Hidden from type checkers, to which a module with `__getattr__` has every name, misspelt ones too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _EXPORTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name != "UserError":
            from load_tf.devices import surroundings

            surroundings.for_python()
        return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
