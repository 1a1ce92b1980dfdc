"""What discriminator an experiment has; `load_tf.discriminator.build` makes it."""

import dataclasses
from pathlib import Path
from typing import Literal

from load_tf.discriminator.conditioning import IMAGE_RANGE
from load_tf.downloads.imagenet import IMAGENET
from load_tf.errors import UserError, check, check_number

KINDS = {"mobilenet": "mobilenet", "convolutional": "fully_convolutional"}
"""By architecture the module of this package that has its `build` and its `numbers`. A new one is a file and a line."""

ALPHAS = (0.25, 0.5, 0.75, 1.0)
"""MobileNet's widths that were trained on ImageNet."""


@dataclasses.dataclass(frozen=True)
class Discriminator:
    """Its architecture; the defaults are the paper's, or where the paper is silent those of docs/reproduction.md.

    Attributes:
      alpha: multiplies the channels of the layers, above 0; MobileNet's width multiplier.
      input_size: points of the grid along each axis; 224 in the paper.
      dropout: rate in front of the last layer, in training only; the convolutional one has none.
      image_range: what the values 0 and 255 of the image become.
      architecture: one of `KINDS`: "mobilenet", the paper's, one verdict on a whole map; "convolutional", Hung et
        al.'s, a verdict on every place.
      sees: "split", the paper's `3 K` channels of the class-split image; "masks", the label map's K channels alone, as
        in Hung et al.; "both".
      batch_norm_momentum: of MobileNet's moving averages, which are used at inference. Keras' 0.99 is stale after the
        few steps of a short training: 43 steps (350 images) would leave 65 % of the initial values in them.
      weights: what MobileNet begins with: None, drawn by key; "imagenet", those that Keras downloads; or the path of a
        file that `keras.applications.MobileNet(include_top=False)` takes. `pretrained` fits them to what it sees.
      verdict: of MobileNet: "map", the paper's one verdict on a whole map; "place", one on every place, from the layer
        whose stride is `stride`.
      stride: points of the grid along each axis of a place, 4, 8 or 16; it acts with verdict "place".
      asks: "real", the paper's question: is this ground truth? "right here", for verdicts on places: is the map right
        at this place (`buffer.right_places`)?
    """

    alpha: float = 1.0
    input_size: int = 224
    dropout: float = 0.01
    image_range: tuple[float, float] = IMAGE_RANGE
    batch_norm_momentum: float = 0.9
    architecture: str = "mobilenet"
    sees: Literal["split", "masks", "both"] = "split"
    weights: str | None = None
    verdict: Literal["map", "place"] = "map"
    stride: int = 8
    asks: Literal["real", "right here"] = "real"

    def __post_init__(self) -> None:
        if self.input_size < 32:
            raise UserError(f"Discriminator.input_size is {self.input_size}; MobileNet needs at least 32.")
        check_number(self, "alpha")
        rates = ("dropout", "batch_norm_momentum")
        check(self, *rates, allowed=lambda value: 0 <= value < 1, expected="a rate in [0, 1)")
        object.__setattr__(self, "image_range", tuple(self.image_range))
        for name, choices in (
            ("architecture", tuple(KINDS)),
            ("sees", ("split", "masks", "both")),
            ("verdict", ("map", "place")),
            ("asks", ("real", "right here")),
        ):
            if getattr(self, name) not in choices:
                found, expected = getattr(self, name), ", ".join(map(repr, choices))
                raise UserError(f"Discriminator.{name} is {found!r}; expected one of {expected}.")
        check(self, "stride", allowed=lambda value: value in (4, 8, 16), expected="4, 8 or 16")
        if self.verdict == "place" and self.input_size % self.stride:
            raise UserError(
                f"Discriminator.input_size is {self.input_size}, and verdict is 'place'; expected a multiple of the "
                f"stride, {self.stride}."
            )
        self._refuse_wrong_weights()

    def _refuse_wrong_weights(self) -> None:
        """What the settings alone show."""
        if self.weights is None:
            return
        named = f"Discriminator.weights is {self.weights!r}"
        if self.weights == IMAGENET and self.alpha not in ALPHAS:
            raise UserError(f"{named}, but alpha is {self.alpha}; expected one of {ALPHAS}.")
        if self.weights != IMAGENET and not Path(self.weights).expanduser().is_file():
            raise UserError(
                f"{named}, and there is no such file; expected None, {IMAGENET!r}, or the path of a file that "
                "keras.applications.MobileNet(include_top=False) takes."
            )

    def channels(self, num_classes: int) -> int:
        """Of the input."""
        return {"split": 3, "masks": 1, "both": 4}[self.sees] * num_classes
