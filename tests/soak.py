"""`python -m tests.soak --kills=50`: a whole small run is killed at random moments, again and again.

The run is that of `tests/experiment/test_run.py`: every phase, peaks, fruitless cycles, a flush, an eviction, cycles
ended by the lower bound. Three kinds of SIGKILL, drawn by key: at an operation on the disk (so inside a commit), some
time after one (between commits), and some seconds after the start (while it imports, reads or restores). When a run
ends, the next begins in a new folder, until there were enough kills. Every restart must go on, every file of every
commit and every file at the end must be those of the undisturbed run, bit for bit.
"""

import argparse
import collections
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from load_tf.randomness import generator
from load_tf.storage.arrays import read_arrays
from load_tf.storage.run_state import decode
from tests.experiment.test_run import journal, of, result, test_the_run_has_every_turn
from tests.tiny import Tiny, environment

# argv: the operation to count to (-1: none), seconds to wait then, a log of the commits; then the command's own.
KILLED = """
import json, os, signal, sys, threading
point, delay, log = int(sys.argv.pop(1)), float(sys.argv.pop(1)), sys.argv.pop(1)
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def write_down(**values):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, json.dumps(values).encode() + b"\\n")
    os.close(descriptor)
done = 0
def step(name):
    global done
    done += 1
    if done == point:
        write_down(killed=name)
        kill() if not delay else threading.Timer(delay, kill).start()
if point < 0:
    timer = threading.Timer(delay, kill)
    timer.daemon = True
    timer.start()
def counted(function, name):
    def call(*arguments):
        where = name(*arguments)
        step("before " + where)
        if where == "renaming state.json":
            state = json.loads(json.load(open(arguments[0]))["state"])
            files = {name: entry["sha256"] for name, entry in state["files"].items()}
            write_down(commit=state["commit"], phase=state["phase"], files=files, journal=state["journal"])
        returned = function(*arguments)
        step("after " + where)
        return returned
    return call
os.replace = counted(os.replace, lambda source, target: "renaming " + os.path.basename(target).partition("-")[0])
os.fsync = counted(os.fsync, lambda descriptor: "bringing to the disk")
from tests import scripted
scripted.main.main()
"""


class Soak:
    """The undisturbed run, and what is compared with it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.tiny, self.seed = Tiny(folder), seed
        self.path = folder / "undisturbed"
        returned, _, said = self.start(self.path, -1, 1e6, folder / "undisturbed.log")
        assert returned == 0, said
        test_the_run_has_every_turn(self.path)
        self.changed = changed_share(self.path)
        assert self.changed > 0.001, f"LoAd changed {self.changed:.2%} of the hold-out's pixels"
        self.commits = {e["commit"]: e for e in read_log(folder / "undisturbed.log") if "commit" in e}
        self.result = result(self.path)
        self.kills: collections.Counter[str] = collections.Counter()
        self.phases: collections.Counter[str] = collections.Counter()
        self.restarts = self.rounds = 0

    def start(self, run: Path, point: int, delay: float, log: Path) -> tuple[int, float, str]:
        """A process of the run; its status, seconds, and what it said."""
        began = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-c", KILLED, str(point), str(delay), str(log)),
                *(f"--gin_file={self.tiny.gin_file}", f"--run_dir={run}"),
            ],
            env=environment(),
            cwd=self.tiny.folder,
            capture_output=True,
            text=True,
            timeout=1500,
        )
        return done.returncode, time.monotonic() - began, done.stderr

    def play(self, kills: int) -> None:
        """Runs, killed until there were so many kills, each compared at its end."""
        while self.kills.total() < kills:
            self.rounds += 1
            self._round(self.tiny.folder / f"run{self.rounds}", kills)

    def _round(self, run: Path, kills: int) -> None:
        log = run.with_suffix(".log")
        while True:
            number = self.kills.total()
            point, delay = (-1, 1e6) if number >= kills else self._draw(number)
            returned, seconds, said = self.start(run, point, delay, log)
            if returned != -signal.SIGKILL:
                assert returned == 0, said
                break
            self.restarts += 1
            self._count(run, log, point, delay, seconds)
        commits = [event for event in read_log(log) if "commit" in event]
        for event in commits:
            assert event == self.commits[event["commit"]], f"commit {event['commit']} of {run} is another"
        assert {event["commit"] for event in commits} == set(self.commits)
        assert result(run) == self.result, f"{run} ended otherwise"
        print(f"{run.name} ended as the undisturbed run", flush=True)

    def _draw(self, number: int) -> tuple[int, float]:
        random = generator(self.seed, "soak", number)
        kind = random.random()
        if kind < 0.15:
            return -1, float(random.uniform(0.5, 15))
        return int(random.integers(1, 60)), 0.0 if kind < 0.7 else float(random.uniform(0, 3))

    def _count(self, run: Path, log: Path, point: int, delay: float, seconds: float) -> None:
        kind = "some seconds after the start" if point < 0 else "between commits" if delay else "inside a commit"
        self.kills[kind] += 1
        state = run / "state.json"
        found: dict[str, Any] = decode(state.read_bytes()) if state.exists() else {"phase": "none", "commit": 0}
        phase = found.get("lookahead", {}).get("phase", found["phase"])
        self.phases[phase] += 1
        where = read_log(log)[-1].get("killed", "") if point >= 0 else ""
        print(
            f"kill {self.kills.total():3d} {run.name} after {seconds:5.1f} s, {kind} {where}: "
            f"at commit {found['commit']} ({phase})",
            flush=True,
        )

    def summary(self) -> str:
        events = journal(self.path)
        return (
            f"{self.kills.total()} kills ({', '.join(f'{n} {kind}' for kind, n in self.kills.items())}) in "
            f"{self.rounds} runs of {len(self.commits)} commits, {len(of(events, 'cycle_end'))} cycles and "
            f"{len(of(events, 'peak'))} peaks, which changed {100 * self.changed:.2f} % of the hold-out's pixels; "
            f"killed after a commit of the phase: {dict(self.phases)}; {self.restarts} restarts, every one went on; "
            "every commit and every end bit for bit that of the undisturbed run."
        )


def read_log(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def changed_share(run: Path) -> float:
    """At least this share of the hold-out's pixels has another label than before: from the confusion matrices."""
    state = decode((run / "state.json").read_bytes())
    both = [read_arrays(state["files"][f"confusion_{name}"], run)["confusion"] for name in ("baseline", "load")]
    summary = json.loads((run / "report/summary.json").read_text())
    from load_tf.data.synthetic import synthetic

    ids = synthetic(train=24, validation=12, size=(48, 64)).split("validation").ids
    rows = [ids.index(i) for i in summary["holdout_ids"]]
    return float(np.abs(both[0][rows] - both[1][rows]).sum() / 2 / both[0][rows].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), arguments.seed)
        print(f"the undisturbed run is in order, {hashlib.sha256(repr(soak.result).encode()).hexdigest()[:16]}")
        soak.play(arguments.kills)
        print(soak.summary())


if __name__ == "__main__":
    main()
