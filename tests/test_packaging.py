"""What is installed: the package, its gin files, nothing in anybody else's place."""

import inspect
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.portable

ROOT = Path(__file__).resolve().parents[1]
GIN_FILES = sorted(path.name for path in (ROOT / "gin").glob("*.gin"))


@pytest.fixture(name="wheel", scope="module")
def _wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from the archive of the sources, as a release is; that is made of a copy of the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("load_tf", "gin", "tests", "benchmarks", "docs"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    pack = f"from setuptools import build_meta; build_meta.build_sdist({str(target)!r})"
    packed = subprocess.run([sys.executable, "-c", pack], cwd=source, capture_output=True, text=True)
    assert packed.returncode == 0, packed.stderr
    (sources,) = target.glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    built = subprocess.run(
        [*command, "--disable-pip-version-check", "-w", str(target), str(sources)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (path,) = target.glob("*.whl")
    return zipfile.ZipFile(path)


def ask(code: str, path: Path, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(path)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WHERE = (
    "import load_tf; from load_tf.experiment import config; print(load_tf.__file__, config.find_gin_file('demo.gin'), "
)
WHERE += "*config.shipped_gin_files(), sep='\\n')"
WHOSE = "import gin; print(gin.__file__, callable(gin.parse_config))"


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"load_tf", next(folder for folder in folders if folder.endswith(".dist-info"))}
    assert sorted(name for name in names if name.endswith(".gin")) == [f"load_tf/configs/{name}" for name in GIN_FILES]
    assert {"load_tf/report/page/style.css", "load_tf/report/page/script.js"} <= set(names)
    assert "load_tf/py.typed" in names, "type checkers read the annotations of an installed package only with it"
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "load_tf").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert not [name for name in names if "test" in Path(name).name.lower()]


def test_the_gin_files_are_found_from_a_wheel_in_an_empty_folder(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    module, demo, *shipped = ask(WHERE, tmp_path / "site", tmp_path / "empty").splitlines()
    assert module == str(tmp_path / "site/load_tf/__init__.py")
    assert demo == str(tmp_path / "site/load_tf/configs/demo.gin")
    assert shipped == GIN_FILES
    assert (tmp_path / "site/load_tf/configs/demo.gin").read_bytes() == (ROOT / "gin/demo.gin").read_bytes()


def test_the_gin_files_are_found_from_a_checkout(tmp_path: Path) -> None:
    for folder in (tmp_path, ROOT):
        _, demo, *shipped = ask(WHERE, ROOT, folder).splitlines()
        assert (demo, shipped) == (str(ROOT / "gin/demo.gin"), GIN_FILES)


def test_gin_config_is_not_shadowed(tmp_path: Path) -> None:
    """The folder gin/ shares its name with the package, also where Python is started beside it."""
    assert not (ROOT / "gin/__init__.py").exists()
    for folder in (tmp_path, ROOT):
        file, parses = ask(WHOSE, ROOT, folder).split()
        assert parses == "True" and not file.startswith(str(ROOT / "gin"))


def test_console_scripts_are_functions_that_need_no_argument(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    scripts = re.findall(r"^([\w-]+) ?= ?([\w.]+):(\w+)$", wheel.read(name).decode(), re.M)
    assert {script for script, *_ in scripts} >= {
        "load_tf",
        "load_tf-evaluate",
        "load_tf-predict",
        "load_tf-report",
        "load_tf-export",
    }
    for _, module, function in scripts:
        target = getattr(__import__(module, fromlist=[function]), function)
        assert not inspect.signature(target).parameters


def test_every_dependency_has_an_upper_bound(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = wheel.read(name).decode()
    required = re.findall(r"^Requires-Dist: (.+)$", metadata, re.M)
    assert len(required) > 10
    assert [line for line in required if not re.search(r"<\d", line)] == []
    (versions,) = re.findall(r"^Requires-Python: (.+)$", metadata, re.M)
    assert sorted(versions.split(",")) == ["<3.14", ">=3.11"]


def others_found(folder: Path, **interpreters: str) -> list[str]:
    """What `.ci/run` finds among programs that print these words where they are asked for their version."""
    text = (ROOT / ".ci/run").read_text()
    functions = "".join(re.findall(r"^\w+\(\) \{\n.*?^\}\n", text, re.M | re.S)[:2])
    for name, words in interpreters.items():
        path = folder / name.replace("_", "/").replace("python3", "python3.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{words}\n")
        path.chmod(0o755)
    environment = {"PATH": str(folder / "bin"), "PYENV_ROOT": str(folder / "pyenv")}
    command = [str(shutil.which("bash")), "-c", f"set -euo pipefail\n{functions}\nfound_others"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_ci_asks_interpreters_for_their_version(tmp_path: Path) -> None:
    """A shim that fails is none, nor is one of another version; one that pyenv has is found behind it."""
    working, shim = "echo 3.13", "echo 'pyenv: command not found' >&2; exit 127"
    assert others_found(tmp_path / "a", bin_python313=working, bin_python312=shim) == ["python3.13"]
    assert others_found(tmp_path / "b", bin_python313="echo 3.11") == []
    behind = tmp_path / "c/pyenv/versions/3.12.1/bin/python"
    behind.parent.mkdir(parents=True)
    behind.write_text("#!/bin/sh\necho 3.12\n")
    behind.chmod(0o755)
    assert others_found(tmp_path / "c", bin_python312=shim) == [str(behind)]


def test_ci_knows_every_python_that_is_allowed() -> None:
    (least, below) = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', (ROOT / "setup.py").read_text()).groups()  # type: ignore[union-attr]
    (others,) = re.findall(r"for version in ([\d. ]+);", (ROOT / ".ci/run").read_text())
    assert [f"3.{least}", *others.split()] == [f"3.{minor}" for minor in range(int(least), int(below))]
