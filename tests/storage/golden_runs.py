"""Runs of an older revision, kept to be read and resumed: `python -m tests.storage.golden_runs` makes them again.

The runs are of a revision: those that are kept stay as they are when the code changes. Whoever changes the format on
purpose makes further ones beside them.

A tiny game of two cycles with a script (`tests/scripted.py`), so that there is a peak, an end model below the lower
bound and a second peak. `finished` has ended; `half` was killed in its second cycle, after an iteration better than the
start; `learning` was killed while the discriminator was trained for the first cycle. Left out is what nothing reads or
the code makes again: TensorBoard, the SavedModel, and the pictures and pages of the report.
"""

import json
import platform
import signal
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

from tests import forked, tiny

FOLDER = Path(__file__).resolve().parent / "golden"

BINDINGS = """
experiment.name = 'golden'
synthetic.train = 6
synthetic.validation = 6
experiment.holdout_images = 3
keras_model.path = 'tiny.keras'
StageOne.batch_size = 2
Discriminator.architecture = 'convolutional'
Discriminator.sees = 'masks'
Discriminator.alpha = 0.02
AdversarialTraining.learning_rate = 1e-2
Lookahead.patience = 2
Lookahead.max_cycles = 2
"""

SCRIPT = """
from tests import scripted
scripted.SCRIPT = ((scripted.RISE, scripted.FALL), (scripted.RISE, scripted.STAY, scripted.STAY))
"""

LEFT_OUT = ("tensorboard", "saved_model", ".lock", "convergence.png", "qualitative.png", "pictures.json", "index.html")

KILLS = {"half": ("best_confusion", 1), "learning": ("best_epoch", 0)}
"""The commit after whose rename a run is killed: the one with that file, counted from 0."""


def run(folder: Path, run_dir: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a Python program with the command line of `load_tf.main` in the folder of the gin file."""
    words = ["-c", program, *arguments, "--gin_file=golden.gin", f"--run_dir={run_dir}"]
    return forked.run(words, folder, tiny.environment())


def make(revision: str) -> None:
    """Makes the archives of the present code, NAME-REVISION.tar.xz, each the folder that its command runs in."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tiny.write(folder, BINDINGS, "golden", deep=False)
        done = run(folder, "finished", SCRIPT + tiny.KILLED, f"renames:{folder / 'renames'}")
        assert done.returncode == 0, done.stderr
        _pack(folder, "finished", revision)
        renames = (folder / "renames").read_text().split()
        for name, (file, number) in KILLS.items():
            place = [at for at, renamed in enumerate(renames) if renamed.startswith(f"{file}-")][number]
            commit = next(renamed for renamed in renames[place:] if renamed.startswith("state.json@"))
            killed = run(folder, name, SCRIPT + tiny.KILLED, f"{commit}:after")
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            _pack(folder, name, revision)


def _pack(folder: Path, name: str, revision: str) -> None:
    archive = FOLDER / f"{name}-{revision}.tar.xz"
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for file in [folder / "golden.gin", folder / "tiny.keras", *sorted((folder / name).rglob("*"))]:
            inside = file.relative_to(folder)
            if file.is_file() and not set(inside.parts) & set(LEFT_OUT):
                # Every run is unpacked as "run".
                packed.add(file, Path("run", *inside.parts[1:]) if inside.parts[0] == name else inside, filter=_nobodys)
    print(archive.name, archive.stat().st_size)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks an archive as if its run had been begun on this machine; returns the run directory."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    file = folder / "run/environment.json"
    here = {name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
    here |= {"python": platform.python_version(), "machine": platform.machine()}
    file.write_text(json.dumps({**json.loads(file.read_text()), **here}))
    return folder / "run"


if __name__ == "__main__":
    make(sys.argv[1])
