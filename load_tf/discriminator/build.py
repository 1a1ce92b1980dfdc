"""A discriminator from its settings, whichever kind it is."""

import importlib
from typing import Any

from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.settings import KINDS, Discriminator


def build(settings: Discriminator, num_classes: int, seed: int) -> ConditionalDiscriminator:
    """Makes the network, its weights drawn by key."""
    made: ConditionalDiscriminator = _module(settings).build(settings, num_classes, seed)
    return made


def numbers(settings: Discriminator, num_classes: int) -> tuple[int, int]:
    """How many trainable and other numbers a discriminator has, counted without building it."""
    trained, others = _module(settings).numbers(settings, num_classes)
    return trained, others


def _module(settings: Discriminator) -> Any:
    return importlib.import_module(f"load_tf.discriminator.{KINDS[settings.architecture]}")
