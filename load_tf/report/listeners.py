"""Who listens to a run: whatever is told of the journal's events while they happen.

The terminal and TensorBoard's log are listeners, and so is a function of the user's. A run knows one listener, which
passes on to all.
"""

import copy
import sys
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from load_tf.errors import UserError

Hear = Callable[[dict[str, Any]], None]
"""`Listener.hear` of somebody."""


class Listener(Protocol):
    """Is told of every event of a run's journal, in their order."""

    def hear(self, event: dict[str, Any]) -> None:
        """Called once the event stands in the journal, before the commit from which on it counts.

        Args:
          event: the journal's line: `event`, its name, and its values. Others are given the same dictionary; it must
            stay as it is.
        """


class Listeners:
    """Several listeners as one; without any, nobody listens."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def hear(self, event: dict[str, Any]) -> None:
        """Tells all, in the order in which they were given."""
        for listener in self._listeners:
            listener.hear(event)


class Callback:
    """A function of the user's as a listener, which can't damage the run.

    It is given a copy of every event. An exception that it raises is printed with its traceback; from then on it is
    not called any more, and the run goes on. What is no `Exception`, such as `KeyboardInterrupt`, ends the run, which
    the same call then goes on with from its last commit.
    """

    def __init__(self, function: Callable[[dict[str, Any]], object]) -> None:
        """Takes the function.

        Raises:
          UserError: if it can't be called.
        """
        if not callable(function):
            raise UserError(f"on_event is {function!r}; expected a function of one event, or None.")
        self._function: Callable[[dict[str, Any]], object] | None = function

    def hear(self, event: dict[str, Any]) -> None:
        """Calls the function, unless it has failed before."""
        if self._function is None:
            return
        try:
            self._function(copy.deepcopy(event))
        except Exception:
            self._function = None
            traceback.print_exc()
            print(
                f"load_tf: on_event failed on {event['event']!r} and is not called any more; the run goes on.",
                file=sys.stderr,
            )
