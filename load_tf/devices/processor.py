"""What this machine's processor has instructions for."""

import functools
from pathlib import Path

import tensorflow as tf

_BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})
"""Flags of x86 processors that multiply it; without them it is slower than float32."""

LACKS = "this processor has no instructions for it (amx_bf16 or avx512_bf16), or a GPU is used"
"""Why looks stay in float32."""


@functools.cache
def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor computes in bfloat16, and nothing else computes; where it does not say, False.

    Args:
      cpuinfo: what Linux says of the processor.
    """
    if tf.config.list_logical_devices("GPU") or not cpuinfo.is_file():
        return False
    lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
    return any(name.strip() == "flags" and _BFLOAT16 & set(value.split()) for name, _, value in lines)
