"""The project's pages, and what stands in their code blocks."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests import forked, tiny

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a language; "" for those that name none, which hold commands."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", page.read_text(), re.M | re.S)
    return [re.sub(rf"^{indent}", "", text, flags=re.M) for indent, name, text in found if name == language]


def module_commands(page: Path) -> Iterator[list[str]]:
    """`python -m load_tf...` of a page's blocks, as words: the module, then its arguments."""
    for block in blocks(page, ""):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                if part.strip().startswith("python -m load_tf"):
                    yield shlex.split(part, comments=True)[2:]


def gin_bindings(text: str) -> dict[str, str]:
    """What gin text binds, in blocks (`Lookahead:`) or line by line: the values' text by "object.parameter"."""
    found, block = {}, ""
    for line in text.splitlines():
        if opening := re.fullmatch(r"([\w/]+):\s*", line):
            block = f"{opening[1]}."
        elif binding := re.fullmatch(r"( *)([\w/.]+) = (.+?)(?:  # .*)?", line):
            found[(block if binding[1] else "") + binding[2]] = binding[3]
    return found


def run_module(words: list[str], folder: Path, from_nothing: bool = False) -> str:
    """Runs `python -m` with the words in a folder, as one who has installed load_tf; returns what it printed.

    Args:
      words: the module, and its arguments.
      folder: where.
      from_nothing: as `Tiny.run` says.
    """
    command = ["-m", *words]
    if from_nothing:
        done = subprocess.run(
            [sys.executable, *command],
            env=tiny.environment(),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=1800,
        )
    else:
        done = forked.run(command, folder, tiny.environment(), timeout=1800)
    assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"
    return done.stdout + done.stderr
