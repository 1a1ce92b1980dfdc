"""The meeting points of a shared run, between two threads that stand for the workers."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from load_tf.devices.workers import Workers
from load_tf.storage import shared_run


class Worker:
    """One of two, who tell each other what `Workers` do."""

    count = 2

    def __init__(self, index: int, said: list[Any], barrier: threading.Barrier) -> None:
        self.index, self._said, self._barrier = index, said, barrier

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def agree(self, value: Any) -> Any:
        return self._tell(value)[0]

    def any(self, flag: int) -> int:
        return next((f for f in self._tell(flag) if f), 0)

    def _tell(self, value: Any) -> list[Any]:
        self._said[self.index] = value
        self._barrier.wait(20)
        said = list(self._said)
        self._barrier.wait(20)
        return said


def test_the_chief_goes_on_when_the_slowest_has_read_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commits follow each other at once, as at the end of stage 1."""
    monkeypatch.setattr(shared_run, "VISIBLE_SECONDS", 0.5)
    read = shared_run.FollowerDirectory._read

    def read_late(directory: shared_run.FollowerDirectory, commit: int) -> None:
        time.sleep(0.3)
        read(directory, commit)

    monkeypatch.setattr(shared_run.FollowerDirectory, "_read", read_late)
    said, barrier = [None, None], threading.Barrier(2)

    def work(index: int) -> list[tuple[int, str, list[dict[str, Any]]]]:
        team = cast(Workers, Worker(index, said, barrier))
        directory = shared_run.open_run(tmp_path / "run", "config", frozenset(), team)
        found = []
        for number in range(3):
            directory.record("step", number=number)
            directory.commit({"phase": str(number)}, {"start": lambda: {"a": np.zeros(1)}}, set())
            found.append((directory.state["commit"], directory.state["phase"], directory.journal()))
        directory.close()
        return found

    with ThreadPoolExecutor(2) as pool:
        chief, follower = pool.map(work, range(2))
    assert chief == follower
    assert [phase for _, phase, _ in chief] == ["0", "1", "2"]
    assert [len(journal) for *_, journal in chief] == [1, 2, 3]
