"""Several workers that play one run: what they tell each other, and what they do when one of them is gone.

Every worker runs the whole program in step with the others. Numbers that decide are the chief's, or sums over all, so
that all decide alike; only the chief writes. Worker 0 is the chief.

A worker that dies is noticed in two ways: TensorFlow breaks off the collective operation that waits for it, and where
none is under way a thread of ours finds its port closed. Either way the survivors end with one sentence and
`LOST_STATUS`; the last commit stands, and the same command on all machines goes on from there.
"""

import contextlib
import functools
import json
import os
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

LOST_STATUS = 75
"""Exit status when another worker is gone: EX_TEMPFAIL of sysexits.h, "try again"."""

PROBE_SECONDS = 2.0
PROBES = 3
"""Probes in a row that have to fail before a worker counts as gone."""
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
        """The chief's value, on all workers, which all must call it.

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
        """Within, a worker that is gone ends this process with one sentence and `LOST_STATUS`."""
        if self.count == 1:
            yield
            return
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), daemon=True).start()
        try:
            yield
            # None leaves before all are done, or it would be taken for lost.
            self.any(0)
        except tf.errors.OpError:
            lost = self._find_lost(SETTLE_SECONDS)
            if lost is None:
                raise
            self._leave(lost)
        finally:
            ended.set()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.is_set():
            lost = self._find_lost(0.0)
            if ended.is_set():
                return
            if lost is not None:
                self._leave(lost)
            ended.wait(PROBE_SECONDS)

    def _find_lost(self, seconds: float) -> int | None:
        """A worker whose port is closed, looked for so many seconds; None if all answer."""
        until = time.monotonic() + seconds
        while True:
            for number, address in enumerate(self.addresses):
                if number != self.index and not _answers(address):
                    return number
            if time.monotonic() >= until:
                return None
            time.sleep(PROBE_SECONDS / 2)

    def _leave(self, lost: int) -> None:
        """At once: the main thread may wait for ever, and what it does is worth nothing any more."""
        with _leaving:
            print(
                f"load_tf: worker {lost} ({self.addresses[lost]}) is gone; the last commit stands, the same command on "
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


def _answers(address: str) -> bool:
    """Whether the port TensorFlow listens at takes a connection, of a few tries."""
    host, _, port = address.rpartition(":")
    for number in range(PROBES):
        if number:
            time.sleep(PROBE_SECONDS / 2)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2 * PROBE_SECONDS).close()
            return True
        except OSError:
            continue
    return False
