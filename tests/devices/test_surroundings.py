"""What is set outside: a notebook's MPLBACKEND, keras.json, KERAS_BACKEND. Overridden or refused, and written down."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import tensorflow as tf

from load_tf.devices import keras_settings, surroundings
from load_tf.devices.runtime import Runtime
from load_tf.errors import UserError
from load_tf.experiment import environment as environments
from load_tf.report.words import plain
from tests import tiny

pytestmark = pytest.mark.portable

INLINE = "no_such_inline"
"""To Matplotlib what a notebook's "module://matplotlib_inline.backend_inline" is where that is not installed."""
ELSEWHERE = {"backend": "jax", "floatx": "float64", "image_data_format": "channels_first", "epsilon": 1e-3}
RUN = """
experiment.dataset = @synthetic()
synthetic.train = 4
synthetic.validation = 4
synthetic.size = (48, 64)
experiment.segmentor = @small_deeplab
small_deeplab.width = 8
experiment.crop = (49, 65)
experiment.holdout_images = 2
experiment.method = @Baseline()
StageOne.epochs = 1
StageOne.batch_size = 2
"""


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is prepared once; here several are played."""
    monkeypatch.setattr(surroundings, "overridden", {})
    for name in ("MPLBACKEND", "KERAS_BACKEND", "KERAS_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def keras_home(folder: Path, **settings: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "keras.json").write_text(json.dumps(settings))
    return str(folder)


def python(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=tiny.environment(**variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_a_run_from_a_notebooks_cell_with_an_old_keras_file(tmp_path: Path) -> None:
    """A process of its own: the figures are drawn, the networks are of float32, and it is written down."""
    (tmp_path / "tiny.gin").write_text(RUN)
    home = keras_home(tmp_path / "home", **ELSEWHERE)
    command = ("-m", "load_tf.main", "--gin_file=tiny.gin", "--run_dir=run")
    done = python(tmp_path, *command, MPLBACKEND=INLINE, KERAS_HOME=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run/report/convergence.png").is_file()
    found = json.loads((tmp_path / "run/environment.json").read_text())
    assert found["overridden"] == {
        "MPLBACKEND": INLINE,
        "keras.json: backend": "jax",
        "keras.config.floatx": "float64",
        "keras.config.image_data_format": "channels_first",
        "keras.config.epsilon": "0.001",
    }
    assert (found["keras_backend"], found["floatx"], found["precision"]) == ("tensorflow", "float32", "float32")
    assert f"MPLBACKEND = {INLINE}" in (tmp_path / "run/report/index.html").read_text()
    again = python(tmp_path, *command, KERAS_BACKEND="tensorflow")
    assert again.returncode == 0 and "is finished; its table" in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("code", "variables", "expected"),
    [
        (
            "load_tf.any_size; import keras; print(os.environ['MPLBACKEND'], keras.config.backend())",
            {"MPLBACKEND": INLINE, "KERAS_BACKEND": "jax"},
            "agg tensorflow\n",
        ),
        ("load_tf.Lookahead; print(os.environ['MPLBACKEND'])", {"MPLBACKEND": "svg"}, "svg\n"),
    ],
)
def test_in_a_users_process_only_what_can_not_be_gives_way(
    tmp_path: Path, code: str, variables: dict[str, str], expected: str
) -> None:
    done = python(tmp_path, "-c", f"import os, load_tf; {code}", **variables)
    assert (done.stdout, done.stderr) == (expected, "")


def test_matplotlib_does_not_take_the_notebooks_backend(tmp_path: Path) -> None:
    """The negative control of both."""
    assert "is not a valid value for backend" in python(tmp_path, "-c", "import matplotlib", MPLBACKEND=INLINE).stderr


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"floatx": "float8"}, "floatx is 'float8'; expected one of 'float32'"),
     ({"image_data_format": "first"}, "image_data_format is 'first'; expected one of 'channels_last'")],
)  # fmt: skip
def test_a_keras_file_that_keras_does_not_take_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("KERAS_HOME", keras_home(tmp_path, **settings))
    with pytest.raises(UserError, match=f"keras.json: {expected}"):
        surroundings.for_a_command()


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"backend": "tensorflow"}'])
def test_a_keras_file_without_a_word_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text(content)
    surroundings.for_a_command()
    assert surroundings.overridden == {}
    assert (os.environ["MPLBACKEND"], os.environ["KERAS_BACKEND"]) == ("agg", "tensorflow")


def test_keras_on_something_else_is_refused_from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    import load_tf

    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(UserError, match="Keras was imported with the backend 'jax'; expected 'tensorflow': set KERAS_"):
        load_tf.run("no model", [], [], run_dir="run")  # type: ignore[arg-type]


def test_a_users_settings_of_keras_come_back() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_floatx("float16")
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("float16")
    try:
        with keras_settings.in_use():
            layer = keras.layers.Conv2D(2, 1)
            assert (layer.data_format, layer.compute_dtype) == ("channels_last", "float32")
            assert keras.Variable(1.0).dtype == "float32"
        assert (keras.config.floatx(), keras.config.image_data_format()) == ("float16", "channels_first")
        assert keras.config.dtype_policy().name == "float16"
        assert surroundings.overridden["keras.config.dtype_policy"] == "float16"
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
        keras.config.set_dtype_policy(policy)


def test_a_precision_that_the_user_chose_stays() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with keras_settings.in_use():
            assert keras.layers.Conv2D(2, 1).compute_dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy(policy)
    assert surroundings.overridden == {}


def begun(folder: Path, **changes: Any) -> Any:
    """A run directory that was begun here, and the environment's file as `changes` have it; None takes one out."""
    plan: Any = SimpleNamespace(
        strategy=tf.distribute.get_strategy(), runtime=Runtime(), experiment=SimpleNamespace(seed=0)
    )
    directory: Any = SimpleNamespace(
        path=folder, state={}, write=lambda name, content: (folder / name).write_text(content)
    )
    environments.write_environment(directory, plan)
    written = {**json.loads((folder / "environment.json").read_text()), **changes}
    text = json.dumps({name: value for name, value in written.items() if value is not None})
    (folder / "environment.json").write_text(text)
    directory.state = {"commit": 1}
    return directory, plan


def test_what_was_overridden_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", INLINE)
    monkeypatch.setenv("KERAS_HOME", keras_home(tmp_path / "home", **ELSEWHERE))
    surroundings.for_a_command()
    assert (os.environ["MPLBACKEND"], os.environ["KERAS_BACKEND"]) == ("agg", "tensorflow")
    begun(tmp_path)
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["overridden"] == {"MPLBACKEND": INLINE, "keras.json: backend": "jax"}
    assert (found["keras_backend"], found["floatx"]) == ("tensorflow", "float32")


def test_a_run_of_an_older_version_resumes(tmp_path: Path) -> None:
    new = dict.fromkeys(("keras_backend", "floatx", "image_data_format", "variables"))
    directory, plan = begun(tmp_path, **new)
    assert "floatx" not in json.loads((tmp_path / "environment.json").read_text())
    environments.write_environment(directory, plan)


def test_what_changes_the_bits_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was overridden does not count: it held neither then nor now."""
    directory, plan = begun(tmp_path, overridden={"MPLBACKEND": INLINE})
    environments.write_environment(directory, plan)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    with pytest.raises(UserError, match=r"was begun with variables .*now it is {'TF_ENABLE_ONEDNN_OPTS': '0'}"):
        environments.write_environment(directory, plan)


def test_settings_by_name_on_the_page() -> None:
    assert plain({"a": 1, "b": None}) == "a = 1, b = –" and plain({}) == "none"
