"""What a training step frees stays with the process: the next step asks for as much.

The C library gives large blocks back to the system at once, and the system clears every page before it hands it out
again. TensorFlow takes all of a step's activations from it: stage 1 of MobileNetV2 took a fifth longer where nothing
was done about it, the adversarial step as long (docs/notes/performance.md).
"""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MOST_MAPPED, _MOST_ARENAS = -1, -4, -8
"""Parameters of `mallopt`, as glibc's <malloc.h> numbers them."""


def keep_what_is_freed() -> bool:
    """Tells the C library so, for the whole process; for one of load_tf's own, not for the user's.

    Blocks are no longer mapped one by one, the heap is not trimmed, and there is one heap for all threads: those of
    other threads than the first can't hold blocks of this size.

    Returns:
      Whether it does: not where there is another library than glibc, or the environment says what it is to do.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MOST_MAPPED, 0), (_TRIM_THRESHOLD, -1), (_MOST_ARENAS, 1))
    return all([mallopt(parameter, value) for parameter, value in settings])
