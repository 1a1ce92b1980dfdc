"""What the house promises of its own code, where no linter looks."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "load_tf").rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]

WITHOUT_TENSORFLOW = [
    *(
        "load_tf",
        "load_tf.algorithm.lookahead",
        "load_tf.errors",
        "load_tf.randomness",
        "load_tf.progress",
        "load_tf.storage.arrays",
    ),
    *(
        "load_tf.interruption",
        "load_tf.devices.presence",
        "load_tf.storage.run_state",
        "load_tf.check_dataset",
        "load_tf.data.inspection",
    ),
    *("load_tf.storage.run_directory", "load_tf.commands", "load_tf.main", "load_tf.evaluate", "load_tf.predict"),
    *("load_tf.data.pairs",),
    *("load_tf.data.dataset", "load_tf.data.partition", "load_tf.data.synthetic", "load_tf.data.colours"),
    *(
        "load_tf.evaluation.miou",
        "load_tf.evaluation.bootstrap",
        "load_tf.evaluation.table",
        "load_tf.evaluation.where",
        "load_tf.evaluation.paper",
    ),
    *("load_tf.report.terminal", "load_tf.report.convergence", "load_tf.report.timeline"),
    *("load_tf.report.html", "load_tf.report.pictures", "load_tf.report.__main__", "load_tf.export"),
]

GIN_MODULES = {f"load_tf/experiment/{name}.py" for name in ("registry", "bindings", "config")}
"""The edge: what a gin file can name, and what it is parsed with. Everything else takes plain arguments."""


def tracked() -> list[Path]:
    """The text files of the project."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a checkout to know which files are the project's")
    suffixes = {".py", ".gin", ".md", ".toml", ".txt", ".yml", ".json", ".csv", ""}
    return [ROOT / name for name in listed if (ROOT / name).suffix in suffixes and (ROOT / name).is_file()]


def definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def imports(tree: ast.AST) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def test_the_algorithm_and_the_command_line_need_no_tensorflow() -> None:
    code = (
        "import importlib, sys\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        f"for name in {WITHOUT_TENSORFLOW!r}: importlib.import_module(name)\n"
        "print('imported')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "imported\n", done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_short_and_documented(name: str) -> None:
    text = (ROOT / name).read_text()
    assert text.count("\n") <= 450
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the module has no docstring"
    missing = [node.name for node in definitions(tree) if not ast.get_docstring(node)]
    assert missing == []
    long = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno - docstring_lines(node) >= 60
    ]
    assert long == []


def docstring_lines(node: ast.FunctionDef) -> int:
    return len((ast.get_docstring(node, clean=False) or "").splitlines())


def test_gin_stays_at_the_edges() -> None:
    users = {name for name in NAMES if "gin" in imports(ast.parse((ROOT / name).read_text()))}
    assert users == GIN_MODULES
    assert not [name for name in NAMES if "gin.tf" in (ROOT / name).read_text().split()]


def test_what_pins_tensorflow_is_behind_one_module() -> None:
    def roots(name: str) -> set[str]:
        return {module.partition(".")[0] for module in imports(ast.parse((ROOT / name).read_text()))}

    assert {name for name in NAMES if roots(name) & {"orbit", "official"}} == {"load_tf/devices/loops.py"}


def test_nothing_read_is_ever_run() -> None:
    for name in NAMES:
        tree = ast.parse((ROOT / name).read_text())
        assert imports(tree).isdisjoint({"pickle", "dill", "marshal", "shelve", "joblib"}), name
        called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert called.isdisjoint({"eval", "exec", "compile"}), name


def test_randomness_is_stateless() -> None:
    stateful = re.compile(r"\btf\.random\.(normal|uniform|shuffle|set_seed)|\bnp\.random\.(?!Generator|default_rng)\w+")
    assert [name for name in NAMES if stateful.search((ROOT / name).read_text())] == []
    drawn = [name for name in NAMES if "default_rng" in (ROOT / name).read_text()]
    assert drawn == ["load_tf/randomness.py"]


def test_no_file_names_a_machine_or_leaves_work_undone() -> None:
    paths = re.compile(r"(?<![\w.])/(?:work|home|root|Users|mnt)/\w")
    undone = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME)\b")
    files = tracked()
    assert len(files) > 50
    for file in files:
        text = file.read_text(errors="replace")
        assert not paths.search(text), f"{file}: {paths.search(text)}"
        assert not undone.search(text), f"{file}: {undone.search(text)}"
    assert not [file for file in files if file.name == "utils.py"]


def test_shared_data_are_reached_by_the_fixture_only() -> None:
    """So that whoever lacks them sees a test skipped, not failed."""
    own = Path(__file__).name
    paths = re.compile(r"""\.\./shared|/ ['"]shared['"/]""")
    users = [p for p in (ROOT / "tests").rglob("*.py") if p.name != own and paths.search(p.read_text())]
    assert [str(path.relative_to(ROOT)) for path in users] == ["tests/conftest.py"]
