"""Several workers that play one run: what they tell each other, and what they do when one of them is gone.

Every worker runs the whole program in step with the others. Numbers that decide are the chief's, or sums over all, so
that all decide alike; only the chief writes. Worker 0 is the chief.

A thread for each other worker asks at its port whether it is there. One whose port is closed is gone; one that says
nothing for `SILENT_SECONDS` hangs, or its machine or network does. One that is busy answers, however long it takes. The
others end with one sentence and `LOST_STATUS`; the last commit stands, and the same command on all machines goes on.
"""

import contextlib
import functools
import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from load_tf.devices import presence
from load_tf.devices.presence import LOST_STATUS

PROBE_SECONDS = 2.0
PROBES = 3
"""Probes in a row that have to find a port closed before its worker counts as gone."""
ANSWER_SECONDS = 10.0
"""How long one probe waits for an answer."""
SILENT_SECONDS = 60.0
"""How long a worker may say nothing: a machine can be paused, a network be gone, for some seconds."""
SETTLE_SECONDS = 30.0
"""How long a broken collective waits to learn which worker was lost."""

_CHUNKS = (2**10, 2**20)
"""Numbers in a message: one traced function each."""


class Workers:
    """The workers of a strategy; one alone under any other strategy than `MultiWorkerMirroredStrategy`.

    Attributes:
      count: how many there are.
      index: which of them this process is.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        """Learns who they are; nothing is sent.

        Args:
          strategy: the run's.
        """
        self._strategy = strategy
        self.addresses: list[str] = []
        self._doubted: set[int] = set()
        self.count, self.index = 1, 0
        resolver = getattr(strategy, "cluster_resolver", None)
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and resolver is not None:
            cluster = resolver.cluster_spec().as_dict()
            jobs = [(job, n) for job in ("chief", "worker") for n in range(len(cluster.get(job, ())))]
            self.addresses = [cluster[job][n] for job, n in jobs]
            self.count = max(1, len(jobs))
            self.index = jobs.index((resolver.task_type, resolver.task_id)) if jobs else 0

    @property
    def is_chief(self) -> bool:
        """Whether this one writes and decides."""
        return self.index == 0

    @property
    def local_replicas(self) -> int:
        """Replicas on this worker."""
        return self._strategy.num_replicas_in_sync // self.count

    def union(self, array: np.ndarray) -> np.ndarray:
        """Puts together what each worker has a part of; exact, whatever the type. All workers must call it.

        Args:
          array: of the same shape and type on all; each number is other than 0 on one worker at the most.

        Returns:
          The sum of all, of the same shape and type.
        """
        if self.count == 1:
            return array
        # As bits: a sum of integers of which all but one are 0 rounds nothing.
        data = np.ascontiguousarray(array).tobytes()
        numbers = np.frombuffer(data + bytes(-len(data) % 4), np.int32)
        chunk = _CHUNKS[0] if len(numbers) <= _CHUNKS[0] else _CHUNKS[1]
        found = []
        for start in range(0, len(numbers), chunk):
            part = numbers[start : start + chunk]
            padded = np.pad(part, (0, chunk - len(part)))
            found.append(self._sum(tf.constant(padded)).numpy()[: len(part)])
        summed = np.concatenate(found).tobytes() if found else b""
        return np.frombuffer(summed[: len(data)], array.dtype).reshape(array.shape).copy()

    @functools.cached_property
    def _sum(self) -> Callable[[tf.Tensor], tf.Tensor]:
        strategy = self._strategy

        @tf.function
        def add(numbers: tf.Tensor) -> tf.Tensor:
            def of_replica(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
                first = context.replica_id_in_sync_group % self.local_replicas == 0
                return numbers if first else tf.zeros_like(numbers)

            parts = strategy.experimental_distribute_values_from_function(of_replica)
            return strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

        return add

    def agree(self, value: Any) -> Any:
        """The chief's value, on all workers. All of them must call it.

        Args:
          value: plain, fit for JSON; the others' counts for nothing.
        """
        if self.count == 1:
            return value
        text = json.dumps(value).encode() if self.is_chief else b""
        length = int(self.union(np.array(len(text), np.int64)))
        data = self.union(np.frombuffer(text.ljust(length, b"\0"), np.uint8))
        return json.loads(data.tobytes())

    def any(self, flag: int) -> int:
        """The first number other than 0 that a worker brings, in their order, or 0. All workers must call it."""
        if self.count == 1:
            return flag
        flags = np.zeros(self.count, np.int64)
        flags[self.index] = flag
        return next((int(f) for f in self.union(flags) if f), 0)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within, a worker that is lost ends this process with one sentence and `LOST_STATUS`."""
        if self.count == 1:
            yield
            return
        ended = threading.Event()
        for number in range(self.count):
            if number != self.index:
                threading.Thread(target=self._watch, args=(number, ended), daemon=True).start()
        try:
            yield
            # None leaves before all are done, or it would be taken for lost.
            self.any(0)
        except tf.errors.OpError:
            # If a worker was lost, a thread that watches ends this process; if not, the error is another.
            until = time.monotonic() + SETTLE_SECONDS
            while time.monotonic() < until or self._doubted:
                time.sleep(PROBE_SECONDS / 10)
            raise
        finally:
            ended.set()

    def _watch(self, number: int, ended: threading.Event) -> None:
        """Ends this process if a worker is lost."""
        closed, silent = 0, 0.0
        while not ended.is_set():
            began = time.monotonic()
            failure = presence.ask(self.addresses[number], ANSWER_SECONDS, playing=True)
            if failure is None:
                closed, silent = 0, 0.0
                self._doubted.discard(number)
                ended.wait(PROBE_SECONDS)
                continue
            self._doubted.add(number)
            if isinstance(failure, ConnectionRefusedError):
                closed += 1
                if closed < PROBES:
                    ended.wait(PROBE_SECONDS / 2)
            else:
                # Not by the clock: had this process been paused itself, all others would seem silent for as long.
                silent += ANSWER_SECONDS
                ended.wait(began + ANSWER_SECONDS - time.monotonic())
            if ended.is_set():
                return
            if closed >= PROBES:
                self._leave(number, "is gone")
            if silent >= SILENT_SECONDS:
                self._leave(number, f"has not answered for {silent:.0f} s")

    def _leave(self, lost: int, how: str) -> None:
        """At once: the main thread may wait for ever, and what it does is worth nothing any more."""
        with _leaving:
            print(
                f"load_tf: worker {lost} ({self.addresses[lost]}) {how}; the last commit stands, the same command on "
                "all machines goes on from there.",
                file=sys.stderr,
                flush=True,
            )
            sys.stdout.flush()
            os._exit(LOST_STATUS)


_leaving = threading.Lock()
_known: "weakref.WeakKeyDictionary[tf.distribute.Strategy, Workers]" = weakref.WeakKeyDictionary()


def of(strategy: tf.distribute.Strategy) -> Workers:
    """The workers of a strategy, always the same object."""
    if strategy not in _known:
        _known[strategy] = Workers(strategy)
    return _known[strategy]
