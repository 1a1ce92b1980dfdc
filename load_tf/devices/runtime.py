"""How TensorFlow runs: threads, determinism, devices and precision, set up before anything runs on it."""

import dataclasses
import os
import platform
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from load_tf.devices import keras_settings, precision, processor, surroundings
from load_tf.devices import strategies as devices
from load_tf.errors import check_choice, check_whole


@dataclasses.dataclass(frozen=True)
class Runtime:
    """How TensorFlow runs. Bit-for-bit repeatability holds for equal values of all of these.

    Attributes:
      intra_op_threads: threads inside an operation; 0: one for each core.
      inter_op_threads: operations at a time.
      deterministic: only deterministic kernels. On the CPU it costs nothing measurable.
      devices: "auto", "one", "mirrored", "multi_worker", "tpu" or "tpu:NAME": see `load_tf.devices.strategies`.
      logical_devices: divides the CPU into so many devices, to try several without GPUs; 0: it stays one.
      precision: "float32", "mixed_bfloat16" or "mixed_float16": see `load_tf.devices.precision`.
      math: "float32", or "bfloat16": the segmentor is evaluated in it wherever a run looks at models and aggregates
        label maps, where the processor has instructions for it. Training and the scores of the tables stay in float32.
        Looks are then noisy by some tenths of a point (docs/performance.md).
    """

    intra_op_threads: int = 0
    inter_op_threads: int = 2
    deterministic: bool = True
    devices: str = "auto"
    logical_devices: int = 0
    precision: str = "float32"
    math: str = "float32"

    def __post_init__(self) -> None:
        # Below 0 TensorFlow would end the process, without an exception.
        check_whole(self, "intra_op_threads", least=0, expected="a whole number of at least 0")
        check_choice(self, "math", "float32", "bfloat16")

    @property
    def looks_in_bfloat16(self) -> bool:
        """Whether `math` asks for it and the processor has it."""
        return self.math == "bfloat16" and processor.has_bfloat16()

    def start(self) -> tf.distribute.Strategy:
        """Sets up TensorFlow, the devices and the precision; must come before anything that runs on it.

        Returns:
          The strategy of the chosen devices.

        Raises:
          UserError: if they are not there, or a value is none that is known.
        """
        self.set_up()
        keras_settings.use()
        precision.use(self.precision)
        return devices.strategy(self.devices, self.logical_devices)

    def set_up(self) -> None:
        """Sets up threads and determinism."""
        try:
            tf.config.threading.set_intra_op_parallelism_threads(self.intra_op_threads or (os.cpu_count() or 1))
            tf.config.threading.set_inter_op_parallelism_threads(self.inter_op_threads)
        except RuntimeError:
            # In a notebook or a test TensorFlow may be running already: then its counts stand, and are reported.
            pass
        if self.deterministic:
            tf.config.experimental.enable_op_determinism()

    def environment(self, strategy: tf.distribute.Strategy) -> dict[str, Any]:
        """What `environment.json` holds of the machine: all on which the bits of a result depend."""
        return {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "devices": [device.name for device in tf.config.list_logical_devices()],
            "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
            "deterministic": self.deterministic,
            "precision": keras.config.dtype_policy().name,
            "math": "bfloat16" if self.looks_in_bfloat16 else "float32",
            "keras_backend": keras.config.backend(),
            "floatx": keras.config.floatx(),
            "image_data_format": keras.config.image_data_format(),
            "variables": {name: os.environ[name] for name in surroundings.BITS if name in os.environ},
            **devices.describe(strategy),
        }
