"""One process at a time for each file or folder that is being made."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from load_tf.errors import UserError

LOCK_SUFFIX = ".lock"


class BusyError(UserError):
    """Another process holds the lock, and did so for as long as we were willing to wait."""


@contextmanager
def exclusive(path: Path, patience: float = 3600.0) -> Iterator[None]:
    """Holds the right to make `path`, which need not exist; waits for whoever holds it now.

    The lock is the kernel's (`flock` on the hidden file `.NAME.lock` beside `path`): it ends with its process, so a
    killed one blocks nobody. The empty file stays, since removing it would let two waiters lock two different files.

    Args:
        path: what is to be made; its folder must exist.
        patience: seconds to wait; 0 asks once.

    Raises:
        BusyError: another process holds the lock for longer than `patience`.
        UserError: the folder can't be written to, or doesn't support locks.
    """
    lock = path.with_name(f".{path.name}{LOCK_SUFFIX}")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(f"cannot write to the folder {path.parent}: {error.strerror}") from error
    try:
        _wait(descriptor, path, patience)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    told = False
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise BusyError(f"{path} is being made by another process, after {patience:g} s still") from None
        except OSError as error:
            raise UserError(f"the folder {path.parent} does not support file locks: {error.strerror}") from error
        if not told:
            logging.getLogger(__name__).warning("waiting for another process that makes %s", path)
            told = True
        time.sleep(0.05)
