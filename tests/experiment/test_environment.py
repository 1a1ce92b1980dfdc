"""What a run does before it reads anything: it holds its folder, and looks at where it was begun."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from load_tf.algorithm.lookahead import Lookahead
from load_tf.errors import UserError
from load_tf.experiment import environment, run
from load_tf.game.game import Players
from load_tf.methods.baseline import Baseline
from load_tf.storage.run_directory import RunDirectory
from tests.networks import one_convolution


def test_a_run_that_is_refused_lets_go_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception is kept, as a notebook keeps the last one, and with it all that its frames hold."""

    def refuse(plan: object) -> None:
        raise UserError("an image is spoilt")

    monkeypatch.setattr(run, "read_data", refuse)
    monkeypatch.setattr(environment, "write_environment", lambda directory, plan: None)
    plan: Any = SimpleNamespace(
        strategy=tf.distribute.get_strategy(), lookahead=Lookahead(), players=Players(),
        segmentor=SimpleNamespace(limit=None, model=one_convolution(3)), experiment=SimpleNamespace(method=Baseline()),
    )  # fmt: skip
    with pytest.raises(UserError, match="an image is spoilt") as kept:
        run.run(plan, tmp_path / "run", "config")
    RunDirectory(tmp_path / "run", "config").close()
    assert kept.traceback


@pytest.mark.parametrize("content", ["{", "3", "[1]"])
def test_a_damaged_environment_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "environment.json").write_text(content)
    directory: Any = SimpleNamespace(path=tmp_path, state={"commit": 1})
    runtime = SimpleNamespace(environment=lambda strategy: {"python": "3.11"})
    plan: Any = SimpleNamespace(strategy=tf.distribute.get_strategy(), runtime=runtime)
    with pytest.raises(UserError, match=r"environment\.json is damaged: it is not what was written"):
        environment.write_environment(directory, plan)
