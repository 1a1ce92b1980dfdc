"""The one kind of error that is the user's to mend."""

import re
from collections.abc import Callable, Sequence
from typing import Any


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


def check(
    settings: object, *names: str, allowed: Callable[[Any], bool], expected: str, called: str | None = None
) -> None:
    """Checks fields of a dataclass, in its `__post_init__`: "StageOne.epochs is 0; expected a whole number above 0."

    Args:
      settings: the dataclass.
      *names: its fields.
      allowed: whether a value is one.
      expected: what is, the end of the sentence.
      called: what the sentence begins with, where a gin file has another name for it; None: the class.

    Raises:
      UserError: naming the first field whose value is not allowed.
    """
    for name in names:
        value = getattr(settings, name)
        if not allowed(value):
            raise UserError(f"{called or type(settings).__name__}.{name} is {value!r}; expected {expected}.")


def check_whole(
    settings: object,
    *names: str,
    least: int = 1,
    expected: str = "a whole number above 0",
    called: str | None = None,
) -> None:
    """As `check`: fields that must be an int of at least `least`."""

    def allowed(value: Any) -> bool:
        return isinstance(value, int) and value >= least

    check(settings, *names, allowed=allowed, expected=expected, called=called)


def check_number(settings: object, *names: str, zero: bool = False) -> None:
    """As `check`: fields that must be an int or a float above 0; with `zero` also 0."""

    def allowed(value: Any) -> bool:
        return isinstance(value, int | float) and (value > 0 or (zero and value == 0))

    check(settings, *names, allowed=allowed, expected="a number of at least 0" if zero else "a number above 0")


def check_choice(settings: object, name: str, *choices: str) -> None:
    """As `check`: a field that must be one of a few names."""
    check(settings, name, allowed=lambda value: value in choices, expected=" or ".join(map(repr, choices)))


LONGEST_REASON = 240
"""Characters."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_RAISED = re.compile(r"^[ \t]*(?:\w+\.)*\w*(?:Error|Exception|Interrupt): ", re.M)
_NODE = re.compile(r"^Node: '.*'$", re.M)
_PLACE = re.compile(r"\s*(?:Graph execution error:|Detected at node .*|File \".*\", line \d+.*)$")
_CALLING = re.compile(r"\A\s*Exception encountered when calling .*$", re.M)
_FUNCTION_NODE = re.compile(r"\{\{\w+ [^}]*\}\}")
_OPERATION = re.compile(r"\s*\[Op:\w+\].*$")


def reason(error: BaseException | None) -> str:
    """What an error of Keras or TensorFlow says went wrong, in one line; both put pages of their own code around it.

    Args:
      error: any; None, or one without a message, is named by its class.
    """
    text = _COLOURS.sub("", str(error or "")).strip()
    # AutoGraph gives the message behind the lines of the code that was traced, a Keras layer behind its name, and a
    # graph that ran behind the node's.
    for opening in (_RAISED, _NODE):
        if found := list(opening.finditer(text)):
            text = text[found[-1].end() :]
    text = _CALLING.sub("", text)
    text = _FUNCTION_NODE.sub("", text)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _PLACE.match(line)]
    line = _OPERATION.sub("", lines[0]).strip() if lines else ""
    line = line or type(error).__name__
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3].rstrip()}..."
