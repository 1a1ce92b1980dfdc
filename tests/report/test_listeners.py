"""Who listens to a run: all in order, each the same, and a user's function that fails harms nobody."""

from typing import Any

import pytest

from load_tf.errors import UserError
from load_tf.report.listeners import Callback, Listener, Listeners
from load_tf.report.tensorboard import TensorBoardLog
from load_tf.report.terminal import Terminal

EVENTS: list[dict[str, Any]] = [
    {"event": "buffer", "cycle": -1, "sets": ["g0"]},
    {"event": "buffer", "cycle": 0, "sets": ["g0", "ge0_0"]},
    {"event": "buffer", "cycle": 1, "sets": ["g1"]},
]


class Written:
    """A listener of a newcomer's: one class, handed to `Listeners`."""

    def __init__(self, name: str, said: list[tuple[str, Any]]) -> None:
        self.name, self.said = name, said

    def hear(self, event: dict[str, Any]) -> None:
        self.said.append((self.name, event))


def test_all_hear_every_event_in_order() -> None:
    said: list[tuple[str, Any]] = []
    together = Listeners(Written("first", said), Listeners(), Listeners(Written("second", said)))
    for event in EVENTS:
        together.hear(event)
    assert said == [(name, event) for event in EVENTS for name in ("first", "second")]


def test_the_terminal_and_tensorboard_are_listeners(capsys: pytest.CaptureFixture[str]) -> None:
    listeners: list[Listener] = [TensorBoardLog(None), Terminal()]
    Listeners(*listeners).hear(EVENTS[1])
    assert capsys.readouterr().out == "[  0:00] buffer: [g0 | ge0_0]\n"


def test_a_function_gets_copies(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[tuple[str, Any]] = []

    def spoil(event: dict[str, Any]) -> None:
        event["sets"].clear()
        event.clear()

    listeners = Listeners(Callback(spoil), Written("after", said))
    for event in EVENTS:
        listeners.hear(event)
    assert [event for _, event in said] == EVENTS and EVENTS[1]["sets"] == ["g0", "ge0_0"]
    assert capsys.readouterr().err == ""


def test_a_function_that_fails_is_told_of_once_and_not_called_again(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[dict[str, Any]] = []
    said: list[tuple[str, Any]] = []

    def fail(event: dict[str, Any]) -> None:
        calls.append(event)
        if event["cycle"] == 0:
            raise ZeroDivisionError("the user's own fault")

    listeners = Listeners(Callback(fail), Written("after", said))
    for event in EVENTS:
        listeners.hear(event)
    assert calls == EVENTS[:2] and [event for _, event in said] == EVENTS
    printed = capsys.readouterr().err
    assert printed.count("ZeroDivisionError: the user's own fault") == 1 and "in fail" in printed
    assert printed.endswith("on_event failed on 'buffer' and is not called any more; the run goes on.\n")


def test_who_asks_for_the_end_gets_it() -> None:
    def stop(event: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Listeners(Callback(stop)).hear(EVENTS[0])


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(UserError, match="on_event is 'print'; expected a function of one event, or None"):
        Callback("print")  # type: ignore[arg-type]
