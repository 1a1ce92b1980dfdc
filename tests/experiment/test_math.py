"""`Runtime.math`: who looks in bfloat16, and that training and tables never do."""

import gin
import pytest
from absl import flags

from load_tf import commands
from load_tf.data.synthetic import synthetic
from load_tf.devices import processor
from load_tf.errors import UserError
from load_tf.evaluation.evaluator import Evaluator
from load_tf.experiment import config, plan


def assembled(*arguments: str) -> plan.Plan:
    if "gin_file" not in flags.FLAGS:
        commands.define_experiment_flags()
    gin.clear_config()
    for flag in ("gin_file", "gin_param", "data_dir", "checkpoint", "seed", "math"):
        flags.FLAGS[flag].unparse()
    commands.parse_flags(["load_tf", "--gin_file=demo.gin", *arguments])
    config.parse_gin()
    try:
        return config.configured(plan.assemble)
    finally:
        gin.clear_config()


def computes_in_bfloat16(evaluator: Evaluator) -> bool:
    return any(layer.compute_dtype == "bfloat16" for layer in evaluator.forward.model.layers)


@pytest.mark.parametrize(
    ("math", "has", "expected"),
    [("bfloat16", True, True), ("bfloat16", False, False), ("float32", True, False)],
)
def test_only_looks_are_in_bfloat16(math: str, has: bool, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "has_bfloat16", lambda: has)
    made = assembled(f"--math={math}")
    split = synthetic(train=1, validation=2, size=(48, 64)).split("validation")
    assert computes_in_bfloat16(made.looking_evaluator(split)) is expected
    assert not computes_in_bfloat16(made.table_evaluator(split))
    assert not computes_in_bfloat16(made.evaluator(split))
    assert all(layer.compute_dtype == "float32" for layer in made.segmentor.model.layers)
    assert made.runtime.environment(made.strategy)["math"] == ("bfloat16" if expected else "float32")


def test_another_math_is_refused() -> None:
    with pytest.raises(UserError, match=r"Runtime\.math is 'float16'; expected 'float32' or 'bfloat16'"):
        assembled("--math=float16")
