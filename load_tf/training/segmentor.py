"""One update of the segmentor in stage 2, whatever it is that it minimises.

The segmentor is in inference mode (batch-norm statistics do not move; gamma and beta do). Each objective is a subclass:
the adversarial term alone, cross-entropy alone, or both.
"""

import dataclasses
import re
from collections.abc import Callable

import keras
import tensorflow as tf

from load_tf.data.dataset import Split
from load_tf.devices import loops
from load_tf.devices.precision import LossScale
from load_tf.devices.replicas import Batch, Parts, take_global_gradients
from load_tf.discriminator.grid import Size
from load_tf.errors import UserError, check, check_number, check_whole
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.folding import differentiable
from load_tf.training.checkpointing import CheckpointedNetwork
from load_tf.training.optimizers import polynomial_decay
from load_tf.training.path_length import step_norm
from load_tf.training.stage_one import StageOne, pixels_seen


@dataclasses.dataclass(frozen=True)
class AdversarialTraining:
    """The segmentor's updates in stage 2; the defaults are the paper's (section 4).

    Attributes:
      batch_size: images in an update; 5 is what fitted into the paper's 16 GB.
      learning_rate: of SGD.
      momentum: of SGD: `v <- momentum * v - learning_rate * gradient; w <- w + v`.
      updates_per_iteration: updates between two evaluations of the hold-out.
      clip_norm: the largest norm of all gradients together; None, as in the paper, for no bound. The gradient can grow
        by orders of magnitude with the discriminator's confidence.
      saturating: minimise `log(1 - D)`, the third term of equation (2); False: `-log D`.
      trainable: a regular expression; only variables whose path it matches somewhere are trained.
      reset_momentum: True: the momentum starts from zero in each cycle. False: it goes on from the cycle before.
      calibrate: after the updates of an iteration, before its look at the hold-out, so many steps of a fit of class
        constants (`load_tf.training.calibration`) hold the class proportions that the run's start model predicts for
        D_t; 0, as in the paper: none. Updates then can neither gain nor lose by predicting a class more often.
      unlabelled: whether adversarial updates go through D_t's images without labels, too; False is for finding out what
        these are worth.
      accumulate: in how many parts the images of an update go through the networks, one after the other, on every
        device. The update is the same. One GPU with 4 parts can run the configuration of four GPUs.
      average: in [0, 1). Above 0, a moving average of the weights over the iterations of a cycle is evaluated, and may
        become the peak: `a <- average * a + (1 - average) * w`, from the start model on. 0: the weights themselves.
      checkpointing: keep only a few of the segmentor's activations and compute the others again for the gradient. It
        takes a fraction of the memory and a third more time, with the same result (`load_tf.training.checkpointing`).
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
    accumulate: int = 1
    calibrate: int = 0
    unlabelled: bool = True

    def __post_init__(self) -> None:
        check_whole(self, "batch_size", "updates_per_iteration", "accumulate")
        check_whole(self, "calibrate", least=0, expected="a whole number of steps, at least 0")
        check_number(self, "learning_rate")
        above_0 = "None or a number above 0"
        check(self, "clip_norm", allowed=lambda value: value is None or value > 0, expected=above_0)
        check(self, "momentum", "average", allowed=lambda value: 0 <= value < 1, expected="a number in [0, 1)")
        check(self, "trainable", allowed=_is_regular_expression, expected="a regular expression")


def _is_regular_expression(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def trained_variables(segmentor: keras.Model, settings: AdversarialTraining) -> list[keras.Variable]:
    """The variables of a segmentor that updates change.

    Raises:
      UserError: if all layers are frozen, or `settings.trainable` finds no variable.
    """
    if not segmentor.trainable_variables:
        raise UserError(
            f"the model {segmentor.name!r} has no trainable variables: its layers are frozen; expected some to train: "
            "set trainable = True on it, or on those of its layers that are to learn."
        )
    found = [v for v in segmentor.trainable_variables if re.search(settings.trainable, v.path)]
    if not found:
        raise UserError(
            f"AdversarialTraining.trainable {settings.trainable!r} finds none of the segmentor's variables, "
            f"such as {segmentor.trainable_variables[0].path!r}."
        )
    return found


class SegmentorTrainer(loops.StandardTrainer):
    """Trains the segmentor by SGD, a number of updates at a time.

    `train` returns means over the updates: `loss`, `gradient_norm`, what `measures` names; `path_length`, the sum of
    the norms of their steps in weight space; and `finite` (False if an update was not applied since its loss or
    gradient was not finite; those after it were not applied either).
    """

    measures: tuple[str, ...] = ()
    """What `objective` measures beside the loss."""

    needs_truth: bool = False
    """Whether `objective` takes the pixels' `truth`."""

    trains_discriminator: bool = False
    """Whether an update trains the discriminator, too."""

    beside: Split | None = None
    """Images without labels, or with made-up ones, of which every batch has as many behind its own; None: none."""

    def __init__(
        self,
        segmentor: keras.Model,
        settings: AdversarialTraining,
        crop: Size,
        num_classes: int,
        strategy: tf.distribute.Strategy,
        convention: Convention = OFFICIAL,
        decay_over: int | None = None,
        augmentation: StageOne | None = None,
    ) -> None:
        """Makes the optimizer; nothing is trained yet.

        Args:
          segmentor: [B, H, W, 3] -> logits [B, h, w, K].
          settings: of the updates.
          crop: the padded height and width.
          num_classes: K.
          strategy: where the variables live; its replicas share a batch.
          convention: the segmentor's.
          decay_over: updates over which the learning rate falls to 0, as in stage 1; None: it stays.
          augmentation: whose flip, shift and scale the images and their `truth` get; None: they stay as they are.

        Raises:
          UserError: as `trained_variables`, or if the segmentor can't be checkpointed as they ask for.
        """
        super().__init__(None, loops.StandardTrainerOptions(use_tf_while_loop=True, use_tf_function=True))
        self.segmentor, self.settings = segmentor, settings
        self.crop, self.num_classes, self.strategy, self.convention = crop, num_classes, strategy, convention
        self.decay_over, self.augmentation = decay_over, augmentation
        self.forward = differentiable(segmentor)
        self.checkpointed = CheckpointedNetwork(self.forward, crop) if settings.checkpointing else None
        self.trained = trained_variables(segmentor, settings)
        self.parts = Parts(strategy, settings.accumulate)
        self._traced_gradients: Callable[[Batch], tuple[list[tf.Tensor], tf.Tensor]] | None = None
        with strategy.scope():
            self.loss_scale = LossScale.where_needed(self.networks, "adversarial")
            self.optimizer = self.make_optimizer()
            self.optimizer.build(self.trained)
            take_global_gradients(self.optimizer)
            self._sums = {
                name: tf.Variable(0.0, trainable=False, name=name) for name in ("loss", "gradient_norm", *self.measures)
            }
            self._path_length = tf.Variable(0.0, trainable=False, name="path_length")
            self._finite = tf.Variable(True, trainable=False, name="finite")
            self._updates = tf.Variable(0.0, trainable=False, name="updates")

    def make_optimizer(self) -> keras.optimizers.SGD:
        """The segmentor's, under the present strategy."""
        return keras.optimizers.SGD(
            polynomial_decay(self.settings.learning_rate, self.decay_over),
            momentum=self.settings.momentum,
            global_clipnorm=self.settings.clip_norm,
            name="adversarial",
        )

    @property
    def networks(self) -> list[keras.Layer]:
        """What gradients go through."""
        return [self.segmentor]

    def totals(self, batch: Batch) -> Batch:
        """What `objective` has to know of the global batch: float32 scalars, named in `replicas.BATCH_WIDE`."""
        return {"pixels": pixels_seen(batch["truth"])} if self.needs_truth else {}

    def objective(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """What the segmentor minimises.

        Args:
          logits: [b, h, w, K] float32 of a part's images.
          batch: that part of the batch, with what `totals` says of the whole.

        Returns:
          The part's share of the loss, and of what `measures` names: their sums over the parts are those of the batch.
        """
        raise NotImplementedError

    @property
    def momentum_variables(self) -> list[keras.Variable]:
        """The slots a resumed cycle needs."""
        return [*self.optimizer.variables, *(self.loss_scale.variables if self.loss_scale else ())]

    def reset_momentum(self) -> None:
        """A cycle's momentum starts from zero; the count of updates, which a decaying rate follows, goes on."""
        for variable in self.optimizer.momentums:
            variable.assign(tf.zeros_like(variable))

    def after_update(self) -> None:
        """What an update does to the weights beside the optimizer's step; traced, outside `strategy.run`."""
        return  # Of a body of words alone AutoGraph can make nothing, and says so in every run.

    def share_of_batch(self, batch: Batch) -> tf.Tensor:
        """The share of the global batch that a part's images are, float32."""
        return tf.cast(batch["own"], tf.float32) / tf.cast(batch["rows"], tf.float32)

    def train_loop_begin(self) -> None:
        for variable in (*self._sums.values(), self._path_length, self._updates):
            variable.assign(0.0)
        self._finite.assign(True)

    def train_step(self, iterator: tf.data.Iterator) -> None:
        self.step(next(iterator))

    def step(self, batch: Batch) -> None:
        """One update, in a graph, from a global batch."""
        parts = self.parts.divide({**batch, **self.totals(batch)})
        gradients, measured = self.strategy.run(self._all_gradients, args=(parts,))
        sums = self.strategy.reduce(tf.distribute.ReduceOp.SUM, measured, axis=None)
        norm = self.strategy.experimental_local_results(gradients["norm"])[0]
        finite = tf.math.is_finite(sums[0]) & tf.math.is_finite(norm)
        fatal = ~finite & self.loss_scale.is_lowest() if self.loss_scale else ~finite
        self._finite.assign(self._finite.read_value() & ~fatal)
        if self._finite.read_value() & finite:
            rate = tf.convert_to_tensor(self.optimizer.learning_rate)
            self.strategy.run(self.optimizer.apply, args=(gradients["sum"], self.trained))
            own = [self.strategy.experimental_local_results(gradient)[0] for gradient in gradients["sum"]]
            self._path_length.assign_add(step_norm(self.optimizer, own, rate, self.trained))
            self.after_update()
        if self.loss_scale:
            self.loss_scale.adapt(finite)
        # With a loss scale an update that overflowed was not made, and is not in the means.
        counts = finite | fatal
        self._updates.assign_add(tf.cast(counts, tf.float32))
        for name, value in zip(("loss", *self.measures), tf.unstack(sums, len(self.measures) + 1), strict=True):
            self._sums[name].assign_add(tf.where(counts, value, 0.0))
        self._sums["gradient_norm"].assign_add(tf.where(counts, norm, 0.0))

    def gradients(self, batch: Batch) -> tuple[list[tf.Tensor], float]:
        """What an update from a global batch would follow, without making it.

        Returns:
          The gradients of `trained`, zeros where the objective does not depend on a variable, and their norm.
        """
        if self._traced_gradients is None:
            self._traced_gradients = tf.function(self._global_gradients, autograph=False)
        found, norm = self._traced_gradients(batch)
        return found, float(norm)

    def _global_gradients(self, batch: Batch) -> tuple[list[tf.Tensor], tf.Tensor]:
        parts = self.parts.divide({**batch, **self.totals(batch)})
        gradients, _ = self.strategy.run(self._all_gradients, args=(parts,))
        own = [self.strategy.experimental_local_results(gradient)[0] for gradient in gradients["sum"]]
        norm = self.strategy.experimental_local_results(gradients["norm"])[0]
        zeros = [tf.zeros(v.shape) if g is None else g for g, v in zip(own, self.trained, strict=True)]
        return zeros, norm

    # No control flow of tensors: AutoGraph would rewrite each function, which is seconds of every start.
    @tf.autograph.experimental.do_not_convert
    def _all_gradients(self, parts: tuple[Batch, ...]) -> tuple[dict[str, list[tf.Tensor]], tf.Tensor]:
        """One replica's parts, one after the other: the gradients of the global batch, and loss and measures of ours.

        Returns:
          `sum`, the gradients, and `norm`, theirs together; float32 [1 + M], loss and measures in order.
        """
        gradients, measured = self._gradients(parts[0])
        for part in parts[1:]:
            # Or all would be in memory at once.
            with tf.control_dependencies([*gradients, measured]):
                part = {name: tf.identity(value) for name, value in part.items()}
            more, measured_more = self._gradients(part)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            measured += measured_more
        gradients = self.parts.add_up(gradients)
        if self.loss_scale:
            gradients = self.loss_scale.unscale(gradients)
        return {"sum": gradients, "norm": tf.linalg.global_norm(gradients)}, measured

    def _gradients(self, batch: Batch) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients of one part's share of the loss, whose sum over parts is that of the global batch."""

        def objective(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            loss, measures = self.objective(tf.cast(logits, tf.float32), batch)
            loss = self.parts.counted(loss, batch)
            measured = tf.stack([loss, *(measures[name] for name in self.measures)])
            return self.loss_scale.scale(loss) if self.loss_scale else loss, measured

        variables = [v.value for v in self.trained]
        if self.checkpointed:
            _, measured, found = self.checkpointed.gradients(batch["images"], objective, variables)
        else:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                loss, measured = objective(self.forward(batch["images"], training=False))
            found = tape.gradient(loss, variables)
        return self.parts.complete(found, variables), self.parts.counted(measured, batch)

    def train_loop_end(self) -> dict[str, float | bool]:
        updates = max(float(self._updates.numpy()), 1.0)
        means: dict[str, float | bool] = {name: float(v.numpy()) / updates for name, v in self._sums.items()}
        return {**means, "path_length": float(self._path_length.numpy()), "finite": bool(self._finite.numpy())}
