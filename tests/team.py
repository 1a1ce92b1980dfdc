"""Runs of the command on one process or several, which know each other by TF_CONFIG on this machine."""

import contextlib
import json
import random
import re
import socket
import time
from collections.abc import Collection
from pathlib import Path

from tests import forked, tiny

BINDINGS = """
experiment.name = 'team'
synthetic.train = 14
synthetic.validation = 11
experiment.holdout_images = 7
experiment.evaluation_batch_size = 2
StageOne.batch_size = 3
Discriminator.architecture = 'convolutional'
Discriminator.sees = 'both'
Discriminator.alpha = 0.2
AdversarialTraining.learning_rate = 2e-2
Sampling.temperature = 2.0
Lookahead.patience = 3
Lookahead.max_cycles = 3
"""

# A worker that is slow to give others up or quick, and suffers something at the end of the call of a phase that has a
# given number: SIGKILL, SIGSTOP, SIGSTOP for some seconds (pause), or being busy for some (sleep).
WRAPPED = """
import os, signal, subprocess, sys, time
from load_tf import commands, main
commands.quiet_tensorflow()
from load_tf.devices import presence, workers
silent, start, point = float(sys.argv.pop(1)), float(sys.argv.pop(1)), sys.argv.pop(1)
if silent:
    workers.SILENT_SECONDS, workers.ANSWER_SECONDS = silent, silent / 4
if start:
    presence.START_SECONDS = start
phase, number, what, seconds = (point + ":::").split(":")[:4]
left = int(number or 1)
def suffer():
    print("suffers at", time.time(), file=sys.stderr, flush=True)
    if what == "sleep":
        time.sleep(float(seconds))
        return
    if what == "pause":
        subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"], stderr=subprocess.DEVNULL)
    os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)
def suffering(method):
    def call(*arguments, **options):
        global left
        result = method(*arguments, **options)
        left -= 1
        if left == 0:
            suffer()
        return result
    return call
from load_tf.game import game
from load_tf.evaluation import evaluator
from load_tf.experiment import results
from load_tf.training import discriminator, segmentor, stage_one
points = {
    "stage one": (stage_one.CrossEntropyTrainer, "train_loop_end"),
    "discriminator": (discriminator.DiscriminatorTrainer, "train_loop_end"),
    "adversarial": (segmentor.SegmentorTrainer, "train_loop_end"),
    "aggregation": (game.Aggregation, "_maps_of"),
    "evaluation": (game.AdversarialGame, "evaluate"),
    "report": (results, "_confusion_matrices"),
}
if phase:
    owner, name = points[phase]
    setattr(owner, name, suffering(getattr(owner, name)))
main.main()
"""


def free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago, and that the system gives to nobody who does not ask for them by number."""
    ports: list[int] = []
    while len(ports) < number:
        port = random.randrange(12000, 32000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            ports = [*(other for other in ports if other != port), port]
    return ports


class Done:
    """How a process ended."""

    def __init__(self, process: forked.Process) -> None:
        self.process = process
        self.stdout = self.stderr = ""
        self.seconds = 0.0
        """From when one suffered something, else from the first process's end, to this one's end."""

    @property
    def status(self) -> int:
        return self.process.returncode

    @property
    def sentences(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("load_tf:")]

    @property
    def suffered(self) -> float | None:
        """When, in seconds since the epoch."""
        said = re.search(r"^suffers at ([\d.]+)$", self.stderr, re.MULTILINE)
        return float(said[1]) if said else None


def finish(processes: list[forked.Process], timeout: float = 500, hung: Collection[int] = ()) -> list[Done]:
    """Waits for all, and reads what they said.

    Args:
      processes: those of a run, by worker.
      timeout: in seconds; what has not ended by then is killed.
      hung: workers that are stopped for good: they are killed when the others have ended.
    """
    done = [Done(process) for process in processes]
    ended: dict[int, float] = {}
    until = time.monotonic() + timeout
    while len(ended) < len(done) - len(hung) and time.monotonic() < until:
        for number, process in enumerate(processes):
            if number not in ended and process.poll() is not None:
                ended[number] = time.time()
        time.sleep(0.05)
    for number, one in enumerate(done):
        if number not in ended:
            one.process.kill()
        one.stdout, one.stderr = one.process.communicate()
    began = min([one.suffered for one in done if one.suffered] or ended.values(), default=0.0)
    for number, one in enumerate(done):
        one.seconds = ended.get(number, float("inf")) - began
    return done


class Team:
    """A config on disk, and runs of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.addresses: list[str] = []
        self.gin_file = tiny.write(folder, BINDINGS, "team", deep=False)

    def start(
        self,
        run_dir: Path,
        workers: int,
        *params: str,
        suffer: dict[int, str] | None = None,
        silent: float = 0.0,
        start: float = 0.0,
        absent: Collection[int] = (),
    ) -> list[forked.Process]:
        """Starts a run.

        Args:
          run_dir: its folder.
          workers: how many processes; 1 is one without TF_CONFIG.
          *params: gin bindings over the file's.
          suffer: for a worker `PHASE:NUMBER:WHAT`, the call of that phase at whose end it suffers "kill", "stop",
            "pause:SECONDS" or "sleep:SECONDS".
          silent: the `SILENT_SECONDS` of all; 0: the program's.
          start: the `START_SECONDS` of all, likewise; only with `silent`.
          absent: workers that do not start.
        """
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
        cluster = {"worker": self.addresses}
        processes = []
        for index in range(workers):
            if index in absent:
                continue
            point = (suffer or {}).get(index, "")
            command = ["-c", WRAPPED, str(silent), str(start), point] if point or silent else ["-m", "load_tf.main"]
            task = {"type": "worker", "index": index}
            variables = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})} if workers > 1 else {}
            words = [*command, f"--gin_file={self.gin_file}", f"--run_dir={run_dir}"]
            words += [f"--gin_param={param}" for param in params]
            processes.append(forked.Process(words, self.folder, tiny.environment(**variables)))
        return processes
