"""Multi-scale and flip inference, as the official `predict_labels_multi_scale`."""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from load_tf.errors import UserError
from load_tf.segmentors import labelling
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.folding import forward

OFFICIAL_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Those behind the model zoo's "OS = 8, MS, flip" scores."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How the tables are scored. The hold-out, which LoAd asks after every update, always sees one scale, unflipped.

    Attributes:
      scales: factors of the image's size, e.g. `OFFICIAL_SCALES`; the paper's tables use one.
      flip: average over the mirrored image as well.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        if not self.scales or not all(isinstance(s, int | float) and s > 0 for s in self.scales):
            raise UserError(f"Evaluation.scales is {self.scales!r}; expected one or more factors above 0.")

    def wrap(
        self,
        model: keras.Model,
        crop: labelling.Size,
        convention: Convention = OFFICIAL,
        largest: labelling.Size | None = None,
    ) -> keras.Model:
        """The model itself where one scale is asked for, else its `MultiScaleSegmentor`.

        Args:
          model: the segmentor.
          crop: height and width images are padded to.
          convention: the segmentor's.
          largest: the only height and width the segmentor takes; None: any.

        Raises:
          UserError: if several scales are asked of a segmentor that takes one size.
        """
        if self.scales == (1.0,) and not self.flip:
            return model
        if largest is not None and self.scales != (1.0,):
            raise UserError(
                f"Evaluation.scales is {self.scales!r}, but the network takes images of {largest[0]} x {largest[1]} "
                "pixels only; expected (1.0,)."
            )
        rows = model.compute_output_shape((1, *crop, 3))[1]
        aligned = convention.upsampling == "aligned"
        stride = (crop[0] - 1) / (rows - 1) if aligned else crop[0] / rows
        return MultiScaleSegmentor(model, max(1, round(stride)), self.scales, self.flip, convention)


class MultiScaleSegmentor(keras.Model):
    """Averages a segmentor's class probabilities over scaled and mirrored images.

    For every scale s the padded image is resized to int((H - 1) s + 1) x int((W - 1) s + 1), the logits are brought to
    the stride they have at scale 1 where s < 1 and then to the padded size (every resizing bilinear with aligned
    corners), and a softmax makes probabilities of them; their mean is the result. With half-pixel centres the image is
    resized to the nearest size that the convention pads to, and the logits straight to the padded size.

    It's called like any segmentor, and the arg-max of its output is the label map: up-sampling probabilities that have
    the padded size already changes no bit of them.
    """

    def __init__(
        self,
        segmentor: keras.Model,
        logits_stride: int,
        scales: Sequence[float] = OFFICIAL_SCALES,
        flip: bool = True,
        convention: Convention = OFFICIAL,
    ) -> None:
        """Wraps a segmentor; its variables stay its own.

        Args:
          segmentor: [B, h, w, 3] float RGB in [0, 255] -> logits [B, h', w', K], for images of any size.
          logits_stride: the image's pixels a logit stands for: 4 with the official decoder, else the output stride.
          scales: factors of the image's size.
          flip: whether to see the mirrored image at every scale, too.
          convention: the segmentor's.

        Raises:
          UserError: if there is no scale, or one isn't positive.
        """
        if not scales or not all(scale > 0 for scale in scales):
            raise UserError(f"MultiScaleSegmentor.scales is {scales!r}; expected one or more factors above 0.")
        if logits_stride < 1:
            raise UserError(f"MultiScaleSegmentor.logits_stride is {logits_stride!r}; expected at least 1.")
        super().__init__()
        self._segmentor = segmentor
        self._forward = forward(segmentor)
        self._logits_stride = logits_stride
        self._scales = tuple(float(scale) for scale in scales)
        self._flip = flip
        self._convention = convention

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Mean class probabilities.

        Args:
          images: [B, H, W, 3] float, RGB in [0, 255], padded.
          training: must be False.

        Returns:
          float32 [B, H, W, K].

        Raises:
          ValueError: if `training`.
        """
        if training:
            raise ValueError("several scales are for inference; train the segmentor inside.")
        views = [
            (scale, mirrored) for scale in self._scales for mirrored in ((False, True) if self._flip else (False,))
        ]
        # One view after the other: their probabilities, of the images' size, needn't all be held.
        total = self._probabilities(images, *views[0])
        for view in views[1:]:
            total += self._probabilities(images, *view)
        return total / len(views)

    def refresh(self) -> None:
        """Takes over the segmentor's present values."""
        self._forward.refresh()

    def _probabilities(self, images: tf.Tensor, scale: float, mirrored: bool) -> tf.Tensor:
        size = tf.shape(images)[1:3]
        if mirrored:
            images = tf.reverse(images, [2])
        if scale != 1.0:
            images = labelling.upsample(images, self._scaled(size, scale), self._convention)
        logits = tf.cast(self._forward(images), tf.float32)
        if scale < 1.0 and self._convention.upsampling == "aligned":
            logits = labelling.upsample(logits, _scaled(size, 1.0 / self._logits_stride), self._convention)
        if mirrored:
            logits = tf.reverse(logits, [2])
        return tf.nn.softmax(labelling.upsample(logits, size, self._convention))

    def _scaled(self, size: tf.Tensor, scale: float) -> tf.Tensor:
        """The size, int32 [2], that images of a size are resized to."""
        if self._convention.upsampling == "aligned":
            return _scaled(size, scale)
        multiple, offset = self._convention.multiple, self._convention.offset
        steps = tf.round((tf.cast(size, tf.float64) * scale - offset) / multiple)
        return tf.maximum(tf.cast(steps, tf.int32), 1) * multiple + offset


def _scaled(size: tf.Tensor, scale: float) -> tf.Tensor:
    """int((size - 1) * scale + 1) per axis: aligned corners stay aligned."""
    return tf.cast(tf.cast(size - 1, tf.float64) * scale + 1.0, tf.int32)
