"""What an experiment gets from a segmentor's factory."""

import dataclasses

import keras


@dataclasses.dataclass(frozen=True)
class Segmentor:
    """A segmentation network and what an experiment has to know of it.

    Args:
      model: RGB [B, H, W, 3] in [0, 255] to float32 logits [B, h, w, K], before the last up-sampling.
      pretrained: whether it can segment already; stage 1 is for those that cannot.
      description: one line for people.
      output_stride: of the features, printed beside a score.
    """

    model: keras.Model
    pretrained: bool
    description: str
    output_stride: int
