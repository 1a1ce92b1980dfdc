"""A discriminator from its settings, whichever kind it is."""

import importlib
from typing import Any

from load_tf.discriminator.conditional import ConditionalDiscriminator
from load_tf.discriminator.pretrained import imagenet_mobilenet
from load_tf.discriminator.settings import KINDS, Discriminator
from load_tf.errors import UserError


def build(settings: Discriminator, num_classes: int, seed: int) -> ConditionalDiscriminator:
    """Makes the network; its weights are drawn by key, or those that the settings name.

    Raises:
      UserError: if these can't be had.
    """
    made: ConditionalDiscriminator = _module(settings).build(settings, num_classes, seed)
    return made


def numbers(settings: Discriminator, num_classes: int) -> tuple[int, int]:
    """How many trainable and other numbers a discriminator has, counted without building it."""
    trained, others = _module(settings).numbers(settings, num_classes)
    return trained, others


def refuse_unusable(settings: Discriminator) -> None:
    """Looks at what only making the network would show, before stage 1 takes its hours.

    Raises:
      UserError: as `place_asked_about`, or if the weights that the settings name can't be had or are not its kind's.
    """
    place_asked_about(settings)
    if settings.weights is None:
        return
    if settings.architecture != "mobilenet":
        raise UserError(
            f"Discriminator.weights is {settings.weights!r}, but architecture is {settings.architecture!r}; expected "
            "None: MobileNet alone has any."
        )
    imagenet_mobilenet(settings)


def place_asked_about(settings: Discriminator) -> int | None:
    """Points of the grid along each axis of a place that the discriminator is asked about; None: it is asked "real".

    Raises:
      UserError: if it is asked about places, and judges none.
    """
    if settings.asks == "real":
        return None
    place_size = getattr(_module(settings), "place_size", None)
    points: int | None = place_size(settings) if place_size else None
    if points is None:
        found = f"Discriminator.asks is {settings.asks!r}, but this {settings.architecture!r} one judges whole maps"
        raise UserError(f"{found}; expected asks = 'real', or verdict = 'place'.")
    return points


def _module(settings: Discriminator) -> Any:
    return importlib.import_module(f"load_tf.discriminator.{KINDS[settings.architecture]}")
