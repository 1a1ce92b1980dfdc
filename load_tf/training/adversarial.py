"""The adversarial step: the segmentor against a discriminator that stands still (paper, stage 2).

Only the third term of equation (2) acts: the segmentor minimises `log(1 - D(G(X)|X))`. No pixel-wise loss, no
augmentation, both networks in inference mode (batch-norm statistics do not move; gamma and beta do).
"""

import dataclasses
import re
from collections.abc import Callable

import keras
import numpy as np
import orbit
import tensorflow as tf

from load_tf.conditioning import Sampling, logits_on_grid, sample_maps, split_by_class
from load_tf.data.dataset import IGNORE_LABEL, Split
from load_tf.data.grid import GridExamples, Size
from load_tf.discriminator import ConditionalDiscriminator
from load_tf.errors import UserError
from load_tf.label_maps import image_order, stream
from load_tf.randomness import key
from load_tf.segmentors.labelling import PADDING_VALUE


@dataclasses.dataclass(frozen=True)
class AdversarialTraining:
    """The segmentor's updates in stage 2; the defaults are the paper's (section 4).

    Attributes:
      batch_size: images in an update (5: what fitted the paper's 16 GB).
      learning_rate: of SGD.
      momentum: of SGD: `v <- momentum * v - learning_rate * gradient; w <- w + v`.
      updates_per_iteration: updates between two evaluations of the hold-out.
      saturating: minimise `log(1 - D)`, the third term of equation (2); False: `-log D`.
      trainable: regular expression; only variables whose path it finds are trained.
    """

    batch_size: int = 5
    learning_rate: float = 2.5e-7
    momentum: float = 0.95
    updates_per_iteration: int = 1
    saturating: bool = True
    trainable: str = ".*"

    def __post_init__(self) -> None:
        for name in ("batch_size", "updates_per_iteration"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise UserError(
                    f"AdversarialTraining.{name} is {getattr(self, name)!r}; expected a whole number above 0."
                )
        if not isinstance(self.learning_rate, int | float) or not self.learning_rate > 0:
            raise UserError(f"AdversarialTraining.learning_rate is {self.learning_rate!r}; expected a number above 0.")
        if not 0 <= self.momentum < 1:
            raise UserError(f"AdversarialTraining.momentum is {self.momentum!r}; expected a number in [0, 1).")


def adversarial_loss(real_logits: tf.Tensor, saturating: bool) -> tf.Tensor:
    """What the segmentor minimises, for every map.

    Args:
      real_logits: [B] float32, the discriminator's logits for generated maps.
      saturating: `log(1 - sigmoid(x)) = -softplus(x)`, equation (2); else `-log sigmoid(x) = softplus(-x)`.

    Returns:
      float32 [B].
    """
    return -tf.nn.softplus(real_logits) if saturating else tf.nn.softplus(-real_logits)


class AdversarialTrainer(orbit.StandardTrainer):
    """Trains the segmentor against the discriminator, a number of updates at a time.

    `train` returns means over the updates: `loss`, `gradient_norm`, `sampled_share` (share of the visible grid points
    where the sample is not the arg-max) and `finite` (False if an update was not applied since its loss or gradient was
    not finite; those after it were not applied either).
    """

    def __init__(
        self,
        segmentor: keras.Model,
        discriminator: ConditionalDiscriminator,
        settings: AdversarialTraining,
        sampling: Sampling,
        crop: Size,
        num_classes: int,
        strategy: tf.distribute.Strategy,
    ) -> None:
        super().__init__(None, orbit.StandardTrainerOptions(use_tf_while_loop=True, use_tf_function=True))
        self.segmentor, self.discriminator = segmentor, discriminator
        self.settings, self.sampling = settings, sampling
        self.crop, self.num_classes, self.strategy = crop, num_classes, strategy
        self.trained = [v for v in segmentor.trainable_variables if re.search(settings.trainable, v.path)]
        if not self.trained:
            raise UserError(
                f"AdversarialTraining.trainable {settings.trainable!r} finds none of the segmentor's variables, "
                f"such as {segmentor.trainable_variables[0].path!r}."
            )
        with strategy.scope():
            self.optimizer = keras.optimizers.SGD(
                settings.learning_rate, momentum=settings.momentum, name="adversarial"
            )
            self.optimizer.build(self.trained)
            self._sums = {
                name: tf.Variable(0.0, trainable=False, name=name)
                for name in ("loss", "gradient_norm", "sampled_share")
            }
            self._finite = tf.Variable(True, trainable=False, name="finite")
            self._updates = tf.Variable(0.0, trainable=False, name="updates")

    @property
    def momentum_variables(self) -> list[keras.Variable]:
        """The slots a resumed cycle needs."""
        return list(self.optimizer.variables)

    def reset_momentum(self) -> None:
        """A cycle's momentum starts from zero."""
        for variable in self.optimizer.variables:
            if variable is not self.optimizer._learning_rate:
                variable.assign(tf.zeros_like(variable))

    def train_loop_begin(self) -> None:
        for variable in (*self._sums.values(), self._updates):
            variable.assign(0.0)
        self._finite.assign(True)

    def train_step(self, iterator: tf.data.Iterator) -> None:
        gradients, measures, finite = self.strategy.run(self._gradients, args=(next(iterator),))
        bad = self.strategy.reduce(tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.int32), axis=None)
        self._finite.assign(self._finite.read_value() & (bad == 0))
        if self._finite.read_value():
            self.strategy.run(self.optimizer.apply, args=(gradients, self.trained))
        self._updates.assign_add(1.0)
        for name, value in measures.items():
            self._sums[name].assign_add(self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None))

    def _gradients(self, batch: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], tf.Tensor]:
        """Gradients of one replica's share of the loss, whose sum over replicas is the mean over the global batch."""
        replica = tf.distribute.get_replica_context()
        count = tf.cast(tf.shape(batch["images"])[0], tf.float32)
        share = count / replica.all_reduce(tf.distribute.ReduceOp.SUM, count)
        visible = tf.cast(batch["labels"] != IGNORE_LABEL, tf.float32)[..., None]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in self.trained])
            logits = logits_on_grid(
                self.segmentor(batch["images"], training=False), self.crop, self.discriminator.settings.input_size
            )
            maps = sample_maps(logits, self.sampling, batch["key"])
            inputs = split_by_class(batch["grid_images"], maps * visible, self.discriminator.settings.image_range)
            real_logits = self.discriminator(inputs, training=False)
            loss = share * tf.reduce_mean(adversarial_loss(real_logits, self.settings.saturating))
        gradients = tape.gradient(loss, [v.value for v in self.trained])
        norm = tf.linalg.global_norm(gradients)
        other = tf.cast(tf.argmax(maps, -1) != tf.argmax(logits, -1), tf.float32) * visible[..., 0]
        measures = {
            "loss": loss,
            "gradient_norm": norm * share,
            "sampled_share": share * tf.math.divide_no_nan(tf.reduce_sum(other), tf.reduce_sum(visible)),
        }
        return gradients, measures, tf.math.is_finite(loss) & tf.math.is_finite(norm)

    def train_loop_end(self) -> dict[str, float | bool]:
        updates = float(self._updates.numpy())
        means: dict[str, float | bool] = {name: float(v.numpy()) / updates for name, v in self._sums.items()}
        return {**means, "finite": bool(self._finite.numpy())}


def adversarial_batches(
    split: Split,
    examples: GridExamples,
    settings: AdversarialTraining,
    crop: Size,
    seed: int,
    first_update: int,
    updates: int,
) -> tf.data.Dataset:
    """The images of a run's updates `first_update` to `first_update + updates`, in the keyed order of D_t.

    Returns:
      Elements with `images` float32 [B, H, W, 3] (padded to the crop), `grid_images` uint8 [B, G, G, 3], `labels` uint8
      [B, G, G] (only to mask void) and `key` int32 [2], of the Gumbel noise.
    """
    batch_size, grid = settings.batch_size, examples.images.shape[1]

    def batch(update: int) -> tuple[np.ndarray, ...]:
        index = np.fromiter(image_order(len(split), seed, update * batch_size, batch_size), np.int64)
        images = np.full((batch_size, *crop, 3), PADDING_VALUE, np.float32)
        for row, i in enumerate(index):
            image = split[i].image
            images[row, : image.shape[0], : image.shape[1]] = image
        return images, examples.images[index], examples.labels[index], key(seed, "gumbel", update)

    specification = (
        tf.TensorSpec([batch_size, *crop, 3], tf.float32),
        tf.TensorSpec([batch_size, grid, grid, 3], tf.uint8),
        tf.TensorSpec([batch_size, grid, grid], tf.uint8),
        tf.TensorSpec([2], tf.int32),
    )
    return stream(batch, range(first_update, first_update + updates), specification).map(
        lambda images, grid_images, labels, key: {
            "images": images, "grid_images": grid_images, "labels": labels, "key": key
        }
    )  # fmt: skip


def map_maker(segmentor: keras.Model, crop: Size, grid: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A traced function from padded images to the label maps on the grid that the buffer stores.

    Returns:
      float32 [B, H, W, 3] -> uint8 [B, G, G]: the arg-max of the very logits that the adversarial step samples from.
    """

    @tf.function(input_signature=[tf.TensorSpec([None, *crop, 3], tf.float32)])
    def maps(images: tf.Tensor) -> tf.Tensor:
        logits = logits_on_grid(segmentor(images, training=False), crop, grid)
        return tf.cast(tf.argmax(logits, axis=-1), tf.uint8)

    return maps
