"""A run's folder: who may write in it, its journal, and the one commit point.

Everything a run must not lose is written under a new name first; then `state.json`, which names it all, is replaced by
one rename. What `state.json` does not name does not count: a start removes it and cuts the journal back to the length
the state knows. So a run killed anywhere continues from its last commit.

The commit before the last is kept as well, with its files, in `state.previous.json`. A start reads every file that the
newest commit names; if one is gone or not what was written, the run goes on from the commit before, and what the newest
one left is moved to `damaged/`.
"""

import concurrent.futures
import contextlib
import errno
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

from load_tf import interruption
from load_tf.errors import UserError
from load_tf.storage import run_state
from load_tf.storage.arrays import Entry, read_arrays, refuse_short, write_arrays, write_atomically

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
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "run directory")
        self._ahead: dict[str, concurrent.futures.Future[Entry]] = {}
        self._attached: dict[str, ArraySource] = {}
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
        except OSError as error:
            self._lock.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise UserError(f"the file system of {self.path} can't lock files: {error.strerror}.") from None
            raise UserError(
                f"another process is running in {self.path}; wait for it, or choose another --run_dir."
            ) from None
        interruption.run_opened()
        try:
            self._refuse_lost_state(self.path / run_state.NEWEST)
            self.state, self._previous, damage = run_state.find(self.path)
            self._config_digest = hashlib.sha256(config.encode()).hexdigest()
            self._check_config(config)
            self._journal_lines: list[str] = []
            with self._writing():
                if damage is not None:
                    self._step_back(damage)
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
        known = _BEFORE_FIRST_COMMIT if "config.gin" in names else {".lock"}
        if names - known and not (run_state.is_there(self.path) or names >= {"config.gin", run_state.NEWEST}):
            raise UserError(
                f"the run directory {self.path} is not empty and holds no run; choose another --run_dir, "
                "nothing in it is touched."
            )

    def _check_config(self, config: str) -> None:
        """A run is resumed by its own config only; where nothing was committed, there is nothing to protect."""
        file = self.path / "config.gin"
        before = file.read_bytes().decode(errors="replace") if file.exists() else None
        if before == config:
            return
        # A file that was damaged since, or is gone, is no other config.
        if not self.state or self.state.get("config") == self._config_digest:
            with self._writing():
                write_atomically(file, config.encode())
            return
        difference = "its config.gin is gone" if before is None else _first_difference(before, config)
        raise UserError(
            f"{self.path} holds a run of another config ({difference}); "
            "give the same parameters to resume it, or choose another --run_dir."
        )

    def _refuse_lost_state(self, state_file: Path) -> None:
        """Without a state only the files of a first commit that never ended may be there; others aren't pruned."""
        if state_file.exists() or (self.path / run_state.BEFORE).exists():
            return
        for folder in _ARRAY_FOLDERS:
            for file in self.path.glob(f"{folder}/[!.]*"):
                if not file.name.endswith("-000001.arrays"):
                    raise UserError(
                        f"{state_file} is gone, but {file} is there, which the run's first commit did not write; "
                        "put it back or choose another --run_dir."
                    )

    def _step_back(self, damage: str) -> None:
        """Goes back to the commit before the newest; what only the newest names is moved away, not deleted."""
        named = self._named()
        away = self.path / "damaged"
        for folder in _ARRAY_FOLDERS:
            for file in (self.path / folder).glob("[!.]*"):
                if str(file.relative_to(self.path)) not in named:
                    target = away / file.relative_to(self.path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, target)
        newest = self.path / run_state.NEWEST
        if newest.exists():
            away.mkdir(exist_ok=True)
            write_atomically(away / newest.name, newest.read_bytes())
        write_atomically(newest, run_state.encode(self.state))
        print(
            f"load_tf: {damage}; going on from commit {self.state['commit']}, the one before, "
            f"with what is left of the newest in {away}.",
            file=sys.stderr,
        )

    def _recover(self) -> None:
        """Removes what the last two commits do not name: the remains of a process that died."""
        for folder in _ARRAY_FOLDERS:
            (self.path / folder).mkdir(exist_ok=True)
        if self.state.get("last"):
            self._forget_previous()
        self._prune()
        for remains in self.path.glob("**/.*.tmp"):
            remains.unlink()
        journal = self.path / "journal.jsonl"
        journal.touch()
        known = self.state.get("journal", {"bytes": 0})
        data = journal.read_bytes()
        self._journal_digest = hashlib.sha256(data[: known["bytes"]])
        if len(data) > known["bytes"]:
            os.truncate(journal, known["bytes"])
        self._journal_bytes = known["bytes"]

    def _prune(self) -> None:
        named = self._named()
        for folder in _ARRAY_FOLDERS:
            for file in (self.path / folder).iterdir():
                if str(file.relative_to(self.path)) not in named:
                    file.unlink()

    def _named(self) -> set[str]:
        """The files that the last two commits need."""
        states = (self.state, self._previous)
        return {entry["path"] for state in states for entry in state.get("files", {}).values()}

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

    def write_ahead(self, name: str, source: ArraySource) -> None:
        """Begins to write arrays that the next commit will name, while the caller goes on, e.g. with an evaluation.

        They are copied at once and count when a commit names them in `changed`, which waits for them; that they can't
        be written is said there, too. A process that dies before leaves a file that no state names.

        Args:
          name: of the arrays, as in `commit`.
          source: what they are now; if that changes before the commit, call `forget_ahead`.
        """
        self.forget_ahead(name)
        arrays = dict(source())
        self._ahead[name] = self._writer.submit(self._write_arrays, name, arrays)

    def forget_ahead(self, name: str) -> None:
        """What `write_ahead` was given is out of date: the next commit asks its own source."""
        begun = self._ahead.pop(name, None)
        if begun is not None:
            begun.exception()  # waits: two writers must not share a name

    def attach(self, name: str, source: ArraySource) -> None:
        """Arrays that the next commit writes beside its own; later ones keep them if their name is pinned."""
        self._attached[name] = source

    def commit(
        self, state: dict[str, Any], changed: Mapping[str, ArraySource], keep: set[str], last: bool = False
    ) -> None:
        """The one commit point.

        Args:
          state: plain values, fit for JSON.
          changed: arrays that are not those of the last commit, by name, e.g. "segmentor" or "label_maps/g0". Those
            that `write_ahead` was given are not asked for again.
          keep: names whose files of the last commit still count, where they are not in `changed`.
          last: the run is over, so that the commit before this one need not be kept.

        Raises:
          UserError: if the disk is full or can't be written; the last commit then stands.
          Interrupted: if the process was asked to stop; this commit then stands.
        """
        with self._writing():
            self._commit(state, changed, keep, last)
        if not last:
            interruption.stop_if_requested(f"commit {self.state['commit']} of {self.path}")

    def _commit(self, state: dict[str, Any], changed: Mapping[str, ArraySource], keep: set[str], last: bool) -> None:
        files: dict[str, Entry] = {n: e for n, e in self.state.get("files", {}).items() if n in keep | self._pinned}
        changed = {**self._attached, **changed}
        # Those begun ahead first, so that no two write at a time.
        written = {name: self._ahead.pop(name).result() for name in changed if name in self._ahead}
        for name in list(self._ahead):
            self.forget_ahead(name)
        for name, source in changed.items():
            files[name] = written[name] if name in written else self._write_arrays(name, source())
        self._append_journal()
        new = {
            **state,
            "commit": self._next_commit,
            "last": last,
            "config": self._config_digest,
            "files": files,
            "journal": {"bytes": self._journal_bytes, "sha256": self._journal_digest.hexdigest()},
        }
        write_atomically(self.path / run_state.NEWEST, run_state.encode(new))
        # In this order: whenever it is killed, two commits are whole, this one and the last or the last but one.
        self._previous, self.state, self._attached = self.state, new, {}
        if last:
            self._forget_previous()
        elif self._previous:
            write_atomically(self.path / run_state.BEFORE, run_state.encode(self._previous))
        self._prune()

    def _forget_previous(self) -> None:
        """Nothing comes after a run's last commit that could need the one before."""
        self._previous = {}
        (self.path / run_state.BEFORE).unlink(missing_ok=True)

    @property
    def _next_commit(self) -> int:
        return int(self.state.get("commit", 0)) + 1

    def _write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> Entry:
        folder, _, stem = name.rpartition("/")
        path = self.path / (folder or "checkpoints") / f"{stem}-{self._next_commit:06d}.arrays"
        return write_arrays(path, arrays, self.path)

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
            refuse_short(file.fileno(), self._journal_bytes + len(data))
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
        self._writer.shutdown()
        if not self._lock.closed:
            self._lock.close()
            interruption.run_closed()


def _first_difference(before: str, after: str) -> str:
    lines_before, lines_after = before.splitlines(), after.splitlines()
    removed = [line for line in lines_before if line not in lines_after]
    added = [line for line in lines_after if line not in lines_before]
    return f"there: {removed[0] if removed else 'nothing'!r}, now: {added[0] if added else 'nothing'!r}"


def run_holds(run_dir: Path | str, name: str) -> bool:
    """Whether another run's last commit has some arrays, such as its "calibration"."""
    return name in run_state.find(Path(run_dir)).state.get("files", {})


def arrays_of_run(run_dir: Path | str, name: str) -> dict[str, np.ndarray]:
    """Arrays another run last committed, such as its "baseline"; the run is only read and may be running.

    Raises:
      UserError: if there is no such run, it has no such arrays yet, or they are damaged.
    """
    found = run_state.find(Path(run_dir)).state
    if not found:
        raise UserError(f"{run_dir} holds no run; expected the folder of one.")
    if name not in found["files"]:
        raise UserError(f"the run in {run_dir} has no {name!r} yet; let it go on first.")
    return read_arrays(found["files"][name], Path(run_dir))
