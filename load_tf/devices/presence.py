"""Whether the workers of TF_CONFIG are there: asked at the port it names for each, so that no other has to be open.

Whoever listens there speaks first: TensorFlow's server, as HTTP/2 demands of a server (RFC 9113, section 3.4), and
before TensorFlow has started a thread of ours. A process that was stopped or a machine that is off says nothing, though
the system may still take the connection for it; one that is merely busy answers, since another of its threads does.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from load_tf.errors import UserError

LOST_STATUS = 75
"""Exit status when another worker is gone or does not come: EX_TEMPFAIL of sysexits.h, "try again"."""

START_SECONDS = 600.0
"""How long workers wait for one that does not start."""
REPORT_SECONDS = 30.0
"""Between two sentences that say for whom."""
_ASK_SECONDS = 1.0
_GREETING = b"load_tf\n"
"""Said before TensorFlow's server is there, whose first byte is another."""


class WorkerAbsentError(UserError):
    """A worker did not start in time; commands exit with `LOST_STATUS`."""

    status = LOST_STATUS


def ask(address: str, seconds: float, playing: bool = False) -> OSError | None:
    """Asks whether a worker is there.

    Args:
      address: "host:port".
      seconds: how long to wait for a connection, and then for a word.
      playing: whether it has to be one that plays already: where one waits for the others to start, the one that played
        is gone, and was started anew.

    Returns:
      None if it answers, else why not: a `ConnectionRefusedError` if nobody listens there.
    """
    host, port = _host_and_port(address)
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            word = connection.recv(1)
    except OSError as error:
        return error
    if playing and word == _GREETING[:1]:
        return ConnectionRefusedError(0, "started anew")
    return None if word else ConnectionResetError(0, "connection closed without a word")


def wait_for_all(addresses: Sequence[str], index: int) -> None:
    """Waits until every worker has started, and says every `REPORT_SECONDS` who has not.

    TensorFlow would wait, too, but without a word, for any time, and deaf to Ctrl-C.

    Args:
      addresses: "host:port" of each worker.
      index: which of them this process is.

    Raises:
      WorkerAbsentError: if not all have started after `START_SECONDS`.
      UserError: if this worker can't listen at its own port.
    """
    began = said = time.monotonic()
    with _listening(addresses[index]):
        while True:
            # All of them each time: one that was there may have ended while another was waited for.
            asked = [(n, ask(address, _ASK_SECONDS)) for n, address in enumerate(addresses) if n != index]
            failures = {n: failure for n, failure in asked if failure is not None}
            if not failures:
                return
            now = time.monotonic()
            names = ", ".join(f"worker {n} ({addresses[n]}: {_reason(e)})" for n, e in failures.items())
            if now - began >= START_SECONDS:
                raise WorkerAbsentError(
                    f"waited {now - began:.0f} s for {names}; start the same command on all machines of TF_CONFIG, "
                    "each within reach of the others."
                )
            if now - said >= REPORT_SECONDS:
                said = now
                print(f"load_tf: waiting for {names}, {now - began:.0f} s so far.", file=sys.stderr, flush=True)
            time.sleep(_ASK_SECONDS)


@contextlib.contextmanager
def _listening(address: str) -> Iterator[None]:
    """Within, a thread answers at this worker's own port, where TensorFlow's server will."""
    port = _host_and_port(address)[1]
    try:
        if socket.has_dualstack_ipv6():
            listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            listener = socket.create_server(("", port))
    except OSError as error:
        raise UserError(
            f"can't listen at port {port}, which TF_CONFIG names for this worker: {os.strerror(error.errno or 0)}; has "
            "a process of an earlier run not ended?"
        ) from None

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                connection.sendall(_GREETING)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            # Wakes the thread: as long as it waits, the port stays taken.
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(_ASK_SECONDS)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _reason(error: OSError) -> str:
    return error.strerror or ("no answer" if isinstance(error, TimeoutError) else type(error).__name__)
