"""Stateless randomness: every draw is a pure function of (seed, what it is for).

A restart then needs no generator state and no iterator state: the draw for (seed, phase, cycle, step) is the same
whenever it is made.
"""

import hashlib

import numpy as np


def key(seed: int, *purpose: int | str) -> np.ndarray:
    """A key for `tf.random.stateless_*`, unlike that of any other purpose.

    Args:
      seed: the experiment's seed.
      *purpose: what the draw is for, e.g. `"discriminator", cycle, epoch`. The order counts, and 1 is not "1".

    Returns:
      int32 [2].
    """
    parts = [part if isinstance(part, str) else int(part) for part in (seed, *purpose)]
    digest = hashlib.blake2b(repr(tuple(parts)).encode(), digest_size=8).digest()
    return np.frombuffer(digest, dtype="<i4").copy()


def generator(seed: int, *purpose: int | str) -> np.random.Generator:
    """A numpy generator keyed like `key`, for permutations and draws made outside the graph."""
    return np.random.default_rng(key(seed, *purpose).view("<u4"))
