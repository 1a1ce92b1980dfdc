"""--help of every console script: what the command does and its flags, without waiting for TensorFlow."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.portable

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).resolve().parent / "golden/commands.txt"
SCRIPTS = re.findall(r'"(load_tf[\w-]*)=([\w.]+):main"', (ROOT / "setup.py").read_text())


def test_these_are_the_console_scripts() -> None:
    """`golden/commands.txt` is what users type: a command that is gone or renamed breaks their scripts."""
    listed = [line.split()[:2] for line in GOLDEN.read_text().splitlines()]
    assert [[script, module.removesuffix(".__main__")] for script, module in SCRIPTS] == listed


@pytest.mark.parametrize(("script", "module"), SCRIPTS)
def test_help_of_a_console_script(script: str, module: str) -> None:
    """Started as setuptools' scripts are: the file that runs holds no docstring and defines no flag."""
    code = f"import sys; sys.modules['tensorflow'] = None; from {module} import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m {module.removesuffix('.__main__')} " in done.stdout
    flags = re.findall(r"^  --(\w+)", done.stdout, re.M)
    assert len(flags) >= 1 and flags == sorted(flags), script
    (golden,) = (line.split()[2:] for line in GOLDEN.read_text().splitlines() if line.split()[0] == script)
    # A flag that takes no value ends without "=".
    assert re.findall(r"^  (--\w+=?)", done.stdout, re.M) == golden, script
    assert all(len(line) <= 120 for line in done.stdout.splitlines())
    assert "repeat this option" not in done.stdout and "alsologtostderr" not in done.stdout
