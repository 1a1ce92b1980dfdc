"""Training the discriminator on `D_t + B` "to reach sufficient accuracy" (paper, section 3; docs/reproduction.md)."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from scipy.stats import rankdata

from load_tf.devices import loops
from load_tf.devices.precision import LossScale
from load_tf.devices.replicas import Batch, Parts, synchronize_batch_norm, take_global_gradients
from load_tf.discriminator.conditional import ConditionalDiscriminator, per_map
from load_tf.discriminator.conditioning import BatchSlice, one_hot, with_noise
from load_tf.discriminator.settings import Discriminator
from load_tf.errors import UserError, check, check_choice, check_number, check_whole
from load_tf.training.optimizers import apply_scaled


@dataclasses.dataclass(frozen=True)
class DiscriminatorTraining:
    """How the discriminator is trained before each cycle; the defaults are the paper's.

    Where the paper is silent they are those of docs/reproduction.md.

    Attributes:
      batch_size: maps in a batch: 8 pairs of a real and a fake map.
      learning_rate: of the optimizer.
      optimizer: "adagrad", the paper's, or "adam".
      initial_accumulator: what Adagrad's sums of squared gradients start from, at least 0; Keras has 0.1. As long as a
        weight's sum is small beside it, a step is SGD's with a rate of `learning_rate / sqrt(initial_accumulator)`.
      union: the literal union of all maps, in place of pairs.
      sufficient_accuracy: pair accuracy on the hold-out at which training stops; the epoch that has it is kept. Of a
        discriminator that is asked about places it is `place_auc`, here and in `monitor`.
      monitor: how the best epoch is chosen on the hold-out where none is sufficient: by the lowest "loss", or by the
        highest "pair_accuracy" (of equal ones the lowest loss). The loss also counts logits that are off for both maps
        of an image, so with few training images it can rise while the ranking, which the segmentor learns from, still
        improves (docs/discriminator.md).
      patience: training stops after this many epochs without a better one.
      max_epochs: the most epochs before each cycle.
      first_max_epochs: the most epochs before the first cycle, when the network is untrained; None: as `max_epochs`.
      keep_weights: True: training goes on from the weights and accumulators of the cycle before. False: it starts anew.
      agreement_batches: batches of the updates to come whose gradients are compared before each cycle
        (`load_tf.training.direction`), 2 or more; 0: it is not measured. Each costs a step of the segmentor.
      noise: share of the points of every map, real or fake, whose class is drawn at random in the discriminator's
        training (instance noise, Sønderby et al. 2017), in [0, 1). What it is asked about stays as it is.
      unlabelled_fakes: whether generated maps of images without labels are among its fakes, where D_t has such images.
        None: where it sees label maps alone. One that sees the image can learn which images have labels, and from
        whose camera they are, in place of what a right map is (docs/own_data.md).
    """

    batch_size: int = 16
    learning_rate: float = 0.01
    optimizer: Literal["adagrad", "adam"] = "adagrad"
    initial_accumulator: float = 0.1
    union: bool = False
    sufficient_accuracy: float = 0.9
    monitor: Literal["loss", "pair_accuracy"] = "loss"
    patience: int = 3
    max_epochs: int = 20
    first_max_epochs: int | None = None
    keep_weights: bool = True
    agreement_batches: int = 4
    noise: float = 0.0
    unlabelled_fakes: bool | None = None

    def __post_init__(self) -> None:
        check_choice(self, "optimizer", "adagrad", "adam")
        check_choice(self, "monitor", "loss", "pair_accuracy")
        check_number(self, "learning_rate")
        check(
            self,
            "initial_accumulator",
            allowed=lambda value: isinstance(value, int | float) and 0 <= value < math.inf,
            expected="a finite number of at least 0",
        )
        check_number(self, "sufficient_accuracy", zero=True)
        check(self, "noise", allowed=lambda value: 0 <= value < 1, expected="a share in [0, 1)")
        check_whole(self, "batch_size", "patience", "max_epochs")
        if self.first_max_epochs is not None:
            check_whole(self, "first_max_epochs", expected="None or a whole number above 0")
        check(
            self,
            "agreement_batches",
            allowed=lambda value: isinstance(value, int) and (value == 0 or value >= 2),
            expected="0 or a whole number above 1",
        )

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        if self.optimizer == "adam":
            return keras.optimizers.Adam(self.learning_rate, name="discriminator")
        return keras.optimizers.Adagrad(
            self.learning_rate, initial_accumulator_value=self.initial_accumulator, name="discriminator"
        )

    def shows_unlabelled(self, discriminator: Discriminator) -> bool:
        """Whether maps of images without labels are among the fakes of a discriminator.

        Raises:
          UserError: if they are to be, and it is asked where a map is right, which nobody knows of them.
        """
        if discriminator.asks != "real":
            if self.unlabelled_fakes:
                raise UserError(
                    "DiscriminatorTraining.unlabelled_fakes is True, but Discriminator.asks is "
                    f"{discriminator.asks!r}, which takes ground truth; expected None or False."
                )
            return False
        return discriminator.sees == "masks" if self.unlabelled_fakes is None else self.unlabelled_fakes

    def badness(self, measured: dict[str, float]) -> tuple[bool, float, float]:
        """What the best epoch has the least of: first of all it must be accurate enough.

        Args:
          measured: on the hold-out, by `DiscriminatorTrainer`.
        """
        loss, right = measured["loss"], accuracy(measured)
        return right < self.sufficient_accuracy, loss if self.monitor == "loss" else -right, loss


@dataclasses.dataclass
class DiscriminatorProgress:
    """Where a training of the discriminator stands; plain values, part of a commit.

    Attributes:
      cycle: the one it comes before.
      epoch: epochs made.
      best_epoch: the best of them, counted from 1; 0: none yet.
      best_measures: what that one measured on the hold-out.
    """

    cycle: int
    epoch: int = 0
    best_epoch: int = 0
    best_measures: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "DiscriminatorProgress":
        """What a commit holds, also one of a version that kept `best_badness`."""
        return cls(**{name: value for name, value in values.items() if name != "best_badness"})

    def end_epoch(self, settings: DiscriminatorTraining, measured: dict[str, float]) -> bool:
        """Counts an epoch; returns whether it is the best so far. Of equal epochs the first stays."""
        self.epoch += 1
        if self.best_measures and not settings.badness(measured) < settings.badness(self.best_measures):
            return False
        self.best_epoch, self.best_measures = self.epoch, measured
        return True

    def kept_for(self, settings: DiscriminatorTraining) -> str:
        """What the best epoch is the best by: "sufficient_accuracy", "loss", "pair_accuracy" or "place_auc"."""
        if accuracy(self.best_measures) >= settings.sufficient_accuracy:
            return "sufficient_accuracy"
        places = settings.monitor == "pair_accuracy" and "place_auc" in self.best_measures
        return "place_auc" if places else settings.monitor

    def is_over(self, settings: DiscriminatorTraining, measured: dict[str, float]) -> str | None:
        """Why training stops after this epoch, which measured that on the hold-out, or None."""
        limit = settings.max_epochs
        if self.cycle == 0 and settings.first_max_epochs is not None:
            limit = settings.first_max_epochs
        if accuracy(measured) >= settings.sufficient_accuracy:
            return "sufficient_accuracy"
        if self.epoch - self.best_epoch >= settings.patience:
            return "not_improving"
        return "max_epochs" if self.epoch >= limit else None


class DiscriminatorTrainer(loops.StandardTrainer, loops.StandardEvaluator):
    """Binary cross-entropy on logits, ground truth 1, generated 0; both terms of equation (2).

    `train` runs the steps of an epoch and returns the mean `loss`; `evaluate` measures the hold-out in inference mode,
    as the adversarial step uses the network, and returns `loss`, `real_accuracy`, `fake_accuracy`, `pair_accuracy` (how
    often the real map of an image has the higher logit) and `margin` (mean difference of the two logits). Of a
    discriminator that is asked about places the loss is that of the places, and `place_auc` is how often it gives a
    right place of a generated map the higher logit than a wrong one.
    """

    def __init__(
        self,
        discriminator: ConditionalDiscriminator,
        settings: DiscriminatorTraining,
        num_classes: int,
        strategy: tf.distribute.Strategy,
        make_optimizer: Callable[[], keras.optimizers.Optimizer] | None = None,
    ) -> None:
        """Nothing is computed yet.

        Args:
          discriminator: the network.
          settings: how it is trained.
          num_classes: K.
          strategy: its replicas share a batch.
          make_optimizer: makes one in place of the settings'.
        """
        loops.StandardTrainer.__init__(self, None, loops.StandardTrainerOptions(use_tf_while_loop=True))
        loops.StandardEvaluator.__init__(self, None)
        self.discriminator, self.settings = discriminator, settings
        self.num_classes, self.strategy = num_classes, strategy
        self.parts = Parts(strategy)
        synchronize_batch_norm(discriminator.networks, strategy)
        with strategy.scope():
            self.loss_scale = LossScale.where_needed(discriminator.networks, "discriminator")
            self.optimizer = (make_optimizer or settings.make_optimizer)()
            self.optimizer.build(discriminator.trainable_variables)
            take_global_gradients(self.optimizer)
            self._loss = tf.Variable(0.0, trainable=False, name="discriminator_loss")
            self._maps = tf.Variable(0.0, trainable=False, name="discriminator_maps")

    @property
    def variables(self) -> list[keras.Variable]:
        """Weights, moving averages and optimizer slots: all that a restart needs."""
        scale = self.loss_scale.variables if self.loss_scale else ()
        return [*self.discriminator.variables, *self.optimizer.variables, *scale]

    def train_loop_begin(self) -> None:
        self._loss.assign(0.0)
        self._maps.assign(0.0)

    def train_step(self, iterator: tf.data.Iterator) -> None:
        self.step(next(iterator))

    def step(self, batch: Batch, judged: Callable[[Batch], Batch] | None = None) -> None:
        """One step, in a graph.

        Args:
          batch: the global batch.
          judged: called on every replica with its part of the batch, makes of it what the discriminator is trained on:
            `images` uint8 [n, G, G, 3], `maps` uint8 [n, G, G] or float32 [n, G, G, K], `real` and `weights` float32
            [n], `key` int32 [2] of the dropout, and as `Parts.divide` gives them `rows`, `first` and `own`, of maps;
            None: the batch is that already.
        """
        (part,) = self.parts.divide(batch)

        # No control flow of tensors: AutoGraph would rewrite each function, which is seconds of every start.
        @tf.autograph.experimental.do_not_convert
        def gradients_of(part: Batch) -> tuple[list[tf.Tensor], tf.Tensor]:
            return self._gradients(judged(part) if judged else part)

        gradients, sums = self.strategy.run(gradients_of, args=(part,))
        loss, count = tf.unstack(self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None), 2)
        apply_scaled(
            self.strategy, self.optimizer, gradients, self.discriminator.trainable_variables, loss, self.loss_scale
        )
        self._loss.assign_add(loss)
        self._maps.assign_add(count)

    @tf.autograph.experimental.do_not_convert
    def _inputs(self, batch: Batch, place: BatchSlice | None = None, noise: float = 0.0) -> tf.Tensor:
        """What the discriminator looks at; `noise` is the share of the points that are drawn at random."""
        maps = batch["maps"]
        if not maps.dtype.is_floating:
            maps = one_hot(maps, self.num_classes)
        if noise:
            maps = with_noise(maps, noise, batch["key"], place)
        return self.discriminator.inputs(batch["images"], maps)

    def _gradients(self, batch: Batch) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The global batch's gradients; float32 [2], the sum of the losses of this replica's maps, and their number."""
        place = BatchSlice(batch["first"], batch["rows"]) if self.parts.count > 1 else None
        variables = [v.value for v in self.discriminator.trainable_variables]
        with tf.GradientTape() as tape, self.parts.statistics_of(batch):
            inputs = self._inputs(batch, place, self.settings.noise)
            logits = self.discriminator(inputs, training=True, dropout_key=batch["key"], place=place)
            logits = tf.cast(logits, tf.float32)
            if "right" in batch:
                losses = tf.nn.sigmoid_cross_entropy_with_logits(batch["right"], logits) * batch["place_weights"]
            else:
                real = tf.reshape(batch["real"], [-1] + [1] * (len(logits.shape) - 1))
                losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.broadcast_to(real, tf.shape(logits)), logits)
            total = self.parts.counted(tf.reduce_sum(per_map(losses) * batch["weights"]), batch)
            loss = total / tf.cast(batch["rows"], tf.float32)
            scaled = self.loss_scale.scale(loss) if self.loss_scale else loss
        gradients = self.parts.add_up(self.parts.gradients(tape, scaled, variables))
        if self.loss_scale:
            gradients = self.loss_scale.unscale(gradients)
        return gradients, tf.stack([total, tf.cast(batch["own"], tf.float32)])

    def train_loop_end(self) -> dict[str, float]:
        return {"loss": float(self._loss.numpy()) / float(self._maps.numpy())}

    def eval_begin(self) -> None:
        self._outputs: list[dict[str, np.ndarray]] = []

    def eval_step(self, iterator: tf.data.Iterator) -> dict[str, tf.Tensor]:
        batch = next(iterator)
        logits = self.discriminator(self._inputs(batch), training=False)
        places = {"right": batch["right"], "place_weights": batch["place_weights"]} if "right" in batch else {}
        return {"real": batch["real"], "logits": per_map(logits), **places, **({"places": logits} if places else {})}

    def eval_reduce(self, state: object = None, step_outputs: dict[str, tf.Tensor] | None = None) -> object:
        assert step_outputs is not None
        self._outputs.append({name: value.numpy() for name, value in step_outputs.items()})
        return state

    def eval_end(self, outputs: object = None) -> dict[str, float]:
        found = {name: np.concatenate([each[name] for each in self._outputs]) for name in self._outputs[0]}
        real, logits = found["real"], found["logits"].astype(np.float64)
        measured = pair_measures(logits[real == 1], logits[real == 0])
        if "right" in found:
            counted = (found["place_weights"] > 0) & (real == 0)[:, None, None]
            measured["place_auc"] = area_under_curve(found["places"][counted], found["right"][counted] == 1)
            measured["loss"] = float(np.mean(place_losses(found["right"], found["places"]) * found["place_weights"]))
        return measured


def place_losses(right: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of logits [...] with `right` [...], the share of "yes"."""
    exact = logits.astype(np.float64)
    return right * np.logaddexp(0, -exact) + (1 - right) * np.logaddexp(0, exact)


def accuracy(measured: dict[str, float]) -> float:
    """How much of what the discriminator has to rank it ranks right: places where it is asked about them, or pairs."""
    return measured.get("place_auc", measured["pair_accuracy"])


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """How often a positive one has the higher score than a negative one; a tie counts half.

    Args:
      scores: [n].
      positive: bool [n].

    Returns:
      In [0, 1]; 0.5 if there are none of either kind.
    """
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return 0.5
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def pair_measures(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """How well the discriminator tells maps apart.

    Args:
      real: [n] logits of ground truth; `fake`: [n] logits of generated maps of the same images.

    Returns:
      `loss` (mean binary cross-entropy), `real_accuracy`, `fake_accuracy`, `pair_accuracy` (a tie counts half),
      `margin` (mean of real - fake).
    """
    loss = (np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean()) / 2
    return {
        "loss": float(loss),
        "real_accuracy": float(np.mean(real > 0)),
        "fake_accuracy": float(np.mean(fake < 0)),
        "pair_accuracy": float(np.mean(real > fake) + np.mean(real == fake) / 2),
        "margin": float(np.mean(real - fake)),
    }
