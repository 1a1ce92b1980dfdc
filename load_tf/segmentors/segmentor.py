"""What an experiment gets from a segmentor's factory."""

import dataclasses
from collections.abc import Collection

import keras

from load_tf.errors import UserError
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.labelling import Size


@dataclasses.dataclass(frozen=True)
class Segmentor:
    """A segmentation network and what an experiment has to know of it.

    Args:
      model: RGB [B, H, W, 3] in [0, 255] to float32 logits [B, h, w, K], before the last up-sampling.
      pretrained: whether it can segment already; stage 1 is for those that cannot.
      description: one line for people.
      output_stride: of the features, printed beside a score.
      convention: how its images are padded and its logits up-sampled, wherever it is used.
      largest: (height, width) of the only images its network takes, to which all are padded; None: any size.
      full_resolution: whether it has a logit for every pixel, so that there is nothing to up-sample.
      doubt: the convention it may have been trained with instead, where `convention` is a guess; None: there is no
        doubt, or no other one that the network takes.
    """

    model: keras.Model
    pretrained: bool
    description: str
    output_stride: int
    convention: Convention = OFFICIAL
    largest: Size | None = None
    full_resolution: bool = False
    doubt: Convention | None = None

    @property
    def limit(self) -> str | None:
        """A sentence on the largest image it takes, without a full stop; None if there is no such limit."""
        if self.largest is None:
            return None
        height, width = self.largest
        return (
            f"the network takes images of {height} x {width} pixels at the most (height x width): its layers can't be "
            "traced with an unknown size"
        )

    def crop(self, wanted: Size, called: str = "experiment.crop") -> Size:
        """The crop that is used where one is asked for: the same, or the next larger size that the network takes.

        Args:
          wanted: what is asked for.
          called: the parameter that does.

        Raises:
          UserError: naming the sizes that are allowed.
        """
        if self.largest is None:
            return self.convention.fit_crop(wanted, called)
        if any(side > most for side, most in zip(wanted, self.largest, strict=True)):
            raise UserError(f"the crop is {wanted[0]} x {wanted[1]}, but {self.limit}.")
        return self.largest

    def crop_for(self, sizes: Collection[Size]) -> Size:
        """The smallest crop that holds images of some (height, width): exactly theirs if they have one size.

        Raises:
          UserError: if an image is larger than the network takes.
        """
        if self.largest is None:
            return self.convention.crop_for(sizes)
        return self.crop((max(height for height, _ in sizes), max(width for _, width in sizes)))
