"""The adversarial step: the segmentor against a discriminator that stands still (paper, stage 2).

Only the third term of equation (2) acts: the segmentor minimises `log(1 - D(G(X)|X))`. No pixel-wise loss.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL, Split
from load_tf.devices.replicas import Batch, Parts
from load_tf.discriminator.buffer import image_order, mask_void, stream
from load_tf.discriminator.conditional import ConditionalDiscriminator, per_map
from load_tf.discriminator.conditioning import BatchSlice, Sampling, logits_on_grid, sample_maps
from load_tf.discriminator.grid import GridExamples, Size
from load_tf.randomness import generator, key
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.training.augmentation import draw_augmentation, padded_batch
from load_tf.training.segmentor import AdversarialTraining, SegmentorTrainer
from load_tf.training.stage_one import StageOne, pixels_seen


def adversarial_loss(real_logits: tf.Tensor, saturating: bool) -> tf.Tensor:
    """What the segmentor minimises, for every map.

    Args:
      real_logits: [B, ...] float32, the discriminator's logits for generated maps, of whole maps or of places in them.
      saturating: `log(1 - sigmoid(x)) = -softplus(x)`, equation (2); else `-log sigmoid(x) = softplus(-x)`.

    Returns:
      float32 [B, ...].
    """
    return -tf.nn.softplus(real_logits) if saturating else tf.nn.softplus(-real_logits)


class AdversarialTrainer(SegmentorTrainer):
    """Trains the segmentor against the discriminator alone.

    Beside what every `SegmentorTrainer` returns: `sampled_share` (share of the visible grid points where the sample is
    not the arg-max), `changed_share` (where the arg-max is not that of the model in `start_maps`) and `fooled_share`
    (share of the generated maps that the discriminator takes for ground truth).
    """

    measures: tuple[str, ...] = ("sampled_share", "changed_share", "fooled_share")

    def __init__(
        self,
        segmentor: keras.Model,
        discriminator: ConditionalDiscriminator,
        settings: AdversarialTraining,
        sampling: Sampling,
        crop: Size,
        num_classes: int,
        strategy: tf.distribute.Strategy,
        convention: Convention = OFFICIAL,
    ) -> None:
        """As `SegmentorTrainer`, whose other arguments these are; the rate stays, and so do the images.

        Args:
          discriminator: what is to be fooled; it stands still.
          sampling: how the logits become the maps that it is shown.
        """
        self.discriminator, self.sampling, self.saturating = discriminator, sampling, settings.saturating
        super().__init__(segmentor, settings, crop, num_classes, strategy, convention)

    @property
    def networks(self) -> list[keras.Layer]:
        return [*super().networks, *self.discriminator.networks]

    def totals(self, batch: Batch) -> Batch:
        return {**super().totals(batch), "visible": pixels_seen(batch["labels"])}

    def live_maps(self, logits: tf.Tensor, batch: Batch, parts: Parts) -> tuple[tf.Tensor, tf.Tensor]:
        """The present segmentor's label maps, as the discriminator is shown them.

        Args:
          logits: [b, h, w, K] float32 of a part's images.
          batch: that part of the batch.
          parts: what divided it.

        Returns:
          float32 [b, G, G, K] each: the logits on the grid, and the maps, zero where void.
        """
        on_grid = logits_on_grid(logits, self.crop, self.discriminator.settings.input_size, self.convention)
        place = BatchSlice(batch["first"], batch["rows"]) if parts.count > 1 else None
        visible = tf.cast(batch["labels"] != IGNORE_LABEL, tf.float32)
        return on_grid, sample_maps(on_grid, self.sampling, batch["key"], place) * visible[..., None]

    def objective(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        on_grid, maps = self.live_maps(logits, batch, self.parts)
        inputs = self.discriminator.inputs(batch["grid_images"], maps)
        real_logits = self.discriminator(inputs, training=False)
        loss = self.share_of_batch(batch) * tf.reduce_mean(adversarial_loss(real_logits, self.saturating))
        return loss, self.shares(on_grid, maps, real_logits, batch)

    def shares(self, on_grid: tf.Tensor, maps: tf.Tensor, verdicts: tf.Tensor, batch: Batch) -> dict[str, tf.Tensor]:
        """This part's share of what `measures` names.

        Args:
          on_grid: float32 [b, G, G, K], logits.
          maps: likewise, what the discriminator is shown of them.
          verdicts: [b, ...], its logits.
          batch: the part.
        """
        visible = tf.cast(batch["labels"] != IGNORE_LABEL, tf.float32)
        best = tf.argmax(on_grid, -1, tf.int32)

        def share_of(differ: tf.Tensor) -> tf.Tensor:
            return tf.math.divide_no_nan(tf.reduce_sum(tf.cast(differ, tf.float32) * visible), batch["visible"])

        fooled = tf.reduce_mean(tf.cast(per_map(verdicts) > 0, tf.float32))
        return {
            "sampled_share": share_of(tf.argmax(maps, -1, tf.int32) != best),
            "changed_share": share_of(tf.cast(batch["start_maps"], tf.int32) != best),
            "fooled_share": self.share_of_batch(batch) * fooled,
        }


def adversarial_batches(
    split: Split,
    examples: GridExamples,
    settings: AdversarialTraining,
    crop: Size,
    seed: int,
    first_update: int,
    updates: int,
    start_maps: np.ndarray | None = None,
    with_truth: bool = False,
    augmentation: StageOne | None = None,
    *,
    labelled: int | None = None,
    beside: Split | None = None,
) -> tf.data.Dataset:
    """The images of a run's updates `first_update` to `first_update + updates`, in the keyed order of D_t.

    Args:
      split: D_t.
      examples: the same on the grid, and behind them the images of `beside`.
      settings: the batch size.
      crop: the padded height and width.
      seed: of the order.
      first_update: the run's, not the cycle's.
      updates: how many.
      start_maps: uint8 [N, G, G], the maps of the model that what changes is measured from; None: the truth.
      with_truth: whether to add `truth`, for objectives with a pixel-wise term.
      augmentation: whose flip, shift and scale, keyed by the update, images and `truth` get; what is on the grid gets
        none, so it is for objectives that do not look there.
      labelled: how many images of D_t, the first ones, have labels; None: all. Of another one what is hidden in a
        labelled image, drawn by key, is hidden, too: maps without void would be known by that.
      beside: images without labels, or with labels that were made up, of which every batch has as many behind its own,
        in a keyed order of their own; the ground truth is then that of the others, `split`. None: there are none.

    Returns:
      Elements with `images` float32 [B, H, W, 3], padded to the crop, `grid_images` uint8 [B, G, G, 3], `labels` uint8
      [B, G, G] (only to mask void), `start_maps` uint8 [B, G, G], `key` int32 [2], of the Gumbel noise, and on request
      `truth` uint8 [B, H, W], padded as the images. With `beside` there are 2 B rows, and `labelled` float32 [2 B], 1
      where the image is of `split`.
    """
    batch_size, grid = settings.batch_size, examples.images.shape[1]
    rows = batch_size if beside is None else 2 * batch_size
    labelled = len(split) if labelled is None else labelled
    if start_maps is None:
        start_maps = examples.labels

    def images_of(source: Split, index: np.ndarray, update: int, purpose: str) -> tuple[np.ndarray, np.ndarray]:
        drawn = None
        if augmentation is not None:
            random = generator(seed, purpose, update)
            drawn = draw_augmentation(random, batch_size, augmentation.flip, augmentation.shift, augmentation.scale)
        return padded_batch(source, index, crop, drawn)

    def batch(update: int) -> tuple[np.ndarray, ...]:
        place = update * batch_size
        index = np.fromiter(image_order(len(split), seed, place, batch_size), np.int64)
        images, truth = images_of(split, index, update, "augmentation")
        strange = index >= labelled
        like = generator(seed, "hidden", update).integers(labelled, size=batch_size) if strange.any() else index
        if beside is not None:
            others = np.fromiter(image_order(len(beside), seed, place, batch_size, "order beside"), np.int64)
            more = images_of(beside, others, update, "augmentation beside")
            images, truth = (np.concatenate(pair) for pair in zip((images, truth), more, strict=True))
            # As many: each hides what the one in front of it hides.
            like, strange = np.tile(index, 2), np.arange(rows) >= batch_size
            index = np.concatenate([index, len(split) + others])
        labels = examples.labels[index]
        labels[strange] = mask_void(labels[strange], examples.labels[like[strange]])
        found = (images, examples.images[index], labels, start_maps[index], key(seed, "gumbel", update))
        return *found, *((truth,) if with_truth else ()), *(() if beside is None else (np.float32(~strange),))

    more_names = [*(["truth"] if with_truth else []), *([] if beside is None else ["labelled"])]
    names = ["images", "grid_images", "labels", "start_maps", "key", *more_names]
    specification = (
        tf.TensorSpec([rows, *crop, 3], tf.float32),
        tf.TensorSpec([rows, grid, grid, 3], tf.uint8),
        tf.TensorSpec([rows, grid, grid], tf.uint8),
        tf.TensorSpec([rows, grid, grid], tf.uint8),
        tf.TensorSpec([2], tf.int32),
        *([tf.TensorSpec([rows, *crop], tf.uint8)] if with_truth else []),
        *([] if beside is None else [tf.TensorSpec([rows], tf.float32)]),
    )
    return stream(batch, range(first_update, first_update + updates), specification).map(
        lambda *values: dict(zip(names, values, strict=True))
    )


def map_maker(
    segmentor: Callable[..., tf.Tensor], crop: Size, grid: int, convention: Convention = OFFICIAL
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A traced function from padded images to the label maps on the grid that the buffer stores.

    Args:
      segmentor: (images, training=False) -> logits [B, h, w, K].
      crop: the padded height and width.
      grid: points along each axis.
      convention: the segmentor's.

    Returns:
      float32 [B, H, W, 3] -> uint8 [B, G, G]: the arg-max of the logits that the adversarial step samples from (up to
      rounding, where the segmentor is folded).
    """

    @tf.function(input_signature=[tf.TensorSpec([None, *crop, 3], tf.float32)], autograph=False)
    def maps(images: tf.Tensor) -> tf.Tensor:
        logits = logits_on_grid(segmentor(images, training=False), crop, grid, convention)
        return tf.cast(tf.argmax(logits, axis=-1), tf.uint8)

    return maps
