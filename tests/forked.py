"""Processes that begin where a command has imported TensorFlow: the import is seconds of each that begins with nothing.

A server, started when it is first asked for a process, imports what `load_tf.main` does, computes nothing, and forks.
What it forks is a process of its own, with arguments, folder, environment, output, signals and exit status as
`python -m` has them. What depends on the import itself, or on a variable that is read in it, is started by
`subprocess`; `tests/experiment/test_run.py` compares a run of one kind with one of the other, bit for bit.
"""

import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

seconds = 0.0
"""Processor time of the processes that have ended, their own children's included; see `tests/processor_time.py`."""
servers: list["subprocess.Popen[bytes]"] = []
"""None yet, or the one of this process."""


class Process:
    """A process of the server; what it has in common with `subprocess.Popen` does the same.

    Attributes:
      pid: its number.
      returncode: its exit status, or minus the signal that ended it; None: it runs.
    """

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """Starts it.

        Args:
          words: after `python`: `-m MODULE` or `-c CODE`, and the arguments.
          folder: that it runs in.
          environment: all of its variables; those that TensorFlow reads when it is imported come too late.
        """
        self._command = list(words)
        self._output = [tempfile.TemporaryFile("w+") for _ in ("stdout", "stderr")]  # noqa: SIM115 - for its life
        self._told, tell = os.pipe()
        request = {"words": self._command, "folder": str(folder), "environment": dict(environment)}
        descriptors = [*(file.fileno() for file in self._output), tell]
        socket.send_fds(_server(), [json.dumps(request).encode() + b"\n"], descriptors)
        os.close(tell)
        self.pid = int(self._hear())
        self.returncode: int | None = None

    def _hear(self) -> str:
        """The next line of the watcher, without its end; none if the server has died."""
        line = b""
        while not line.endswith(b"\n"):
            read = os.read(self._told, 1)
            if not read:
                raise RuntimeError("the server of tests/forked.py is gone; what it said stands above")
            line += read
        return line.decode().strip()

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended; TimeoutExpired after so many seconds."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self._command, timeout)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def _end(self) -> None:
        global seconds
        status, used = self._hear().split()
        os.close(self._told)
        self.returncode = int(status)
        seconds += float(used)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to standard output and standard error, once it has ended."""
        self.wait(timeout)
        said = []
        for file in self._output:
            file.seek(0)
            said.append(file.read())
        return said[0], said[1]

    def said(self) -> str:
        """What it has written to standard output so far."""
        descriptor = self._output[0].fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()

    def send_signal(self, number: int) -> None:
        """Signals it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float = 500
) -> subprocess.CompletedProcess[str]:
    """A process from its start to its end, as `subprocess.run` with its output captured; arguments as of `Process`."""
    process = Process(words, folder, environment)
    try:
        out, error = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    assert process.returncode is not None
    return subprocess.CompletedProcess(list(words), process.returncode, out, error)


@functools.cache
def _server() -> socket.socket:
    """The connection to the server of this process; the server ends when it is closed."""
    ours, theirs = socket.socketpair()
    with theirs:
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "tests.forked"]
        # It is not waited for: it lives as long as this process.
        servers.append(
            subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, cwd=ROOT, env=variables)
        )
    return ours


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Forks a process for each request; returns the request in that process, and None when there will be no more."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        while data and not data.endswith(b"\n"):
            data += connection.recv(1 << 16)
        if not data:
            return None
        if os.fork() == 0:
            connection.close()
            if _is_watched(*descriptors):
                return dict(json.loads(data))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _is_watched(out: int, error: int, tell: int) -> bool:
    """Forks once more: True in the process that was asked for; the other has told its number and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, number in ((out, 1), (error, 2)):
            os.dup2(descriptor, number)
            os.close(descriptor)
        return True
    os.write(tell, f"{pid}\n".encode())
    _, status, used = os.wait4(pid, 0)
    os.write(tell, f"{os.waitstatus_to_exitcode(status)} {used.ru_utime + used.ru_stime}\n".encode())
    return False


def _become(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Does what `python WORDS` does once Python has started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    kind, what, *arguments = words
    if kind == "-m":
        sys.path[0], sys.argv = folder, ["", *arguments]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = "", ["-c", *arguments]
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), module.__dict__)


def main() -> None:
    """The server: standard input is the connection."""
    # What the imports make is set aside when they are done: the collector would look through it again and again, and so
    # copy what all share.
    gc.disable()
    from load_tf import commands
    from load_tf.devices import surroundings

    surroundings.for_a_command()
    commands.quiet_tensorflow()
    import load_tf.experiment.plan
    import load_tf.experiment.run  # noqa: F401 - for those that are forked

    # Those it forks go by its connection and by their own signals; nobody waits for their watchers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    gc.enable()
    request = _serve(socket.socket(fileno=os.dup(0)))
    if request is not None:
        # Python ends as it would have: exceptions, exit statuses and what is registered for the end are its own.
        _become(**request)


if __name__ == "__main__":
    main()
