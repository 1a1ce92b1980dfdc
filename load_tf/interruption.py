"""Being asked to stop: SIGTERM, Ctrl-C, a pre-emption notice.

While a run directory is open, the first signal only leaves a note: the step is finished, and the commit that ends it
raises `Interrupted`. A second one leaves at once, which loses no more than a kill does: what came after the last
commit. Where nothing is under way that a commit would keep, the first one leaves at once, too: while data are checked,
the finished model is scored, pictures are drawn, and in every command that has no run directory.

Python calls a signal's handler no sooner than the present operation returns, and one call to TensorFlow can take an
epoch. So a thread that listens on the signals' wake-up descriptor answers, and counts them.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
ECHO_SECONDS = 0.5
"""Wrappers such as coreutils' `timeout` signal a process and then its group: that is one request, not two."""
NOTICE_SECONDS = 5.0
"""Between two looks for a pre-emption notice."""


class Interrupted(BaseException):
    """The process was asked to stop, and has come to a point where it can.

    Attributes:
      status: the conventional exit status, 128 and the signal's number: 143 for SIGTERM, 130 for Ctrl-C.
    """

    def __init__(self, number: int, reached: str | None = None) -> None:
        after = f" after {reached}; the same command goes on from there" if reached else ""
        super().__init__(f"stopped by {SIGNALS[signal.Signals(number)]}{after}.")
        self.status = 128 + number


class _Watch:
    """What was asked of this process, and the thread that listens for it."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.left: Interrupted | None = None
        self._asked_at = 0.0
        self._lock = threading.Lock()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self.descriptor = self._writer.fileno()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while data := self._reader.recv(16):
            for number in data:
                if number in SIGNALS:
                    self._answer(number)
        self._reader.close()

    def _answer(self, number: int) -> None:
        with self._lock:
            if self._asked_at and time.monotonic() - self._asked_at < ECHO_SECONDS:
                return
            second = bool(self._asked_at)
            self._asked_at = self._asked_at or time.monotonic()
            self.number = self.number or number
        if second:
            _say(f"{SIGNALS[signal.Signals(number)]} again: leaving at once; the last commit stands.")
            os._exit(128 + number)
        # The handler may have been quicker than this thread, and what could be given up already is.
        if _deferred() and self.left is None:
            _say(
                f"{SIGNALS[signal.Signals(number)]}: finishing the step, then committing it; a second one leaves at "
                "once, and what came after the last commit will be done again."
            )

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler, on the main thread."""
        self.number = self.number or number
        if not _deferred():
            self.left = Interrupted(self.number)
            raise self.left

    def close(self) -> None:
        self._writer.close()


_watch: _Watch | None = None
_open_runs = 0
_abandonable = 0


@contextlib.contextmanager
def handled(notice: Callable[[], bool] | None = None) -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C are answered as this module says; a signal that the parent has ignored stays ignored.

    Args:
      notice: is asked every few seconds whether this machine is about to be taken away, as the `termination_watcher_fn`
        of `tf.distribute.experimental.TerminationConfig` is; True counts as a SIGTERM.

    Raises:
      Interrupted: when there was a signal and the point has come.
    """
    global _watch
    if threading.current_thread() is not threading.main_thread() or _watch is not None:
        yield
        return
    watch = _watch = _Watch()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    descriptor = signal.set_wakeup_fd(watch.descriptor, warn_on_full_buffer=False)
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, watch.handle)
    ended = threading.Event()
    if notice is not None:
        threading.Thread(target=_look_for_notice, args=(notice, ended), daemon=True).start()
    try:
        yield
    except Exception:
        # TensorFlow may have wrapped what the handler raised inside one of its callbacks.
        if watch.left is not None:
            raise watch.left from None
        raise
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)
        watch.close()
        _watch = None


@contextlib.contextmanager
def left_to_the_system(seconds: float) -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C end this process without a word: for a call during which no thread of Python runs.

    Handlers that the call installs are taken back afterwards, as is TensorFlow's of SIGTERM.

    Args:
      seconds: SIGALRM ends the process, too, if the call takes longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    before = {number: handler for number, handler in known.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def requested() -> bool:
    """Whether this process was asked to stop."""
    return _watch is not None and _watch.number is not None


def asked() -> int:
    """The number of the signal that asked this process to stop, or 0."""
    return (_watch.number or 0) if _watch is not None else 0


def stop_if_requested(reached: str) -> None:
    """Called where nothing would be lost. Raises Interrupted if this process was asked to stop.

    Args:
      reached: where that is, e.g. "commit 7 of runs/voc".
    """
    if _watch is not None and _watch.number is not None:
        raise Interrupted(_watch.number, reached)


def run_opened() -> None:
    """From here on signals wait for a commit."""
    global _open_runs
    _open_runs += 1


def run_closed() -> None:
    """Undoes `run_opened`."""
    global _open_runs
    _open_runs -= 1


@contextlib.contextmanager
def abandonable() -> Iterator[None]:
    """What happens within can be given up: a signal does not wait for its end."""
    global _abandonable
    if _watch is not None and _watch.number is not None:
        raise Interrupted(_watch.number)
    _abandonable += 1
    try:
        yield
    finally:
        _abandonable -= 1


def _deferred() -> bool:
    return _open_runs > 0 and not _abandonable


def machine_is_taken_away() -> bool:
    """Asks Google Compute Engine's metadata server, as tf.distribute's pre-emption handler does there.

    Returns:
      Whether the machine is pre-empted, or is to be stopped for maintenance; False where there is no such server.
    """
    host = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    for path, notice in (("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE"), ("preempted", "TRUE")):
        request = urllib.request.Request(
            f"http://{host}/computeMetadata/v1/instance/{path}", headers={"Metadata-Flavor": "Google"}
        )
        try:
            with urllib.request.urlopen(request, timeout=NOTICE_SECONDS) as answer:
                if answer.read(100).decode(errors="replace").strip() == notice:
                    return True
        except OSError:
            continue
    return False


def _look_for_notice(notice: Callable[[], bool], ended: threading.Event) -> None:
    while not ended.wait(NOTICE_SECONDS):
        if notice():
            _say("this machine is about to be taken away.")
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _say(text: str) -> None:
    print(f"\nload_tf: {text}", file=sys.stderr, flush=True)
