"""Printing when nobody reads it any more: `head` has seen enough, a terminal was closed, a disk is full.

Neither a run of hours nor what it has committed may hang on a line of text.
"""

import errno
import io
import os
import sys
from typing import Any, TextIO, cast

from load_tf.errors import UserError

GONE = frozenset({errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EBADF, errno.ESHUTDOWN})
"""What the system says of a pipe without a reader, a terminal that was closed, a full disk, a closed descriptor."""


def outlive_readers(status: int | None = None) -> None:
    """From here on this process prints into nothing once a reader of its output has gone away.

    Args:
      status: end the process quietly, with this exit status, when that happens to standard output, or with a sentence
        where its disk is full; None: go on.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Python has none where the descriptor was closed from the start, as by `>&-`.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open as long as the process lives
        elif isinstance(stream, io.TextIOWrapper):
            # By lines also in a pipe, so that who has gone away is missed at once.
            stream.reconfigure(line_buffering=True)
            setattr(sys, name, cast(TextIO, _Outliving(stream, status if name == "stdout" else None)))


class _Outliving:
    """A stream of text that outlives its reader; in all else the stream itself."""

    def __init__(self, stream: io.TextIOWrapper, status: int | None) -> None:
        self._stream, self._status = stream, status

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """What is still to be printed, also while the interpreter ends, goes into nothing."""
        if error.errno not in GONE:
            raise error
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())
        os.close(nothing)
        status, self._status = self._status, None
        if status is not None:
            if error.errno != errno.EPIPE:
                print(f"load_tf: standard output can't be written: {error.strerror}.", file=sys.stderr)
                status = UserError.status
            raise SystemExit(status)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
