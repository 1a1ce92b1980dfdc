"""What the benchmarks share: candidates timed in turn, so that a noisy machine is noisy for all, and their tables."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Measured:
    """Seconds of every repetition, and what the first calls took in memory beyond what was there (MiB)."""

    seconds: tuple[float, ...]
    memory: float

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, over the median."""
        low, high = np.percentile(self.seconds, (25, 75))
        return float((high - low) / 2 / self.median)


def in_turn(candidates: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Measured]:
    """Times callables one after the other, round by round.

    Args:
      candidates: by name; each is called twice before, and its memory taken then.
      repeats: rounds.
    """
    memory = {name: _peak_of(call) for name, call in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: Measured(tuple(values), memory[name]) for name, values in seconds.items()}


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


def matrix_rate(repeats: int = 3) -> Callable[[], float]:
    """A function that measures how many multiply-adds a second a matrix product does."""
    left, right = tf.random.normal([4096, 1024]), tf.random.normal([1024, 1024])
    product = tf.function(lambda: tf.matmul(left, right))
    product()

    def rate() -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            result = product()
        result.numpy()  # a GPU works on after the call has returned
        return repeats * 4096 * 1024**2 / (time.perf_counter() - began)

    return rate


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
