"""A disk that fails, and a small game that is played on it: `python -m tests.faults` breaks it everywhere, and counts.

`FaultyDisk` stands between the run directory and the disk: it counts every operation that changes something, and makes
one of them fail, or end the process, which the test then starts again. The game is Algorithm 1 itself on networks of a
few numbers, so that a whole run with every commit takes milliseconds and can be broken at each of its operations.
"""

import collections
import dataclasses
import errno
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from load_tf.algorithm.lookahead import Lookahead, State, play
from load_tf.errors import UserError
from load_tf.progress import progress
from load_tf.randomness import generator
from load_tf.storage import arrays, run_directory
from load_tf.storage.run_directory import RunDirectory

KINDS = ("full", "broken", "half", "dropped", "before", "during", "after", "power")
CONFIG = "Lookahead.patience = 3\n"
SETTINGS = Lookahead(max_fruitless_cycles=3, patience=3, upper=0.0, lower=0.01, max_buffer_sets=2, max_cycles=5)


class Killed(BaseException):
    """Ends the process that meets it."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens at one operation.

    Attributes:
      kind: "full" or "broken": ENOSPC or EIO instead of the operation; "half": a write stops in the middle with ENOSPC;
        "dropped": a write loses its second half and says nothing; "before", "after" and "during": killed there;
        "power": as "after", and what was not brought to the disk is lost; "lies": the same on a disk that
        brings nothing there though it says so.
      at: the number of the operation, from 0.
    """

    kind: str
    at: int


class FaultyDisk:
    """Patches the disk operations of `arrays` and `run_directory`."""

    def __init__(self, patch: pytest.MonkeyPatch, fault: Fault | None = None) -> None:
        self.fault = fault
        self.done: list[str] = []
        self.dead = False
        self._unsynced: dict[int, tuple[Path, int]] = {}
        self._renamed: list[tuple[Path, bytes | None]] = []
        self._replace, self._truncate, self._unlink = os.replace, os.truncate, Path.unlink
        patch.setattr(os, "fsync", lambda descriptor: self._step("fsync", lambda: self._sync(descriptor)))
        patch.setattr(os, "replace", lambda a, b: self._step("rename", lambda: self._rename(Path(a), Path(b))))
        patch.setattr(os, "truncate", lambda p, n: self._step("truncate", lambda: self._truncate(p, n)))
        patch.setattr(
            Path, "unlink", lambda path, missing_ok=False: self._step("unlink", lambda: self._unlink(path, missing_ok))
        )
        for module in (arrays, run_directory):
            patch.setattr(module, "open", self._open, raising=False)

    def _step(self, name: str, operation: Callable[[], Any], half: Callable[[], Any] = lambda: None) -> Any:
        if self.dead:
            raise Killed
        number = len(self.done)
        self.done.append(name)
        if self.fault is None or self.fault.at != number:
            return operation()
        kind = self.fault.kind
        if kind in ("full", "broken"):
            code = errno.ENOSPC if kind == "full" else errno.EIO
            raise OSError(code, os.strerror(code))
        if kind == "half":
            half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if kind == "dropped":
            return half() if name == "write" else operation()
        if kind == "during":
            half()
        if kind in ("after", "power", "lies"):
            operation()
        self.dead = True
        if kind in ("power", "lies"):
            self._lose()
        raise Killed

    def _open(self, path: Path, mode: str = "r", **options: Any) -> Any:
        file: Any = open(path, mode, **options)  # noqa: SIM115 - whoever asked for it closes it
        return _Counted(file, self) if mode in ("wb", "r+b") else file

    def _sync(self, descriptor: int) -> None:
        if self.fault is not None and self.fault.kind == "lies":
            return
        # The real one would take most of the tests' time, and only a real power failure could tell the difference.
        if self._unsynced.pop(descriptor, None) is None:
            self._renamed.clear()  # a folder's

    def _rename(self, source: Path, target: Path) -> None:
        self._renamed.append((target, target.read_bytes() if target.exists() else None))
        self._replace(source, target)
        for descriptor, (path, synced) in self._unsynced.items():
            if path == source:
                self._unsynced[descriptor] = target, synced

    def _lose(self) -> None:
        """The power fails: files keep half of what was not synced, names go back to what they were."""
        for path, synced in self._unsynced.values():
            if path.exists():
                self._truncate(path, synced + (path.stat().st_size - synced) // 2)
        if self.fault is not None and self.fault.kind == "lies":
            return  # names arrive before contents, as on file systems that journal no more than names
        for target, before in reversed(self._renamed):
            if before is None:
                self._unlink(target)
            else:
                target.write_bytes(before)


class _Counted:
    """A file whose writes go straight to the disk and are operations of it."""

    def __init__(self, file: BinaryIO, disk: FaultyDisk) -> None:
        self._file, self._disk = file, disk

    def __enter__(self) -> "_Counted":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes | memoryview) -> None:
        descriptor, path = self._file.fileno(), Path(self._file.name)
        if self._disk._unsynced.get(descriptor, (None, 0))[0] != path:
            self._disk._unsynced[descriptor] = path, path.stat().st_size

        def write(count: int) -> None:
            self._file.write(bytes(data)[:count])
            self._file.flush()

        self._disk._step("write", lambda: write(len(data)), lambda: write(len(data) // 2))


class SmallGame:
    """Algorithm 1's world, of a few numbers each; every draw is keyed, as in the real one."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.values = {name: np.zeros(40) for name in ("segmentor", "start", "best", "discriminator")}
        self.values["segmentor"] = self.values["start"] = generator(0, "start").normal(size=40)
        self.sets: dict[str, np.ndarray] = {}
        self.updates = 0

    def evaluate(self) -> float:
        return 0.5 + 0.03 * float(np.tanh(self.values["segmentor"][:4].sum()))

    def race(self, floor: float, best: float, error: float, best_is_start: bool) -> tuple[float, int | None]:
        return self.evaluate(), None

    def go_back(self) -> None:
        self.values["segmentor"] = self.values["start"]
        self.run.forget_ahead("segmentor")

    def reset_momentum(self) -> None:
        pass

    def confidence(self) -> float:
        return 1.0

    def update(self, cycle: int, iteration: int) -> bool:
        self.updates += 1
        step = generator(0, "update", self.updates).normal(size=40) + 0.1 * self.values["discriminator"]
        self.values["segmentor"] = self.values["segmentor"] + 0.4 * step
        self.run.write_ahead("segmentor", lambda: {"w": self.values["segmentor"]})
        self.record("update", cycle=cycle, norm=float(np.linalg.norm(step)))
        return True

    def keep_best(self) -> None:
        self.values["best"] = self.values["segmentor"]

    def promote_best(self) -> None:
        self.values["start"] = self.values["best"]

    def aggregate(self, name: str, cycle: int) -> None:
        model = self.values["segmentor" if name.startswith("ge") else "start"]
        self.sets[name] = (1000 * model).astype(np.int64).astype(np.uint8)

    def train_discriminator(self, buffer: list[str], cycle: int) -> None:
        self.sets = {name: self.sets[name] for name in buffer}
        total = sum(float(one.sum()) for one in self.sets.values())
        self.values["discriminator"] = generator(int(total), "discriminator", cycle).normal(size=40)

    def record(self, event: str, **values: Any) -> None:
        self.run.record(event, **values)

    def commit(self, state: State) -> None:
        sources: dict[str, Callable[[], dict[str, np.ndarray]]] = {
            name: functools.partial(dict, w=value) for name, value in self.values.items()
        }
        sources |= {f"label_maps/{name}": functools.partial(dict, maps=maps) for name, maps in self.sets.items()}
        known = self.run.state.get("files", {})
        changed = {name: source for name, source in sources.items() if name not in known or "/" not in name}
        plain = {"phase": "lookahead", "lookahead": state.to_json(), "updates": self.updates}
        self.run.commit(plain, changed, set(sources))

    def resume(self) -> State | None:
        if self.run.state.get("phase") != "lookahead":
            return None
        for name in self.run.state["files"]:
            if name.startswith("label_maps/"):
                self.sets[name.removeprefix("label_maps/")] = self.run.arrays(name)["maps"]
            else:
                self.values[name] = self.run.arrays(name)["w"]
        self.updates = self.run.state["updates"]
        return State.from_json(self.run.state["lookahead"])


def play_on(path: Path, fault: Fault | None = None) -> dict[str, bytes]:
    """A process: begins the small run, or goes on with it, to its end and its report; returns the files it leaves."""
    with pytest.MonkeyPatch.context() as patch:
        FaultyDisk(patch, fault)
        _play_on(path)
    return content(path)


def operations(path: Path) -> list[str]:
    """What an undisturbed run does to the disk, in order."""
    with pytest.MonkeyPatch.context() as patch:
        disk = FaultyDisk(patch)
        _play_on(path)
    return disk.done


def _play_on(path: Path) -> None:
    run = RunDirectory(path, CONFIG)
    try:
        if run.state.get("phase") != "done":
            game = SmallGame(run)
            state = play(game, SETTINGS, game.resume())
            run.write("report/table1.csv", "class,baseline\n" + f"{state.start_miou}\n" * 20)
            run.write("report/convergence.png", bytes(range(256)))
            run.commit({"phase": "done"}, {}, {"start"}, last=True)
    finally:
        run.close()


def content(path: Path) -> dict[str, bytes]:
    """All files of a run that mean something, by name."""
    names = {
        str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file() and f.name != ".lock"
    }
    return {name: data for name, data in names.items() if not name.startswith("damaged/")}


def main() -> None:
    """Tries every fault at every operation of the small run, or every n-th, and prints what came of it."""
    stride = int(sys.argv[1]) if sys.argv[1:] else 1
    tried: collections.Counter[tuple[str, str]] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = play_on(Path(folder) / "undisturbed")
        done = operations(Path(folder) / "counted")
        cases = [(kind, at) for kind in KINDS for at in range(0, len(done), stride)]
        for kind, at in progress(cases, "faults", len(cases), "fault"):
            if kind in ("half", "dropped") and done[at] != "write":
                continue
            path = Path(folder) / "run"
            try:
                play_on(path, Fault(kind, at))
                outcome = "UNNOTICED"
            except (UserError, Killed) as end:
                outcome = "one sentence" if isinstance(end, UserError) else "killed"
            same = play_on(path) == undisturbed
            tried[kind, f"{outcome}, {'then as undisturbed' if same else 'then DIFFERENT'}"] += 1
            shutil.rmtree(path)
    print(f"{len(done)} operations in a run: {dict(collections.Counter(done))}")
    for (kind, outcome), count in tried.items():
        print(f"{kind:>8} {count:6d}  {outcome}")


if __name__ == "__main__":
    main()
