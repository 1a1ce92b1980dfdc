"""The players and the control that `load_tf.run` plays with where it is given none, and the paper's.

A study that finds a better setting changes `defaults` and nothing else. Gin files bind their own (docs/gin_files.md),
and the defaults of the classes are the paper's.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypedDict

from load_tf.algorithm.lookahead import Lookahead
from load_tf.discriminator.conditioning import Sampling
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.segmentor import AdversarialTraining


class Setting(TypedDict):
    """The parameters of `load_tf.run` that say how LoAd is played, as keyword arguments."""

    lookahead: Lookahead
    discriminator: Discriminator
    discriminator_training: DiscriminatorTraining
    adversarial: AdversarialTraining
    sampling: Sampling


def defaults(**changes: Any) -> Setting:
    """What `load_tf.run` plays where it is told nothing else: minutes on two cores, ten iterations at the most.

    It is the convolutional setting of gin/camvid.gin. No setting has been shown to help yet (docs/study.md).

    >>> load_tf.defaults()["lookahead"].max_iterations
    10
    >>> load_tf.run(model, training, validation, run_dir="runs/more", lookahead={"max_iterations": 50})

    Args:
      **changes: for a part of the setting, such as `lookahead`, a dictionary with other values of some of its fields,
        or another one as a whole.

    Returns:
      Keyword arguments of `load_tf.run`.

    Raises:
      UserError: if a part or a field has another name, or a value is out of range.
    """
    return _changed(
        {
            "lookahead": Lookahead(upper=0.0, patience=5, max_fruitless_cycles=4, max_iterations=10),
            "discriminator": Discriminator(architecture="convolutional", sees="masks", input_size=96, alpha=0.5),
            "discriminator_training": DiscriminatorTraining(
                optimizer="adam",
                learning_rate=1e-3,
                monitor="pair_accuracy",
                sufficient_accuracy=0.98,
                first_max_epochs=8,
                max_epochs=3,
            ),
            "adversarial": AdversarialTraining(
                learning_rate=1e-4, batch_size=8, updates_per_iteration=5, clip_norm=1.0
            ),
            # To who sees masks, the speckle of Gumbel noise is a leak: ground truth has none.
            "sampling": Sampling(gumbel_noise=False),
        },
        changes,
    )


def paper(**changes: Any) -> Setting:
    """The paper's setting (section 4, as gin/paper.gin), for `load_tf.run`; nothing bounds how long it plays.

    >>> load_tf.run(model, training, validation, run_dir="runs/paper", **load_tf.paper())
    >>> bounded = load_tf.paper(lookahead={"max_iterations": 200})
    >>> load_tf.run(model, training, validation, run_dir="runs/bounded", **bounded)

    Args:
      **changes: as `load_tf.defaults` takes them.

    Returns:
      Keyword arguments of `load_tf.run`.

    Raises:
      UserError: as `load_tf.defaults`.
    """
    return _changed(
        {
            "lookahead": Lookahead(),
            "discriminator": Discriminator(),
            "discriminator_training": DiscriminatorTraining(),
            "adversarial": AdversarialTraining(),
            "sampling": Sampling(),
        },
        changes,
    )


def _changed(setting: Setting, changes: dict[str, Any]) -> Setting:
    """The setting with the changes that `defaults` describes."""
    parts: dict[str, Any] = dict(setting)
    for name, change in changes.items():
        if name not in parts:
            raise UserError(f"the setting has no part {name!r}; expected one of {', '.join(parts)}.")
        kind = type(parts[name])
        fields = [field.name for field in dataclasses.fields(kind)]
        if isinstance(change, kind):
            parts[name] = change
        elif not isinstance(change, Mapping):
            found = f"{name} is {change!r}"
            raise UserError(f"{found}; expected a load_tf.{kind.__name__}, or a dictionary of fields of it.")
        elif unknown := [field for field in change if field not in fields]:
            raise UserError(f"{name} has no field {unknown[0]!r}; expected some of {', '.join(fields)}.")
        else:
            parts[name] = dataclasses.replace(parts[name], **change)
    return Setting(**parts)  # type: ignore[typeddict-item]
