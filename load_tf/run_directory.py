"""A run's folder: who may write in it, its journal, and the one commit point.

Everything a run must not lose is written under a new name first; then `state.json`, which names it all, is replaced by
one rename. What `state.json` does not name does not count: a start removes it and cuts the journal back to the length
the state knows. So a run killed anywhere continues from its last commit.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from load_tf.arrays import Entry, read_arrays, write_arrays, write_atomically
from load_tf.errors import UserError

ArraySource = Callable[[], Mapping[str, np.ndarray]]

_ARRAY_FOLDERS = ("checkpoints", "label_maps")
_BEFORE_FIRST_COMMIT = {
    *("config.gin", ".lock", "environment.json", "journal.jsonl", "timings.jsonl", "tensorboard"),
    *_ARRAY_FOLDERS,
}


class RunDirectory:
    """One run's folder, locked against every other process while it is open.

    Attributes:
      path: the folder.
      state: what was last committed; empty in a new run.
    """

    def __init__(self, path: Path | str, config: str, pinned: frozenset[str] = frozenset()) -> None:
        """Opens a folder: a new run in an empty or absent one, else the run of the same config that is there.

        Args:
          path: the folder.
          config: the experiment's parameters as text; a run is resumed only by the config that began it.
          pinned: names of arrays that every later commit keeps.

        Raises:
          UserError: if another process runs in it, it holds something else, or what it holds is damaged.
        """
        self.path = Path(path)
        self._pinned = pinned
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"the run directory {self.path} is a file; expected a folder, or a path that is free.")
        self._refuse_strangers()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "a")  # noqa: SIM115 - held open as long as the run lives
        except OSError as error:
            raise UserError(f"can't write in the run directory {self.path}: {error.strerror}.") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another process is running in {self.path}; wait for it, or choose another --run_dir."
            ) from None
        try:
            self.state: dict[str, Any] = self._read_state()
            self._check_config(config)
            self._journal_lines: list[str] = []
            self._recover()
        except BaseException:
            self.close()
            raise

    def _refuse_strangers(self) -> None:
        """A folder is a run's if `config.gin` is in it, and before the first commit nothing that isn't a run's."""
        if not self.path.is_dir():
            return
        try:
            names = {entry.name for entry in self.path.iterdir() if not entry.name.endswith(".tmp")}
        except OSError as error:
            raise UserError(f"can't read the run directory {self.path}: {error.strerror}.") from None
        known = {".lock"} if "config.gin" not in names else names if "state.json" in names else _BEFORE_FIRST_COMMIT
        if names - known:
            raise UserError(
                f"the run directory {self.path} is not empty and holds no run; choose another --run_dir, "
                "nothing in it is touched."
            )

    def _check_config(self, config: str) -> None:
        """A run is resumed by its own config only; where nothing was committed, there is nothing to protect."""
        file = self.path / "config.gin"
        before = file.read_bytes().decode(errors="replace") if file.exists() else None
        if before is None or (before != config and not self.state):
            with self._writing():
                write_atomically(file, config.encode())
        elif before != config:
            raise UserError(
                f"{self.path} holds a run of another config ({_first_difference(before, config)}); "
                "give the same parameters to resume it, or choose another --run_dir."
            )

    def _read_state(self) -> dict[str, Any]:
        file = self.path / "state.json"
        if not file.exists():
            self._refuse_lost_state(file)
            return {}
        return _state_of(file)

    def _refuse_lost_state(self, state_file: Path) -> None:
        """Without `state.json` only the files of a first commit that never ended may be there; others aren't pruned."""
        for folder in _ARRAY_FOLDERS:
            for file in self.path.glob(f"{folder}/[!.]*"):
                if not file.name.endswith("-000001.arrays"):
                    raise UserError(
                        f"{state_file} is gone, but {file} is there, which the run's first commit did not write; "
                        "put it back or choose another --run_dir."
                    )

    def _recover(self) -> None:
        """Removes what the last commit does not name: the remains of a process that died."""
        for folder in _ARRAY_FOLDERS:
            (self.path / folder).mkdir(exist_ok=True)
        self._prune()
        for remains in self.path.glob("**/.*.tmp"):
            remains.unlink()
        journal = self.path / "journal.jsonl"
        journal.touch()
        known = self.state.get("journal", {"bytes": 0, "sha256": hashlib.sha256().hexdigest()})
        data = journal.read_bytes()
        self._journal_digest = hashlib.sha256(data[: known["bytes"]])
        if len(data) < known["bytes"] or self._journal_digest.hexdigest() != known["sha256"]:
            raise UserError(
                f"{journal} is damaged: its first {known['bytes']} bytes are not those that were committed; "
                "start a new run directory."
            )
        if len(data) > known["bytes"]:
            os.truncate(journal, known["bytes"])
        self._journal_bytes = known["bytes"]

    def _prune(self) -> None:
        named = {entry["path"] for entry in self.state.get("files", {}).values()}
        for folder in _ARRAY_FOLDERS:
            for file in (self.path / folder).iterdir():
                if str(file.relative_to(self.path)) not in named:
                    file.unlink()

    def record(self, event: str, **values: Any) -> dict[str, Any]:
        """Adds an event to the journal; it is written with the next commit. No clock goes in, so that runs compare."""
        line = {"event": event, **values}
        self._journal_lines.append(json.dumps(line, allow_nan=False) + "\n")
        return line

    def time(self, phase: str, seconds: float, **values: Any) -> None:
        """Adds a line to `timings.jsonl`, which no restart depends on, with the process's peak memory so far."""
        # Linux counts in KiB, macOS in bytes.
        unit = 2**20 if sys.platform == "darwin" else 2**10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
        line = {
            "phase": phase, "seconds": round(seconds, 3), "peak_mib": peak, **values, "at": round(time.time(), 1)
        }  # fmt: skip
        with self._writing(), open(self.path / "timings.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")

    def commit(self, state: dict[str, Any], changed: Mapping[str, ArraySource], keep: set[str]) -> None:
        """The one commit point.

        Args:
          state: plain values, fit for JSON.
          changed: arrays that are not those of the last commit, by name, e.g. "segmentor" or "label_maps/g0".
          keep: names whose files of the last commit still count, where they are not in `changed`.

        Raises:
          UserError: if the disk is full or can't be written; the last commit then stands.
        """
        with self._writing():
            self._commit(state, changed, keep)

    def _commit(self, state: dict[str, Any], changed: Mapping[str, ArraySource], keep: set[str]) -> None:
        number = self.state.get("commit", 0) + 1
        files: dict[str, Entry] = {n: e for n, e in self.state.get("files", {}).items() if n in keep | self._pinned}
        for name, source in changed.items():
            folder, _, stem = name.rpartition("/")
            path = self.path / (folder or "checkpoints") / f"{stem}-{number:06d}.arrays"
            files[name] = write_arrays(path, source(), self.path)
        self._append_journal()
        self.state = {
            **state,
            "commit": number,
            "files": files,
            "journal": {"bytes": self._journal_bytes, "sha256": self._journal_digest.hexdigest()},
        }
        text = json.dumps(self.state)
        digest = hashlib.sha256(text.encode()).hexdigest()
        write_atomically(self.path / "state.json", json.dumps({"sha256": digest, "state": text}).encode())
        self._prune()

    def _append_journal(self) -> None:
        if not self._journal_lines:
            return
        data = "".join(self._journal_lines).encode()
        with open(self.path / "journal.jsonl", "r+b") as file:
            file.seek(self._journal_bytes)
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        self._journal_lines = []
        self._journal_bytes += len(data)
        self._journal_digest.update(data)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of the last commit. Raises UserError naming the file if it is damaged."""
        return read_arrays(self.state["files"][name], self.path)

    def journal(self) -> list[dict[str, Any]]:
        """All events, committed or not."""
        with open(self.path / "journal.jsonl") as file:
            return [json.loads(line) for line in [*file, *self._journal_lines]]

    def write(self, name: str, content: str | bytes) -> Path:
        """Writes a file for people, such as a table; atomically, in place of an older one."""
        path = self.path / name
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content.encode() if isinstance(content, str) else content)
        return path

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A disk that is full or read-only is the user's to mend; the last commit stands."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"can't write in the run directory {self.path}: {error.strerror}; what was committed is safe, "
                "the same command goes on from there."
            ) from error

    def close(self) -> None:
        """Lets other processes in."""
        self._lock.close()


def _first_difference(before: str, after: str) -> str:
    lines_before, lines_after = before.splitlines(), after.splitlines()
    removed = [line for line in lines_before if line not in lines_after]
    added = [line for line in lines_after if line not in lines_before]
    return f"there: {removed[0] if removed else 'nothing'!r}, now: {added[0] if added else 'nothing'!r}"


def arrays_of_run(run_dir: Path | str, name: str) -> dict[str, np.ndarray]:
    """Arrays another run last committed, such as its "baseline"; the run is only read and may be running.

    Raises:
      UserError: if there is no such run, it has no such arrays yet, or they are damaged.
    """
    file = Path(run_dir) / "state.json"
    if not file.is_file():
        raise UserError(f"{file} is not there; expected the folder of a run of load_tf.")
    files = _state_of(file).get("files", {})
    if name not in files:
        raise UserError(f"the run in {run_dir} has no {name!r} yet; let it go on first.")
    return read_arrays(files[name], Path(run_dir))


def _state_of(file: Path) -> dict[str, Any]:
    """What a `state.json` holds, checked."""
    try:
        text = json.loads(file.read_text())
        if hashlib.sha256(text["state"].encode()).hexdigest() != text["sha256"]:
            raise ValueError
        return json.loads(text["state"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file} is damaged: it is not what was written; start a new run directory.") from None
