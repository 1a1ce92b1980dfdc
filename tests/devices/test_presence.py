"""Who is there is found out at the port of TF_CONFIG: one that answers, one that is closed, one that is silent."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import tensorflow as tf
from absl import flags

from load_tf import commands
from load_tf.devices import presence, workers
from load_tf.errors import UserError
from tests.team import free_ports


@contextlib.contextmanager
def server(port: int, speaks: bool = True) -> Iterator[None]:
    """A worker; one that does not speak is what is left of a stopped process: the system takes its connections."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        ended = threading.Event()

        def serve() -> None:
            listener.settimeout(0.05)
            while not ended.is_set():
                with contextlib.suppress(TimeoutError), listener.accept()[0] as connection:
                    connection.sendall(b"\0")

        thread = threading.Thread(target=serve)
        if speaks:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if speaks:
                thread.join()


@pytest.fixture(name="addresses")
def _addresses() -> list[str]:
    return [f"127.0.0.1:{port}" for port in free_ports(3)]


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_a_port_answers_is_closed_or_silent(addresses: list[str]) -> None:
    address = addresses[0]
    assert isinstance(presence.ask(address, 1), ConnectionRefusedError)
    with server(port_of(address)):
        assert presence.ask(address, 1) is None
    with server(port_of(address), speaks=False):
        began = time.monotonic()
        assert isinstance(presence.ask(address, 0.2), TimeoutError)
        assert 0.2 <= time.monotonic() - began < 1


def test_all_wait_for_the_last(addresses: list[str]) -> None:
    arrived: list[int] = []

    def come(index: int) -> None:
        presence.wait_for_all(addresses, index)
        arrived.append(index)
        # TensorFlow's server takes the port over; others may not have asked yet.
        with server(port_of(addresses[index])):
            assert done.wait(30)

    done = threading.Event()
    threads = [threading.Thread(target=come, args=(index,)) for index in range(3)]
    for thread in threads[:2]:
        thread.start()
    time.sleep(2.5)
    assert arrived == []
    threads[2].start()
    until = time.monotonic() + 20
    while len(arrived) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(arrived) == [0, 1, 2]


def test_who_is_missing_is_said_and_waited_for_so_long(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(presence, "START_SECONDS", 3.0)
    monkeypatch.setattr(presence, "REPORT_SECONDS", 0.5)
    monkeypatch.setattr(presence, "_ASK_SECONDS", 0.3)
    # Other tests may have defined flags in this process, which nobody parsed.
    monkeypatch.setattr(commands, "FLAGS", flags.FlagValues())
    missing = re.escape(f"worker 1 ({addresses[1]}: Connection refused), worker 2 ({addresses[2]}: no answer)")
    with server(port_of(addresses[2]), speaks=False):
        status = commands.execute(lambda: presence.wait_for_all(addresses, 0), ["load_tf"])
    *reports, end = capsys.readouterr().err.splitlines()
    assert 2 <= len(reports) <= 5
    assert all(re.fullmatch(rf"load_tf: waiting for {missing}, \d s so far\.", line) for line in reports), reports
    assert re.fullmatch(rf"load_tf: waited 3 s for {missing}; start the same command on all machines.*", end), end
    assert status == presence.LOST_STATUS == 75


def test_one_that_came_and_left_is_waited_for_again(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "START_SECONDS", 2.0)
    monkeypatch.setattr(presence, "_ASK_SECONDS", 0.3)

    def come_and_go() -> None:
        with server(port_of(addresses[1])):
            time.sleep(0.8)
        with server(port_of(addresses[2])):
            time.sleep(2)

    other = threading.Thread(target=come_and_go)
    other.start()
    with pytest.raises(presence.WorkerAbsentError, match=r"worker 1 \("):
        presence.wait_for_all(addresses, 0)
    other.join()


def test_a_port_that_is_taken_is_named(addresses: list[str]) -> None:
    port = port_of(addresses[1])
    with server(port), pytest.raises(UserError, match=rf"port {port}, .*: Address already in use; has a") as said:
        presence.wait_for_all(addresses, 1)
    assert said.value.status == commands.USAGE_STATUS


class Left(BaseException):
    """In place of the process's end."""


@pytest.fixture(name="team")
def _team(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> workers.Workers:
    for name, value in {"PROBE_SECONDS": 0.1, "ANSWER_SECONDS": 0.2, "SILENT_SECONDS": 0.8}.items():
        monkeypatch.setattr(workers, name, value)
    team = workers.Workers(tf.distribute.get_strategy())
    team.addresses = addresses

    def leave(lost: int, how: str) -> None:
        raise Left(f"{lost} {how}")

    monkeypatch.setattr(team, "_leave", leave)
    return team


def watch(team: workers.Workers, seconds: float = 5.0) -> str:
    """What worker 1 is lost by, and nothing if it is not."""
    ended = threading.Event()
    timer = threading.Timer(seconds, ended.set)
    timer.start()
    try:
        team._watch(1, ended)
    except Left as left:
        return str(left)
    finally:
        timer.cancel()
    return ""


def test_a_closed_port_is_a_loss_at_once_and_silence_after_a_while(team: workers.Workers) -> None:
    began = time.monotonic()
    assert watch(team) == "1 is gone"
    assert time.monotonic() - began < 0.8
    began = time.monotonic()
    with server(port_of(team.addresses[1]), speaks=False):
        assert watch(team) == "1 has not answered for 1 s"
    assert 0.8 <= time.monotonic() - began < 2
    with server(port_of(team.addresses[1])):
        assert watch(team, 2.0) == ""


def test_one_that_was_started_anew_is_not_the_one_that_played(team: workers.Workers) -> None:
    with presence._listening(team.addresses[1]):
        assert presence.ask(team.addresses[1], 1) is None
        assert watch(team) == "1 is gone"


def test_silence_that_ends_is_no_loss(team: workers.Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of the four quarters, over and over; one more, and it is lost."""
    asked = 0

    def ask(address: str, seconds: float, playing: bool) -> OSError | None:
        nonlocal asked
        asked += 1
        return TimeoutError() if asked % 4 else None

    monkeypatch.setattr(presence, "ask", ask)
    assert watch(team, 3.0) == ""
    assert asked >= 8


def test_a_process_that_was_paused_itself_does_not_blame_the_others(
    team: workers.Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock the probe that was under way has failed for longer than anybody may be silent."""
    answers: list[OSError | None] = [TimeoutError()]

    def ask(address: str, seconds: float, playing: bool) -> OSError | None:
        if not answers:
            return None
        time.sleep(2 * workers.SILENT_SECONDS)
        return answers.pop()

    monkeypatch.setattr(presence, "ask", ask)
    assert watch(team, 2.5) == ""
