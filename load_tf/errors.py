"""The one kind of error that is the user's to mend."""

from collections.abc import Sequence


class UserError(Exception):
    """Something outside the code is wrong: a file, a value, a flag.

    The message is one sentence that names the offender, what was found and what was expected. Commands print it without
    a traceback and exit with status 2.

    Attributes:
      status: that exit status.
      faults: where several things are wrong, every one in a sentence; else the message alone.
    """

    status = 2

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults) or (message,)
