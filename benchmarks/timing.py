"""What the benchmarks share: candidates timed in turn, so that a noisy machine is noisy for all, and their tables."""

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from load_tf.devices import memory
from load_tf.devices.runtime import Runtime


@dataclasses.dataclass(frozen=True)
class Measured:
    """What `in_turn` found of a candidate."""

    seconds: tuple[float, ...]
    """Of every repetition."""
    memory: float
    """MiB that the first calls took beyond what was there."""
    processor_seconds: tuple[float, ...]
    """Of every repetition, over all cores."""

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, over the median."""
        low, high = np.percentile(self.seconds, (25, 75))
        return float((high - low) / 2 / self.median)

    @property
    def busy(self) -> float:
        """The share of all cores' time that was used."""
        return float(np.median(np.divide(self.processor_seconds, self.seconds))) / (os.cpu_count() or 1)


def start(threads: int = 0) -> None:
    """Sets TensorFlow up as a run does, but free to choose the fastest kernels; before anything runs on it.

    Args:
      threads: of an operation; 0: one for each core.
    """
    Runtime(intra_op_threads=threads, deterministic=False).start()


class Apart:
    """A candidate in a process of its own: no other one's threads, caches and memory are in its way.

    Called, it has its process do the work once and waits. The process ends with this one.
    """

    def __init__(self, make: Callable[[], Callable[[], object]]) -> None:
        """Starts the process and has it make the candidate.

        Args:
          make: makes what is timed; a function of a module, or a `functools.partial` of one.

        Raises:
          Exception: what `make` raises there.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        context.Process(target=_serve, args=(make, theirs), daemon=True).start()
        theirs.close()
        self._answer()

    def __call__(self) -> float:
        """Returns the processor seconds that took."""
        self._connection.send("call")
        return float(self._answer())

    def peak(self) -> float:
        """Calls twice; MiB that took beyond what its process held."""
        self._connection.send("peak")
        return float(self._answer())

    def _answer(self) -> Any:
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(make: Callable[[], Callable[[], object]], connection: Connection) -> None:
    memory.keep_what_is_freed()  # as load_tf's commands do
    for gpu in _gpus():
        tf.config.experimental.set_memory_growth(gpu, True)  # or the first process would take all of it
    try:
        call = make()
        connection.send(None)
        while True:
            if connection.recv() == "peak":
                connection.send(_peak_of(call))
            else:
                connection.send(_processor_seconds(call))
    except EOFError:
        return
    except Exception as error:
        connection.send(error)


def in_turn(candidates: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Measured]:
    """Times callables one after the other, round by round.

    Args:
      candidates: by name, `Apart` or any others; each is called twice before, and its memory taken then.
      repeats: rounds.
    """
    memory = {n: call.peak() if isinstance(call, Apart) else _peak_of(call) for n, call in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    busy: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            began = time.perf_counter()
            busy[name].append(call() if isinstance(call, Apart) else _processor_seconds(call))
            seconds[name].append(time.perf_counter() - began)
    return {name: Measured(tuple(seconds[name]), memory[name], tuple(busy[name])) for name in candidates}


def _processor_seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """One line: on what, with which versions, the numbers were measured."""
    gpus = [tf.config.experimental.get_device_details(d).get("device_name", "GPU") for d in _gpus()]
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    where = ", ".join(gpus) if gpus else f"{_processor()}, {threads} threads"
    return f"{where}; TensorFlow {tf.__version__}"


MATRIX_PRODUCTS = 3 * 4096 * 1024**2
"""Multiply-adds of `matrix_products`."""


def matrix_products() -> Callable[[], object]:
    """A candidate: what the floor is measured by, three products of 4096 x 1024 and 1024 x 1024."""
    left, right = tf.random.normal([4096, 1024]), tf.random.normal([1024, 1024])
    product = tf.function(lambda: tf.matmul(left, right))

    def multiply() -> None:
        for _ in range(3):
            result = product()
        result.numpy()  # a GPU works on after the call has returned

    return multiply


def peak_memory() -> float:
    """MiB: the most this process has held since `forget_peak`, on the host."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def forget_peak() -> float:
    """Begins a new peak; returns the MiB that are held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def _peak_of(call: Callable[[], object]) -> float:
    held = forget_peak()
    call()
    call()
    return peak_memory() - held


def _gpus() -> list[object]:
    return list(tf.config.list_physical_devices("GPU"))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{os.cpu_count()} cores"
