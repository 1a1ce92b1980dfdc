"""The smallest experiment on disk: a config, a network, and processes that run it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from absl import flags

from load_tf import commands
from tests import forked

ROOT = Path(__file__).resolve().parents[1]

CONFIG = """
experiment.dataset = @synthetic()
synthetic.size = (48, 64)
experiment.segmentor = @keras_model
keras_model.path = '{model}'
keras_model.pretrained = False
experiment.crop = (49, 65)
StageOne.epochs = 2
StageOne.learning_rate = 0.1
Discriminator.input_size = 32
DiscriminatorTraining.max_epochs = 2
DiscriminatorTraining.patience = 2
DiscriminatorTraining.batch_size = 6
DiscriminatorTraining.optimizer = 'adam'
DiscriminatorTraining.learning_rate = 2e-3
AdversarialTraining.batch_size = 3
Lookahead.upper = 0.0
Lookahead.lower = 0.02
Lookahead.max_buffer_sets = 2
Lookahead.max_fruitless_cycles = 3
Runtime.intra_op_threads = 1
Runtime.inter_op_threads = 1
"""
"""What every whole run of a test has; how many images and which players it has, it adds."""

SCRIPTED = """
experiment.name = 'tiny'
synthetic.train = 24
synthetic.validation = 12
experiment.holdout_images = 6
StageOne.batch_size = 2
Discriminator.alpha = 0.25
Discriminator.batch_norm_momentum = 0.5
AdversarialTraining.learning_rate = 1e-2
Sampling.gumbel_noise = False
Lookahead.patience = 4
Lookahead.max_cycles = 6
"""
"""Beside `CONFIG`: seconds; `tests/scripted.py` has it take every turn of Algorithm 1."""

# Kills its own process at a rename: `FILE:before` or `FILE:after`, where state.json is followed by the commit it holds.
# `renames:FILE` kills nothing and writes down all of them.
KILLED = """
import json, os, signal, sys
from tests import scripted
point, when = sys.argv.pop(1).split(":", 1)
replace = os.replace
def rename(source, target):
    name = os.path.basename(target)
    if name == "state.json":
        name += "@%d" % json.loads(json.load(open(source))["state"])["commit"]
    if point == "renames":
        print(name, file=open(when, "a"))
    if name == point and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if name == point:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = rename
scripted.main.main()
"""


def environment(**variables: str) -> Mapping[str, str]:
    """That of a process which imports this checkout and sees no GPU."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **variables}


def write(folder: Path, bindings: str, name: str = "tiny", deep: bool = True) -> Path:
    """Writes the network and the gin file NAME.gin with these bindings beside `CONFIG`'s; returns the gin file."""
    from tests import networks  # here, so that only who needs the network waits for TensorFlow

    model = folder / "tiny.keras"
    networks.trainable(deep=deep).save(model)
    file = folder / f"{name}.gin"
    file.write_text(CONFIG.format(model=model) + bindings)
    return file


def experiment_flags(monkeypatch: pytest.MonkeyPatch) -> flags.FlagValues:
    """The flags of `commands.define_experiment_flags`, to be parsed in this process in place of its own."""
    values = flags.FlagValues()
    for name in ("gin_file", "gin_param"):
        flags.DEFINE_multi_string(name, [], "", flag_values=values)
    for name in ("data_dir", "checkpoint", "math"):
        flags.DEFINE_string(name, None, "", flag_values=values)
    flags.DEFINE_integer("seed", None, "", flag_values=values)
    monkeypatch.setattr(commands, "FLAGS", values)
    return values


class Tiny:
    """The scripted config on disk, and runs of it."""

    def __init__(self, folder: Path, bindings: str = "") -> None:
        """Writes it.

        Args:
          folder: where.
          bindings: beside those of `SCRIPTED`, or in their place.
        """
        self.folder = folder
        self.gin_file = write(folder, SCRIPTED + bindings)

    def run(
        self, run_dir: Path, *flags: str, kill: str | None = None, from_nothing: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs `tests.scripted` to its end, or to where it is killed.

        Args:
          run_dir: its folder.
          *flags: of the command.
          kill: a point of `KILLED`; None: it isn't.
          from_nothing: with a Python of its own, as users start it; not forked where TensorFlow is imported.
        """
        command = ["-m", "tests.scripted"] if kill is None else ["-c", KILLED, kill]
        words = [*command, f"--gin_file={self.gin_file}", f"--run_dir={run_dir}", *flags]
        if not from_nothing:
            return forked.run(words, self.folder, environment())
        return subprocess.run(
            [sys.executable, *words], env=environment(), cwd=self.folder, capture_output=True, text=True, timeout=500
        )

    def start(self, run_dir: Path) -> forked.Process:
        """Starts `tests.scripted`, to be sent signals."""
        return forked.Process(
            ["-m", "tests.scripted", f"--gin_file={self.gin_file}", f"--run_dir={run_dir}"], self.folder, environment()
        )
