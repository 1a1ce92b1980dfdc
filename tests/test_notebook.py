"""docs/notebook.ipynb as it stands: its code cells, one after the other, as a notebook runs them."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT

NOTEBOOK = ROOT / "docs/notebook.ipynb"

RUNNER = """
import ast, json, sys
namespace = {"__name__": "__main__"}
for number, source in enumerate(json.load(sys.stdin)):
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), namespace)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), namespace)
        if shown is not None:
            print(f"shown by cell {number}:", getattr(shown, "_repr_html_", lambda: repr(shown))())
"""
"""A cell's statements, then what it shows: its last expression, as HTML where it has some."""


def cells(kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def run(sources: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(sources),
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1200,
    )


def test_it_is_a_notebook_without_outputs_or_magics() -> None:
    content: dict[str, Any] = json.loads(NOTEBOOK.read_text())
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"]), "version 4.5 asks for ids"
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 6 and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    for source in cells("code"):
        ast.parse(source)
    assert cells("code")[0] == "import load_tf", "before TensorFlow, whose notes it keeps out"


def test_a_cell_that_fails_is_found(tmp_path: Path) -> None:
    """Negative control: names go from cell to cell, what a cell shows is shown, and an error is no success."""
    done = run(["a = 3", "print(a)\na + 1", "a += missing"], tmp_path)
    assert done.stdout == "3\nshown by cell 1: 4\n" and done.returncode != 0 and "'missing'" in done.stderr


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    done = run(cells("code"), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("time: about ") == 1 and "12 untouched images: mIoU" in done.stdout
    assert "shown by cell" in done.stdout and "Lookahead(max_fruitless_cycles=4, patience=5" in done.stdout
    assert "NodeDef" not in done.stderr and "cuInit" not in done.stderr
    assert (tmp_path / "runs/notebook/report/index.html").is_file() and (tmp_path / "better.keras").is_file()
