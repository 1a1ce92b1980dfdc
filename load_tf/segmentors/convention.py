"""How a network's images are padded and its logits up-sampled: a part of the network, as its weights are.

A network that is scored under another convention than it was trained with loses points without any error: its logits
then are up-sampled half a pixel or more aside.
"""

import dataclasses
from collections.abc import Iterable

from load_tf.errors import UserError

UPSAMPLINGS = {"aligned": "bilinear, aligned corners", "half_pixel": "bilinear, half-pixel centres"}
"""Kinds of bilinear up-sampling, and how they are printed."""


@dataclasses.dataclass(frozen=True)
class Convention:
    """What sizes a segmentor's images are padded to, and how its logits are brought to that size.

    Logits of full resolution need no kind of their own: between equal sizes both kinds of up-sampling are exactly the
    identity.

    >>> Convention(multiple=32).padded_size(375, 500, crop=(32, 32))  # a Keras network that halves five times
    (384, 512)
    >>> official = Convention("aligned", multiple=16, offset=1)
    >>> official.padded_size(375, 500, crop=(513, 513)), official.sizes
    ((513, 513), '16 k + 1')

    Attributes:
      upsampling: "aligned", the first and last logits lie on the first and last pixel, as in the official graph;
        "half_pixel", a logit lies in the middle of the pixels it stands for, as in Keras and `tf.image.resize`.
      multiple: images larger than the crop are padded to `multiple * k + offset` pixels along each axis.
      offset: see `multiple`; 1 for the official networks, whose sizes are 16 k + 1, 0 for Keras' usual ones.
      any_crop: whether the crop may be of other sizes than these. None: with "half_pixel".
    """

    upsampling: str = "half_pixel"
    multiple: int = 1
    offset: int = 0
    any_crop: bool | None = None

    def __post_init__(self) -> None:
        if self.upsampling not in UPSAMPLINGS:
            raise UserError(
                f"Convention.upsampling is {self.upsampling!r}; expected one of {', '.join(map(repr, UPSAMPLINGS))}."
            )
        for name, least in (("multiple", 1), ("offset", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"Convention.{name} is {value!r}; expected a whole number of at least {least}.")
        if self.any_crop is None:
            object.__setattr__(self, "any_crop", self.upsampling == "half_pixel")

    @property
    def sizes(self) -> str:
        """The sizes that are padded to, in words, e.g. "16 k + 1"."""
        if self.multiple == 1:
            return "any number of"
        return f"{self.multiple} k" + (f" + {self.offset}" if self.offset else "")

    def next(self, side: int) -> int:
        """The smallest size `multiple * k + offset`, k > 0, that is no less than `side`, in pixels."""
        return max(1, -(-(side - self.offset) // self.multiple)) * self.multiple + self.offset

    def padded_size(self, height: int, width: int, crop: tuple[int, int]) -> tuple[int, int]:
        """The size an image is padded to: the crop, or along an axis where it is larger the next one of its own."""
        padded = [c if side <= c else self.next(side) for side, c in zip((height, width), crop, strict=True)]
        return padded[0], padded[1]

    def check_crop(self, crop: tuple[int, ...], name: str = "crop") -> None:
        """Raises UserError, naming the sizes that are allowed, if the crop is not one of them."""
        if len(crop) == 2 and all(isinstance(side, int) and self._allows(side) for side in crop):
            return
        pixels = "at least 1" if self.any_crop else self.sizes
        example = self.next(512 if self.offset else 481)
        raise UserError(
            f"{name} is {tuple(crop)}; expected (height, width), each {pixels} pixels, e.g. ({example}, {example})."
        )

    def fit_crop(self, crop: tuple[int, int], name: str = "crop") -> tuple[int, int]:
        """The crop that is used where one was asked for.

        A network with aligned corners was trained at sizes of its own, so another crop is refused. One that only needs
        multiples of some pixels gets the next larger ones.

        Raises:
          UserError: naming the sizes that are allowed.
        """
        if self.upsampling == "half_pixel" and not self.any_crop and all(side >= 1 for side in crop):
            return self.next(crop[0]), self.next(crop[1])
        self.check_crop(crop, name)
        return crop

    def crop_for(self, sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
        """The smallest crop for images of some sizes.

        Args:
          sizes: (height, width) of each image.

        Returns:
          Exactly their size if they have one and it is allowed, so that nothing is padded; else the next allowed one
          that holds all of them.
        """
        found = set(sizes)
        height, width = (max(size[axis] for size in found) for axis in (0, 1))
        if len(found) == 1 and self._allows(height) and self._allows(width):
            return height, width
        return self.next(height), self.next(width)

    def describe(self, full_resolution: bool = False) -> str:
        """How logits are brought to the images' size, in words.

        Args:
          full_resolution: whether there is a logit for every pixel.
        """
        return "none: logits of full resolution" if full_resolution else UPSAMPLINGS[self.upsampling]

    def _allows(self, side: int) -> bool:
        return side >= 1 if self.any_crop else side == self.next(side)


OFFICIAL = Convention("aligned", 16, 1)
"""That of the official DeepLab networks: 16 k + 1 pixels, aligned corners."""
