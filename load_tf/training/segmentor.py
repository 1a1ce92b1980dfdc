"""One update of the segmentor in stage 2, whatever it is that it minimises.

No augmentation; the segmentor is in inference mode (batch-norm statistics do not move; gamma and beta do). Each
objective is a subclass: the adversarial term alone, cross-entropy alone, or both.
"""

import dataclasses
import re

import keras
import orbit
import tensorflow as tf

from load_tf.data.grid import Size
from load_tf.errors import UserError
from load_tf.training.checkpointing import CheckpointedNetwork


@dataclasses.dataclass(frozen=True)
class AdversarialTraining:
    """The segmentor's updates in stage 2; the defaults are the paper's (section 4).

    Attributes:
      batch_size: images in an update (5: what fitted the paper's 16 GB).
      learning_rate: of SGD.
      momentum: of SGD: `v <- momentum * v - learning_rate * gradient; w <- w + v`.
      updates_per_iteration: updates between two evaluations of the hold-out.
      clip_norm: of all gradients together; a discriminator's gradient grows with its confidence by orders of magnitude.
        None, as in the paper, for no bound.
      saturating: minimise `log(1 - D)`, the third term of equation (2); False: `-log D`.
      trainable: regular expression; only variables whose path it finds are trained.
      reset_momentum: the momentum of a cycle starts from zero; False: it goes on from the cycle before.
      average: what is evaluated, and becomes the peak, is `a <- average * a + (1 - average) * w` over a cycle's
        iterations, which starts at the start model; in [0, 1), 0 is the weights themselves.
      checkpointing: hold a few of the segmentor's activations only and compute the others again for the gradient: a
        fraction of the memory for a third more time, the same result (`load_tf.training.checkpointing`).
    """

    batch_size: int = 5
    learning_rate: float = 2.5e-7
    momentum: float = 0.95
    updates_per_iteration: int = 1
    clip_norm: float | None = None
    saturating: bool = True
    trainable: str = ".*"
    reset_momentum: bool = True
    average: float = 0.0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "updates_per_iteration"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise UserError(
                    f"AdversarialTraining.{name} is {getattr(self, name)!r}; expected a whole number above 0."
                )
        if not isinstance(self.learning_rate, int | float) or not self.learning_rate > 0:
            raise UserError(f"AdversarialTraining.learning_rate is {self.learning_rate!r}; expected a number above 0.")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UserError(f"AdversarialTraining.clip_norm is {self.clip_norm!r}; expected None or a number above 0.")
        for name in ("momentum", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"AdversarialTraining.{name} is {getattr(self, name)!r}; expected a number in [0, 1).")


class SegmentorTrainer(orbit.StandardTrainer):
    """Trains the segmentor by SGD, a number of updates at a time.

    `train` returns means over the updates: `loss`, `gradient_norm`, what `measures` names, and `finite` (False if an
    update was not applied since its loss or gradient was not finite; those after it were not applied either).
    """

    measures: tuple[str, ...] = ()
    """What `objective` measures beside the loss."""

    needs_truth: bool = False
    """Whether `objective` takes the pixels' `truth`."""

    def __init__(
        self,
        segmentor: keras.Model,
        settings: AdversarialTraining,
        crop: Size,
        num_classes: int,
        strategy: tf.distribute.Strategy,
    ) -> None:
        super().__init__(None, orbit.StandardTrainerOptions(use_tf_while_loop=True, use_tf_function=True))
        self.segmentor, self.settings = segmentor, settings
        self.crop, self.num_classes, self.strategy = crop, num_classes, strategy
        self.network = CheckpointedNetwork(segmentor, crop) if settings.checkpointing else None
        self.trained = [v for v in segmentor.trainable_variables if re.search(settings.trainable, v.path)]
        if not self.trained:
            raise UserError(
                f"AdversarialTraining.trainable {settings.trainable!r} finds none of the segmentor's variables, "
                f"such as {segmentor.trainable_variables[0].path!r}."
            )
        with strategy.scope():
            self.optimizer = keras.optimizers.SGD(
                settings.learning_rate,
                momentum=settings.momentum,
                global_clipnorm=settings.clip_norm,
                name="adversarial",
            )
            self.optimizer.build(self.trained)
            self._sums = {
                name: tf.Variable(0.0, trainable=False, name=name) for name in ("loss", "gradient_norm", *self.measures)
            }
            self._finite = tf.Variable(True, trainable=False, name="finite")
            self._updates = tf.Variable(0.0, trainable=False, name="updates")

    def objective(self, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """What the segmentor minimises.

        Args:
          logits: [b, h, w, K] float32 of one replica's images.
          batch: its part of the batch.

        Returns:
          This replica's share of the loss, whose sum over replicas is the loss of the global batch, and what
          `measures` names, of this replica's images.
        """
        raise NotImplementedError

    @property
    def momentum_variables(self) -> list[keras.Variable]:
        """The slots a resumed cycle needs."""
        return list(self.optimizer.variables)

    def reset_momentum(self) -> None:
        """A cycle's momentum starts from zero."""
        for variable in self.optimizer.variables:
            if variable is not self.optimizer._learning_rate:
                variable.assign(tf.zeros_like(variable))

    def share_of_batch(self, images: tf.Tensor) -> tf.Tensor:
        """The share of the global batch that a replica's `images` are."""
        count = tf.cast(images, tf.float32)
        return count / tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)

    def train_loop_begin(self) -> None:
        for variable in (*self._sums.values(), self._updates):
            variable.assign(0.0)
        self._finite.assign(True)

    def train_step(self, iterator: tf.data.Iterator) -> None:
        gradients, measured, finite = self.strategy.run(self._gradients, args=(next(iterator),))
        bad = self.strategy.reduce(tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.int32), axis=None)
        self._finite.assign(self._finite.read_value() & (bad == 0))
        if self._finite.read_value():
            self.strategy.run(self.optimizer.apply, args=(gradients, self.trained))
        self._updates.assign_add(1.0)
        for name, value in measured.items():
            self._sums[name].assign_add(self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None))

    def _gradients(self, batch: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], tf.Tensor]:
        """Gradients of one replica's share of the loss, whose sum over replicas is that of the global batch."""
        share = self.share_of_batch(tf.shape(batch["images"])[0])
        loss, measures, gradients = self._loss_and_gradients(batch)
        norm = tf.linalg.global_norm(gradients)
        measured = {"loss": loss, "gradient_norm": norm * share}
        measured |= {name: share * value for name, value in measures.items()}
        return gradients, measured, tf.math.is_finite(loss) & tf.math.is_finite(norm)

    def _loss_and_gradients(
        self, batch: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
        variables = [v.value for v in self.trained]
        if self.network:
            return self.network.gradients(batch["images"], lambda logits: self.objective(logits, batch), variables)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss, measures = self.objective(self.segmentor(batch["images"], training=False), batch)
        return loss, measures, tape.gradient(loss, variables)

    def train_loop_end(self) -> dict[str, float | bool]:
        updates = float(self._updates.numpy())
        means: dict[str, float | bool] = {name: float(v.numpy()) / updates for name, v in self._sums.items()}
        return {**means, "finite": bool(self._finite.numpy())}
