"""A global batch on several replicas, or in several parts: what each gets, and what they have to know of the whole.

Every worker makes the whole batch, and every replica is given its rows of it: contiguous, as equal as they can be. What
a loss is divided by is counted in the whole batch, so that the sum over the parts is the loss of the batch however it
was divided.

Where there are fewer rows than replicas, a replica without one is given another's, and what it computes does not count:
TensorFlow's convolutions of no images at all are wrong (2.20 on the CPU gives them the input's channels).
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from load_tf.devices import workers

T = TypeVar("T")
Batch = dict[str, tf.Tensor]

BATCH_WIDE = frozenset({"key", "rows", "pixels", "pixels_beside", "visible", "visible_beside"})
"""Entries of a batch that are of the whole of it, not one for each row."""


class Parts:
    """Divides batches among the replicas of a strategy and, on each, into parts that come one after the other."""

    def __init__(self, strategy: tf.distribute.Strategy, accumulate: int = 1) -> None:
        """Nothing is computed yet.

        Args:
          strategy: its replicas share a batch.
          accumulate: parts on each replica, whose gradients are added up.
        """
        self.strategy, self.accumulate = strategy, accumulate
        self.count = strategy.num_replicas_in_sync * accumulate

    # No control flow of tensors: AutoGraph would rewrite each function, which is seconds of every start.
    @tf.autograph.experimental.do_not_convert
    def divide(self, batch: Batch) -> tuple[Batch, ...]:
        """The parts of a batch, in a graph, outside `strategy.run`.

        Args:
          batch: tensors with a row for every image (or map) of the global batch, but for those in `BATCH_WIDE`; every
            worker has the same.

        Returns:
          For each of `accumulate` steps what `strategy.run` hands to the replicas: the replica's rows, and beside what
          was there, int32, `rows`, how many the whole batch has, `first`, where these begin in it, and `own`, how many
          of these count: all, or none of the one row of another's.
        """
        rows = tf.shape(batch["images"])[0]
        batch = {**batch, "rows": rows}
        if self.count == 1:
            return ({**batch, "first": tf.constant(0), "own": rows},)
        replicas = self.strategy.num_replicas_in_sync

        def part(step: int, context: tf.distribute.experimental.ValueContext) -> Batch:
            number = step * replicas + context.replica_id_in_sync_group
            first, end = number * rows // self.count, (number + 1) * rows // self.count
            own = end - first
            first = tf.minimum(first, rows - 1)
            end = tf.maximum(end, first + 1)
            part = {name: v if name in BATCH_WIDE else v[first:end] for name, v in batch.items()}
            return {**part, "first": first, "own": own}

        # Cut on the host, so that each device is sent no more than its own rows.
        with tf.device("CPU:0"):
            return tuple(
                self.strategy.experimental_distribute_values_from_function(functools.partial(part, step))
                for step in range(self.accumulate)
            )

    def gradients(self, tape: tf.GradientTape, loss: tf.Tensor, variables: list[tf.Variable]) -> list[tf.Tensor | None]:
        """A part's gradients; None, with one part, for what the loss does not depend on."""
        return self.complete(tape.gradient(loss, variables), variables)

    def complete(self, found: list[tf.Tensor | None], variables: list[tf.Variable]) -> list[tf.Tensor | None]:
        """A part's gradients with zeros in place of None, where there are several parts to add up."""
        if self.count == 1:
            return found
        return [tf.zeros(v.shape, v.dtype) if g is None else g for g, v in zip(found, variables, strict=True)]

    def counted(self, value: tf.Tensor, batch: Batch) -> tf.Tensor:
        """A part's number, 0 where its rows are another's."""
        return value if self.count == 1 else tf.where(batch["own"] > 0, value, tf.zeros_like(value))

    @contextlib.contextmanager
    def statistics_of(self, batch: Batch) -> Iterator[None]:
        """Within, batch norm in training counts the rows that count; it is called deep inside the network."""
        _counting.flag = tf.cast(batch["own"] > 0, tf.float32)
        try:
            yield
        finally:
            del _counting.flag

    def add_up(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Sums over all replicas, in `strategy.run`; every replica gets them."""
        if self.strategy.num_replicas_in_sync == 1:
            return gradients
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)


_counting = threading.local()
"""Of each replica, which `MirroredStrategy` traces in a thread of its own: whether its rows count."""


def take_global_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer take gradients that are sums over all replicas already.

    Keras clips each replica's own gradient and sums afterwards; the norm that counts is that of the sum.
    """
    optimizer._all_reduce_sum_gradients = list


def synchronize_batch_norm(networks: Iterable[keras.Layer], strategy: tf.distribute.Strategy) -> None:
    """In training, batch norm then uses the statistics of the global batch, whatever each replica's share of it is.

    Keras' own `synchronized=True` adds up sums of squares, whose difference to the mean's square loses digits.

    Args:
      networks: their batch norm layers are changed, the nested ones, too.
      strategy: of one replica: nothing is changed.
    """
    if strategy.num_replicas_in_sync == 1:
        return
    for network in networks:
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer._moments = functools.partial(_global_moments, layer)


def _global_moments(
    layer: keras.layers.BatchNormalization, inputs: tf.Tensor, mask: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance over the global batch, [C] each; two passes, as `tf.nn.moments`."""
    if mask is not None:
        raise ValueError(f"layer {layer.name!r} has a mask; batch norm over several replicas knows none.")
    replica = tf.distribute.get_replica_context()
    axes = [axis for axis in range(len(inputs.shape)) if axis != layer.axis % len(inputs.shape)]
    count = tf.cast(tf.reduce_prod(tf.gather(tf.shape(inputs), axes)), inputs.dtype)
    flag = tf.cast(_counting.flag, inputs.dtype)
    sums = [flag * tf.reduce_sum(inputs, axes), flag * count]
    total, count = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    mean = total / count
    shape = [1] * len(inputs.shape)
    shape[layer.axis] = inputs.shape[layer.axis]
    # Its own gradient through the mean is zero, so the mean may stand still.
    squares = tf.math.squared_difference(inputs, tf.reshape(tf.stop_gradient(mean), shape))
    return mean, replica.all_reduce(tf.distribute.ReduceOp.SUM, flag * tf.reduce_sum(squares, axes)) / count


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Items in order, `size` at a time, such as one batch for each replica; the last chunk may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def on_each_replica(
    step: Callable[[tf.Tensor], tf.Tensor], strategy: tf.distribute.Strategy
) -> Callable[[list[tf.Tensor]], list[np.ndarray]]:
    """A function that gives each of this worker's replicas a batch of its own; the workers need not call it together.

    Args:
      step: a traced function of a batch, which communicates with no other replica.
      strategy: the run's.

    Returns:
      From one batch for each replica, or fewer, to what `step` makes of each.
    """
    if strategy.num_replicas_in_sync == 1:
        return lambda batches: [step(batch).numpy() for batch in batches]

    @tf.function(reduce_retracing=True)
    def run(values: tf.distribute.DistributedValues) -> tf.distribute.DistributedValues:
        return strategy.run(lambda batch: step(batch), args=(values,))  # a traced function takes no values of several

    def all_at_once(batches: list[tf.Tensor]) -> list[np.ndarray]:
        values = per_replica(batches, strategy)
        return [made.numpy() for made in strategy.experimental_local_results(run(values))][: len(batches)]

    return all_at_once


def per_replica(values: Sequence[T], strategy: tf.distribute.Strategy) -> T:
    """For each of this worker's replicas its value, for `strategy.run`; the last one again where there are too few."""
    local = workers.of(strategy).local_replicas

    def of_replica(context: tf.distribute.experimental.ValueContext) -> T:
        return values[min(context.replica_id_in_sync_group % local, len(values) - 1)]

    return strategy.experimental_distribute_values_from_function(of_replica)
