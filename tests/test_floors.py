"""Imports go downwards only, and never in a circle: the rooms and floors of docs/architecture.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "randomness", "progress", "interruption", "output"),
    ("algorithm", "data", "downloads", "devices", "commands"),
    ("segmentors", "storage"),
    ("evaluation", "discriminator"),
    ("training", "report", "serving"),
    ("methods", "game"),
    ("experiment",),
    ("main", "evaluate", "predict", "export", "check_dataset", "study"),
)
"""From the ground up. A room may import from floors below its own and from rooms that stand before it on its floor."""

DOORS = FLOORS[-1]


def modules(package: Path) -> dict[str, Path]:
    """Every module by dotted name, the package's own name left out; the package itself is ""."""
    names = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(package: Path) -> dict[str, set[str]]:
    """For every module the modules of the package that it imports anywhere, also in functions and for types only."""
    known = modules(package)
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package.name:
                inner = (node.module or "").partition(".")[2]
                for alias in node.names:
                    full = f"{inner}.{alias.name}".lstrip(".")
                    found[name].add(full if full in known else inner)
            elif isinstance(node, ast.Import):
                found[name] |= {a.name.partition(".")[2] for a in node.names if a.name.startswith(f"{package.name}.")}
        found[name] -= {name, ""}
    return found


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports that do not go down."""
    place = {room: (floor, number) for floor, rooms in enumerate(FLOORS) for number, room in enumerate(rooms)}
    return sorted(
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if name and name.split(".")[0] != other.split(".")[0]
        if place[other.split(".")[0]] >= place[name.split(".")[0]]
    )


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or not; empty packages count as what is imported of them."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def test_every_room_has_a_floor_and_nothing_else_stands_in_the_root() -> None:
    rooms = {name.split(".")[0] for name in modules(ROOT / "load_tf")} - {""}
    assert rooms == {room for rooms in FLOORS for room in rooms}
    files = {path.stem for path in (ROOT / "load_tf").glob("*.py")} - {"__init__"}
    assert files == {*FLOORS[0], *DOORS, "commands"} - {"study"}


def test_imports_go_downwards() -> None:
    assert upward(imports(ROOT / "load_tf")) == []


def test_no_circle() -> None:
    assert circles(imports(ROOT / "load_tf")) == []


def test_every_room_says_in_one_sentence_what_it_is_for() -> None:
    for path in (ROOT / "load_tf").rglob("__init__.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        first = docstring.split("\n\n")[0]
        assert first.endswith(".") and 4 <= len(first.split()) <= 40, f"{path}: {first!r}"
        assert ". " not in first and (first == docstring or path.parent.name == "load_tf"), f"{path}: {docstring!r}"


@pytest.mark.parametrize(
    ("module", "line", "says"),
    [
        ("data/voc.py", "from load_tf.training import stage_one", "data.voc imports training.stage_one"),
        ("errors.py", "from load_tf import commands", "errors imports commands"),
        (
            "algorithm/lookahead.py",
            "def play():\n    import load_tf.game.game",
            "algorithm.lookahead imports game.game",
        ),
        (
            "evaluation/miou.py",
            "from load_tf.discriminator.grid import Size",
            "evaluation.miou imports discriminator.grid",
        ),
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, module: str, line: str, says: str) -> None:
    package = _package(tmp_path, "data/voc.py", "training/stage_one.py", "errors.py", "commands.py")
    _package(tmp_path, "algorithm/lookahead.py", "game/game.py", "evaluation/miou.py", "discriminator/grid.py")
    assert upward(imports(package)) == []
    (package / module).write_text(line + "\n")
    assert upward(imports(package)) == [says]


def test_a_circle_is_found(tmp_path: Path) -> None:
    package = _package(tmp_path, "data/voc.py", "data/files.py", "data/colours.py")
    (package / "data/voc.py").write_text("from load_tf.data import files\n")
    (package / "data/files.py").write_text("from load_tf.data.colours import palette\n")
    assert circles(imports(package)) == []
    (package / "data/colours.py").write_text("def f():\n    from load_tf.data.voc import voc\n")
    (circle,) = circles(imports(package))
    assert set(circle) == {"data.voc", "data.files", "data.colours"}


def _package(folder: Path, *names: str) -> Path:
    package = folder / "load_tf"
    for name in names:
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return package
