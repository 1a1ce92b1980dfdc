"""Nothing that is read is run: models, states, arrays, configs."""

import ast
import io
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from load_tf.errors import UserError
from load_tf.experiment.config import _refuse_imports
from load_tf.segmentors.keras_model import keras_model
from load_tf.storage.arrays import MAGIC, Entry, read_arrays, write_arrays
from load_tf.storage.run_directory import RunDirectory
from load_tf.storage.run_state import encode
from tests import networks

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "load_tf").rglob("*.py"))


def calls(tree: ast.AST) -> list[tuple[str, dict[str, object]]]:
    """The names of what is called, with the arguments that are constants."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found.append((name, {k.arg or "": getattr(k.value, "value", ...) for k in node.keywords}))
    return found


def test_no_door_is_opened() -> None:
    """Pickles, Keras' unsafe mode, unfiltered archives, shells."""
    seen = set()
    for module in MODULES:
        for name, keywords in calls(ast.parse(module.read_text())):
            seen.add(name)
            assert keywords.get("allow_pickle", False) is False, module
            assert keywords.get("safe_mode", True) is True, module
            assert keywords.get("shell", False) is False, module
            assert name not in ("extractall", "enable_unsafe_deserialization", "unsafe_load", "system"), module
            if name == "load_model":
                assert keywords["safe_mode"] is True, "said, since Keras' default can be changed from outside"
    assert "load_model" in seen


def lambda_model(marker: Path) -> keras.Model:
    code = f"open({str(marker)!r}, 'w').close()"
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Conv2D(4, 1)(keras.layers.Lambda(lambda x, run=exec, code=code: run(code) or x)(inputs))
    model = keras.Model(inputs, outputs)
    marker.unlink(missing_ok=True)
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_carries_code_is_refused(tmp_path: Path, suffix: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / f"model{suffix}"
    lambda_model(marker).save(path)
    marker.unlink(missing_ok=True)
    with pytest.raises(UserError, match=str(path)):
        keras_model(num_classes=4, path=str(path))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("subprocess", "Popen"), ("builtins", "exec"), ("keras.config", "x")]
)
def test_a_model_that_names_code_is_refused(tmp_path: Path, module: str, name: str) -> None:
    path = tmp_path / "model.keras"
    networks.one_convolution(4).save(path)
    marker = tmp_path / "ran"
    with zipfile.ZipFile(path) as archive:
        files = {info: archive.read(info) for info in archive.namelist()}
    config = json.loads(files["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Conv2D":
            layer |= {"module": module, "class_name": name, "registered_name": name}
            layer["config"] = {"command": f"touch {marker}", "args": f"touch {marker}", "shell": True}
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in files.items():
            archive.writestr(info, data)
    with pytest.raises(UserError, match=str(path)):
        keras_model(num_classes=4, path=str(path))
    assert not marker.exists()


def test_arrays_hold_numbers_only(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="only numbers"):
        write_arrays(tmp_path / "a.arrays", {"x": np.array([print], object)}, tmp_path)
    for header in ('[["x", "|O", [1]]]', '[["x", "O8", [1]]]', '[["x", "<f8", [-3]]]', "[[1]]", "{", "[" * 9999, "3"):
        data = MAGIC + len(header).to_bytes(8, "little") + header.encode() + bytes(8)
        entry = written(tmp_path / "a.arrays", data, tmp_path)
        with pytest.raises(UserError, match=r"a\.arrays is no file of arrays"):
            read_arrays(entry, tmp_path)


def written(path: Path, data: bytes, root: Path) -> Entry:
    import hashlib

    path.write_bytes(data)
    return Entry(path=str(path.relative_to(root)), bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("path", ["../secret.arrays", "/etc/passwd", "checkpoints/../../secret.arrays", "config.gin"])
def test_a_state_that_names_files_elsewhere_is_damaged(tmp_path: Path, path: str) -> None:
    run = RunDirectory(tmp_path / "run", "config")
    run.commit({"phase": "one"}, {"segmentor": lambda: {"w": np.ones(3)}}, set())
    run.close()
    (tmp_path / "secret.arrays").write_bytes(b"secret")
    state = run.state
    state["files"]["segmentor"]["path"] = path
    (tmp_path / "run/state.json").write_bytes(encode(state))
    with pytest.raises(UserError, match=r"state\.json is damaged: it is not what a run writes"):
        RunDirectory(tmp_path / "run", "config")
    assert (tmp_path / "secret.arrays").read_bytes() == b"secret"


@pytest.mark.parametrize("line", ["import os", "from os import system", "  import os", "include 'other.gin'"])
def test_a_config_imports_nothing(line: str) -> None:
    with pytest.raises(UserError, match="neither import nor include"):
        _refuse_imports("evil.gin", f"experiment.seed = 1\n{line}\n")


def test_results_of_predict_hold_no_pickle() -> None:
    from load_tf.serving.label_files import _npy

    assert np.load(io.BytesIO(_npy(np.ones((2, 3), np.float32))), allow_pickle=False).shape == (2, 3)
