"""A run directory that several workers play in: the chief writes, the others read along.

It lies on storage that all machines share. Every commit is a meeting point: the chief makes it, then all go on from it,
so that what one reads of it the others do, and a signal to any of them stops all at the same commit.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from load_tf import interruption
from load_tf.devices.workers import Workers
from load_tf.errors import UserError
from load_tf.storage import run_state
from load_tf.storage.run_directory import ArraySource, RunDirectory

VISIBLE_SECONDS = 60.0
"""How long another machine may take to see a file that was renamed: network file systems remember names a while."""


def open_run(path: Path | str, config: str, pinned: frozenset[str], workers: Workers) -> RunDirectory:
    """Opens a run's folder, on each worker as it should.

    Args:
      path: the folder, the same for all workers.
      config: the experiment's parameters as text.
      pinned: names of arrays that every later commit keeps.
      workers: those of the run; one alone gets a plain `RunDirectory`.

    Raises:
      UserError: as `RunDirectory`; also if a worker does not see what the chief sees.
    """
    if workers.count == 1:
        return RunDirectory(path, config, pinned)
    return ChiefDirectory(path, config, pinned, workers) if workers.is_chief else FollowerDirectory(path, workers)


class ChiefDirectory(RunDirectory):
    """The chief's: the one that is written, and locked."""

    def __init__(self, path: Path | str, config: str, pinned: frozenset[str], workers: Workers) -> None:
        super().__init__(path, config, pinned)
        self._workers = workers
        workers.agree(self.state.get("commit", 0))
        workers.any(0)

    def commit(
        self, state: dict[str, Any], changed: Mapping[str, ArraySource], keep: set[str], last: bool = False
    ) -> None:
        with self._writing():
            self._commit(state, changed, keep, last)
        self._workers.agree(self.state["commit"])
        _part(self, self._workers, last)


class FollowerDirectory(RunDirectory):
    """Another worker's: it reads what the chief has committed, and writes nothing.

    Its journal is kept in memory, so that what is decided from it is decided alike.
    """

    def __init__(self, path: Path | str, workers: Workers) -> None:
        """Waits for the chief to open the folder.

        Args:
          path: the folder.
          workers: those of the run.

        Raises:
          UserError: if this is another folder than the chief's.
        """
        self.path, self._workers = Path(path), workers
        commit = workers.agree(None)
        self._read(commit)
        self._lines = [json.loads(line) for line in (self.path / "journal.jsonl").read_text().splitlines()]
        self._open = True
        workers.any(0)
        interruption.run_opened()

    def _read(self, commit: int) -> None:
        """Reads the chief's commit.

        Raises:
          UserError: if it is not there.
        """
        until = time.monotonic() + VISIBLE_SECONDS
        while True:
            try:
                self.state = run_state.decode((self.path / run_state.NEWEST).read_bytes()) if commit else {}
            except (OSError, ValueError):
                self.state = {}
            if self.state.get("commit", 0) == commit or time.monotonic() > until:
                break
            time.sleep(0.1)
        if self.state.get("commit", 0) != commit:
            raise UserError(
                f"worker {self._workers.index} does not see commit {commit} of the chief in {self.path}, but "
                f"{self.state.get('commit', 'none')}; expected --run_dir on storage that all machines share."
            )

    def record(self, event: str, **values: Any) -> dict[str, Any]:
        line = {"event": event, **values}
        self._lines.append(line)
        return line

    def time(self, phase: str, seconds: float, **values: Any) -> None:
        """Times are the chief's."""

    def write_ahead(self, name: str, source: ArraySource) -> None:
        """Files are the chief's."""

    def forget_ahead(self, name: str) -> None:
        """Files are the chief's."""

    def attach(self, name: str, source: ArraySource) -> None:
        """Files are the chief's."""

    def commit(
        self, state: dict[str, Any], changed: Mapping[str, ArraySource], keep: set[str], last: bool = False
    ) -> None:
        self._read(self._workers.agree(None))
        _part(self, self._workers, last)

    def journal(self) -> list[dict[str, Any]]:
        return list(self._lines)

    def write(self, name: str, content: str | bytes) -> Path:
        return self.path / name

    def close(self) -> None:
        if self._open:
            self._open = False
            interruption.run_closed()


def _part(directory: RunDirectory, workers: Workers, last: bool) -> None:
    """Ends a meeting: nobody goes on before all have read the commit, or the chief might have made the next one.

    Raises:
      Interrupted: on all, if one of them was asked to stop.
    """
    signal = workers.any(interruption.asked())
    if signal and not last:
        raise interruption.Interrupted(signal, f"commit {directory.state['commit']} of {directory.path}")
