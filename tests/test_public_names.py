"""What `import load_tf` offers: the same names to Python, an editor and a type checker, with examples that run."""

import ast
import doctest
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import load_tf

pytestmark = pytest.mark.portable

ROOT = Path(__file__).resolve().parents[1]
INIT = ROOT / "load_tf/__init__.py"

WITH_EXAMPLE = (
    *("Convention", "Groups", "Lookahead", "any_size", "defaults", "from_official_checkpoint", "paper", "run"),
)
WITHOUT_TENSORFLOW = ("load_tf.algorithm.lookahead", "load_tf.data.groups", "load_tf.segmentors.convention")
"""Modules whose examples are run here; the others need networks, checkpoints and minutes."""


def type_checked(source: str) -> dict[str, str]:
    """By name the module that an editor is sent to: the imports under `if TYPE_CHECKING`."""
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    (block,) = (node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING")
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, f"a type checker exports {alias.name} only `as {alias.name}`"
            found[alias.name] = str(node.module)
    return found


def defined(module: str) -> set[str]:
    """Classes and functions at the top of a module, read off its source."""
    path = ROOT / (module.replace(".", "/") + ".py")
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def docstring(name: str) -> str:
    """Of a public name, read off its source."""
    path = ROOT / (load_tf._EXPORTS[name].replace(".", "/") + ".py")
    nodes = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    (node,) = (node for node in nodes if node.name == name)
    return ast.get_docstring(node) or ""


def test_an_editor_finds_the_names_where_python_does() -> None:
    assert type_checked(INIT.read_text()) == load_tf._EXPORTS
    assert sorted(load_tf._EXPORTS) == load_tf.__all__
    missing = [name for name, module in load_tf._EXPORTS.items() if name not in defined(module)]
    assert missing == [], "not defined there, only imported"


def test_names_that_drift_apart_are_found() -> None:
    moved = INIT.read_text().replace("from load_tf.data.groups import", "from load_tf.data.dataset import")
    assert type_checked(moved) != load_tf._EXPORTS
    with pytest.raises(AssertionError, match="as Groups"):
        type_checked(INIT.read_text().replace("import Groups as Groups", "import Groups"))


def test_a_name_is_imported_when_it_is_used() -> None:
    code = (
        "import sys, load_tf\n"
        "print(sorted(name for name in sys.modules if name.startswith('load_tf')))\n"
        "load_tf.Lookahead\n"
        "print(sorted(name for name in sys.modules if name.startswith('load_tf')))\n"
        "print(hasattr(load_tf, 'Lookahed'), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    before, after, rest = done.stdout.splitlines()
    assert before == "['load_tf']" and "load_tf.algorithm.lookahead" in after and rest == "False False", done.stderr


def test_python_finds_what_is_named() -> None:
    assert load_tf.UserError is importlib.import_module("load_tf.errors").UserError
    assert set(load_tf.__all__) <= set(dir(load_tf))
    with pytest.raises(AttributeError, match="no attribute 'Lookahed'"):
        load_tf.Lookahed  # noqa: B018


def examples(name: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(docstring(name))


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_an_example_is_short_and_is_python(name: str) -> None:
    found = examples(name)
    assert 1 <= len(found) <= 10
    for example in found:
        ast.parse(example.source)


def doctests() -> Iterator[doctest.DocTest]:
    for module in WITHOUT_TENSORFLOW:
        yield from (test for test in doctest.DocTestFinder().find(importlib.import_module(module)) if test.examples)


def test_examples_that_need_no_tensorflow_give_what_they_say() -> None:
    tests = list(doctests())
    assert {test.name.rpartition(".")[2] for test in tests} >= {"Convention", "Groups", "Lookahead"}
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0, test.name
