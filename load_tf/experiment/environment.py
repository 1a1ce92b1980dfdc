"""The machine and the versions a run was begun with; with others its bits would be those of another run."""

import json
import subprocess
from pathlib import Path
from typing import Any

from load_tf.devices import surroundings, workers
from load_tf.errors import UserError
from load_tf.experiment.plan import Plan
from load_tf.storage.run_directory import RunDirectory


def write_environment(directory: RunDirectory, plan: Plan) -> None:
    """`environment.json`; a resume under another environment is refused, since its bits would differ.

    Raises:
      UserError: naming what differs.
    """
    if not workers.of(plan.strategy).is_chief:
        return
    environment = plan.runtime.environment(plan.strategy)
    file = directory.path / "environment.json"
    if file.is_file() and directory.state:
        try:
            before = dict(json.loads(file.read_text()))
        except (ValueError, TypeError):
            raise UserError(f"{file} is damaged: it is not what was written; start a new run directory.") from None
        for name, value in environment.items():
            # What an older version did not write down can't differ.
            if before.get(name, value) != value:
                raise UserError(
                    f"{directory.path} was begun with {name} {before.get(name)!r}, now it is {value!r}; results would "
                    "not be those of one run. Resume where it was begun, or choose another --run_dir."
                )
        return
    # What a resume may find changed: it is not looked at again.
    noted: dict[str, Any] = {"git_revision": _git_revision(), "seed": plan.experiment.seed}
    if surroundings.overridden:
        noted["overridden"] = surroundings.overridden
    directory.write("environment.json", json.dumps({**environment, **noted}, indent=1) + "\n")


def _git_revision() -> str | None:
    """The checkout's revision, or None where the package is installed."""
    package = Path(__file__).resolve().parents[2]
    if not (package / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(package), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
