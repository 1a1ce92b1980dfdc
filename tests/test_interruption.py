"""Real signals to real processes: what was begun is finished and committed, and the exit status is the usual one."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from load_tf import interruption
from load_tf.storage.run_state import decode

ROOT = Path(__file__).resolve().parents[1]

# A run whose step is one call that Python cannot interrupt, as a call to TensorFlow is; argv: folder, rounds, where.
WORKER = """
import contextlib, hashlib, sys, threading
from absl import flags
from load_tf import commands, interruption
from load_tf.storage.run_directory import RunDirectory
commands.define_experiment_flags()
flags.FLAGS(["worker", *sys.argv[4:]])
interruption.NOTICE_SECONDS = 0.1
folder, rounds, where = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def step():
    print("step", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a step", b"", rounds)
def main():
    if where == "outside":
        while True: step()
    run = RunDirectory(folder, "config")
    while True:
        with interruption.abandonable() if where == "abandonable" else contextlib.nullcontext():
            step()
        run.record("step")
        run.commit({"phase": "steps"}, {}, set())
sys.exit(commands.execute(main, ["worker"]))
"""
SHORT, ENDLESS = 400_000, 2_000_000_000


class Worker:
    """The process, stopped at the latest when the test ends."""

    def __init__(self, folder: Path, rounds: int, where: str = "run", flags: tuple[str, ...] = (), **env: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), str(rounds), where, *flags],
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that starts the tests in the background has its children ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def wait_for_steps(self, count: int) -> None:
        assert self.process.stdout is not None
        for _ in range(count):
            assert self.process.stdout.readline() == "step\n"

    def end(self, timeout: float = 30) -> tuple[int, str]:
        """Its exit status and what it said."""
        _, said = self.process.communicate(timeout=timeout)
        return self.process.returncode, said


@pytest.fixture(name="workers")
def _workers() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def start(workers: contextlib.ExitStack, *arguments: object, **env: str) -> Worker:
    worker = Worker(*arguments, **env)  # type: ignore[arg-type]
    workers.callback(worker.process.kill)
    return worker


def steps(folder: Path) -> tuple[int, int]:
    """Commits and journalled steps of a run."""
    state = decode((folder / "state.json").read_bytes())
    lines = (folder / "journal.jsonl").read_text().splitlines()
    assert all(json.loads(line)["event"] == "step" for line in lines)
    return state["commit"], len(lines)


@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")]
)
def test_the_step_is_finished_and_committed(
    workers: contextlib.ExitStack, tmp_path: Path, number: int, status: int, name: str
) -> None:
    worker = start(workers, tmp_path / "run", SHORT)
    worker.wait_for_steps(3)
    worker.process.send_signal(number)
    returned, said = worker.end()
    assert returned == status, said
    assert f"{name}: finishing the step" in said
    commits, lines = steps(tmp_path / "run")
    assert commits == lines >= 3
    assert (
        f"stopped by {name} after commit {commits} of {tmp_path / 'run'}; the same command goes on from there" in said
    )
    assert "Traceback" not in said
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_second_signal_leaves_at_once(workers: contextlib.ExitStack, tmp_path: Path) -> None:
    """Though the step goes on for hours, and Python's own handlers wait for its end."""
    worker = start(workers, tmp_path / "run", ENDLESS)
    worker.wait_for_steps(1)
    worker.process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(2 * interruption.ECHO_SECONDS)
    worker.process.send_signal(signal.SIGTERM)
    returned, said = worker.end()
    assert returned == 143
    assert "SIGTERM again: leaving at once" in said
    assert not (tmp_path / "run/state.json").exists()


def test_two_signals_within_a_moment_are_one(workers: contextlib.ExitStack, tmp_path: Path) -> None:
    worker = start(workers, tmp_path / "run", 2 * SHORT)
    worker.wait_for_steps(2)
    for _ in range(2):
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    returned, said = worker.end()
    assert returned == 143 and "stopped by SIGTERM after commit" in said


@pytest.mark.parametrize("where", ["outside", "abandonable"])
def test_where_nothing_would_be_kept_it_leaves_at_once(
    workers: contextlib.ExitStack, tmp_path: Path, where: str
) -> None:
    worker = start(workers, tmp_path / "run", SHORT, where)
    worker.wait_for_steps(3)
    worker.process.send_signal(signal.SIGINT)
    returned, said = worker.end()
    assert returned == 130, said
    assert said.strip() == "load_tf: stopped by Ctrl-C."
    if where == "abandonable":
        assert steps(tmp_path / "run") == (2, 2), "the third step was finished"


def test_a_signal_that_the_parent_ignores_stays_ignored(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom load_tf import interruption\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with interruption.handled():\n    os.kill(os.getpid(), signal.SIGINT)\n    print(interruption.requested())"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


class Metadata(http.server.BaseHTTPRequestHandler):
    """Google Compute Engine's metadata server, as far as it is asked."""

    answers: dict[str, str] = {}  # noqa: RUF012 - set by the test

    def do_GET(self) -> None:
        wrong = self.headers["Metadata-Flavor"] != "Google"
        body = self.answers.get(self.path.removeprefix("/computeMetadata/v1/instance/"), "")
        self.send_response(403 if wrong or not body else 200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(name="metadata")
def _metadata() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answers", "taken"),
    [
        ({"maintenance-event": "NONE", "preempted": "FALSE"}, False),
        ({"maintenance-event": "NONE", "preempted": "TRUE"}, True),
        ({"maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE"}, True),
        ({}, False),
    ],
)
def test_the_notice(metadata: str, monkeypatch: pytest.MonkeyPatch, answers: dict[str, str], taken: bool) -> None:
    monkeypatch.setattr(Metadata, "answers", answers)
    monkeypatch.setenv("GCE_METADATA_IP", metadata)
    assert interruption.machine_is_taken_away() is taken


def test_a_notice_is_a_sigterm(
    metadata: str, workers: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Metadata, "answers", {"preempted": "FALSE"})
    worker = start(workers, tmp_path / "run", SHORT, "run", ("--watch_preemption",), GCE_METADATA_IP=metadata)
    worker.wait_for_steps(3)
    monkeypatch.setattr(Metadata, "answers", {"preempted": "TRUE"})
    returned, said = worker.end()
    assert returned == 143 and "about to be taken away" in said and "stopped by SIGTERM after commit" in said


def test_without_a_request_nothing_is_stopped() -> None:
    with interruption.handled():
        interruption.stop_if_requested("anywhere")
        assert not interruption.requested()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
