"""Stage 1: cross-entropy training of what is not pre-trained, "up to a reasonable performance" (section 2)."""

import dataclasses
import math
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL, Split
from load_tf.devices import loops
from load_tf.devices.precision import LossScale
from load_tf.devices.replicas import Batch, Parts, synchronize_batch_norm, take_global_gradients
from load_tf.discriminator.buffer import stream
from load_tf.discriminator.grid import Size
from load_tf.errors import UserError, check, check_choice, check_number, check_whole
from load_tf.randomness import generator
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.folding import differentiable
from load_tf.segmentors.labelling import upsample
from load_tf.training.augmentation import draw_augmentation, padded_batch
from load_tf.training.optimizers import apply_scaled, polynomial_decay


@dataclasses.dataclass(frozen=True)
class StageOne:
    """Supervised training; the schedule is DeepLab's (SGD, momentum 0.9, polynomial decay of power 0.9).

    Attributes:
      epochs: passes over D_t; `keep` says which of them is kept.
      batch_size: images in a step.
      learning_rate: at the start; it falls to 0 as `(1 - step / steps) ** 0.9`.
      momentum: of SGD.
      flip: mirror half of the images, drawn by key.
      shift: pixels by which an image may move, per axis, drawn by key; what it uncovers is padding.
      clip_norm: the largest norm of all gradients together; it bounds the first steps from random weights.
      optimizer: "sgd", or "adamw" for networks that begin with the weights of another task.
      weight_decay: AdamW's, taken off each weight in proportion to the rate.
      scale: the least and the largest number by which an image's sides are multiplied, drawn by key; what is then
        larger than the crop is cut at a place drawn by key, what is smaller is padded.
      crop: height and width of the part of an image that a step is made with; None: the experiment's crop.
      batch_norm: "batch": statistics are those of the batch, and the moving averages move; "moving": the averages
        stand, which pre-trained networks and those with folded batch norm need.
      keep: which epoch becomes the baseline: the "best" on the hold-out, or the "last", by which nothing is chosen.
      calibrate: steps of a fit of class constants to D_t's class proportions (`training.calibration`), in the bias
        of the logits, after training, or for a pre-trained segmentor in its place; 0: none. Nothing is chosen by it.
    """

    epochs: int = 30
    batch_size: int = 8
    learning_rate: float = 0.05
    momentum: float = 0.9
    flip: bool = True
    shift: int = 0
    clip_norm: float = 5.0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    crop: Size | None = None
    batch_norm: Literal["batch", "moving"] = "batch"
    keep: Literal["best", "last"] = "best"
    calibrate: int = 0

    def __post_init__(self) -> None:
        check_whole(self, "epochs", "batch_size")
        check_whole(self, "shift", least=0, expected="a whole number of pixels, at least 0")
        check(self, "momentum", allowed=lambda value: 0 <= value < 1, expected="a number in [0, 1)")
        check_number(self, "learning_rate", "clip_norm")
        check_number(self, "weight_decay", zero=True)
        check_choice(self, "optimizer", "sgd", "adamw")
        check_choice(self, "batch_norm", "batch", "moving")
        check_choice(self, "keep", "best", "last")
        check_whole(self, "calibrate", least=0, expected="a whole number of steps, at least 0")
        check(self, "scale", allowed=_is_range, expected="two numbers above 0, the least and the largest scale")
        check(self, "crop", allowed=_is_size, expected="None or a height and a width above 0")
        object.__setattr__(self, "scale", tuple(map(float, self.scale)))
        if self.crop is not None:
            object.__setattr__(self, "crop", tuple(self.crop))
        if self.weight_decay and self.optimizer == "sgd":
            raise UserError(
                f"StageOne.weight_decay is {self.weight_decay}, but optimizer is 'sgd', which has none; expected 0, or "
                "optimizer = 'adamw'."
            )

    def make_optimizer(self, total_steps: int) -> keras.optimizers.Optimizer:
        """The optimizer, whose rate falls to 0 over `total_steps`."""
        rate = polynomial_decay(self.learning_rate, total_steps)
        if self.optimizer == "sgd":
            return keras.optimizers.SGD(rate, self.momentum, global_clipnorm=self.clip_norm, name="cross_entropy")
        return keras.optimizers.AdamW(
            rate, weight_decay=self.weight_decay, global_clipnorm=self.clip_norm, name="cross_entropy"
        )


def _is_range(values: Any) -> bool:
    numbers = isinstance(values, tuple | list) and all(isinstance(value, int | float) for value in values)
    return numbers and len(values) == 2 and 0 < values[0] <= values[1] < math.inf


def _is_size(values: Any) -> bool:
    whole = isinstance(values, tuple | list) and all(isinstance(value, int) and value > 0 for value in values)
    return values is None or (whole and len(values) == 2)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, convention: Convention = OFFICIAL) -> tf.Tensor:
    """Pixel-wise cross-entropy, the first term of equation (2), void left out.

    Args:
      logits: [B, h, w, K] float32; up-sampled to the labels' size.
      labels: [B, H, W] uint8; IGNORE_LABEL where void.
      convention: how.

    Returns:
      float32 scalar, the sum over all pixels that are not void; `pixels_seen` says how many these are.
    """
    return tf.reduce_sum(pixel_losses(logits, labels, convention))


def pixel_losses(logits: tf.Tensor, labels: tf.Tensor, convention: Convention = OFFICIAL) -> tf.Tensor:
    """What `cross_entropy` adds up: float32 [B, H, W], 0 where void."""
    visible = labels != IGNORE_LABEL
    targets = tf.where(visible, tf.cast(labels, tf.int32), 0)
    upsampled = upsample(logits, tf.shape(labels)[1:], convention)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, upsampled)
    return losses * tf.cast(visible, tf.float32)


def pixels_seen(labels: tf.Tensor) -> tf.Tensor:
    """How many pixels of label maps, uint8 [B, H, W], are not void; float32, exact below 2^24."""
    return tf.reduce_sum(tf.cast(labels != IGNORE_LABEL, tf.float32))


class CrossEntropyTrainer(loops.StandardTrainer):
    """Trains a segmentor by cross-entropy; `train` returns the mean `loss` per pixel."""

    def __init__(
        self,
        segmentor: keras.Model,
        settings: StageOne,
        total_steps: int,
        strategy: tf.distribute.Strategy,
        convention: Convention = OFFICIAL,
    ) -> None:
        """Makes the optimizer; nothing is trained yet.

        Args:
          segmentor: [B, H, W, 3] -> logits [B, h, w, K].
          settings: how it is trained.
          total_steps: of all epochs, over which the learning rate falls to 0.
          strategy: where the variables live; its replicas share a batch.
          convention: the segmentor's.
        """
        super().__init__(None, loops.StandardTrainerOptions(use_tf_while_loop=True))
        self.segmentor, self.strategy, self.convention = segmentor, strategy, convention
        self.parts = Parts(strategy)
        self.statistics_move = settings.batch_norm == "batch"
        self.forward = segmentor if self.statistics_move else differentiable(segmentor)
        synchronize_batch_norm([segmentor], strategy)
        with strategy.scope():
            self.loss_scale = LossScale.where_needed([segmentor], "cross_entropy")
            self.optimizer = settings.make_optimizer(total_steps)
            self.optimizer.build(segmentor.trainable_variables)
            take_global_gradients(self.optimizer)
            self._loss = tf.Variable(0.0, trainable=False, name="cross_entropy")
            self._steps = tf.Variable(0.0, trainable=False, name="cross_entropy_steps")

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a restart needs."""
        scale = self.loss_scale.variables if self.loss_scale else ()
        return [*self.segmentor.variables, *self.optimizer.variables, *scale]

    def train_loop_begin(self) -> None:
        self._loss.assign(0.0)
        self._steps.assign(0.0)

    def train_step(self, iterator: tf.data.Iterator) -> None:
        batch = next(iterator)
        (part,) = self.parts.divide({**batch, "pixels": pixels_seen(batch["labels"])})
        gradients, losses = self.strategy.run(self._gradients, args=(part,))
        loss = self.strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
        apply_scaled(
            self.strategy, self.optimizer, gradients, self.segmentor.trainable_variables, loss, self.loss_scale
        )
        self._loss.assign_add(loss)
        self._steps.assign_add(1.0)

    # No control flow of tensors: AutoGraph would rewrite each function, which is seconds of every start.
    @tf.autograph.experimental.do_not_convert
    def _gradients(self, batch: Batch) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The global batch's gradients, and this replica's share of its loss."""
        variables = [v.value for v in self.segmentor.trainable_variables]
        with tf.GradientTape() as tape, self.parts.statistics_of(batch):
            logits = tf.cast(self.forward(batch["images"], training=self.statistics_move), tf.float32)
            total = cross_entropy(logits, batch["labels"], self.convention)
            # A batch of nothing but void has no pixels: 0 / 0 would make every weight NaN.
            loss = self.parts.counted(tf.math.divide_no_nan(total, batch["pixels"]), batch)
            scaled = self.loss_scale.scale(loss) if self.loss_scale else loss
        gradients = self.parts.add_up(self.parts.gradients(tape, scaled, variables))
        if self.loss_scale:
            gradients = self.loss_scale.unscale(gradients)
        return gradients, loss

    def train_loop_end(self) -> dict[str, float]:
        return {"loss": float(self._loss.numpy()) / float(self._steps.numpy())}


def steps_per_epoch(images: int, settings: StageOne) -> int:
    """Whole batches in a pass over D_t, at least 1; each epoch has an order of its own, and leaves others over."""
    return max(1, images // settings.batch_size)


def cross_entropy_batches(split: Split, settings: StageOne, crop: Size, seed: int, epoch: int) -> tf.data.Dataset:
    """One epoch of images and label maps, padded to the crop, in an order and with an augmentation drawn by key.

    Args:
      split: D_t.
      settings: batch size and augmentation.
      crop: the padded height and width, where the settings have none of their own.
      seed: with the epoch the key.
      epoch: counted from 0.

    Returns:
      Elements with `images` float32 [B, H, W, 3] and `labels` uint8 [B, H, W].
    """
    random = generator(seed, "stage 1", epoch)
    order = random.permutation(len(split))
    drawn = draw_augmentation(random, len(split), settings.flip, settings.shift, settings.scale)
    crop = settings.crop or crop
    size = min(settings.batch_size, len(split))

    def batch(start: int) -> tuple[np.ndarray, ...]:
        part = slice(start, start + size)
        return padded_batch(split, order[part], crop, drawn[part])

    specification = (tf.TensorSpec([size, *crop, 3], tf.float32), tf.TensorSpec([size, *crop], tf.uint8))
    starts = range(0, steps_per_epoch(len(split), settings) * size, size)
    return stream(batch, starts, specification).map(lambda images, labels: {"images": images, "labels": labels})
