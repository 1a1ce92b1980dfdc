"""What `load_tf.run` plays: the convolutional setting of the gin files where it is told nothing, or the paper's."""

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import load_tf
from load_tf.errors import UserError
from load_tf.experiment import own_model
from load_tf.game.game import Players
from tests.pages import gin_bindings

pytestmark = pytest.mark.portable

ROOT = Path(__file__).resolve().parents[2]


def bound_in(gin_file: str) -> dict[str, Any]:
    """What a shipped file binds of the parts of a setting, by "object.parameter"."""
    found = gin_bindings((ROOT / "gin" / gin_file).read_text())
    parts = ("Lookahead.", "Discriminator.", "DiscriminatorTraining.", "AdversarialTraining.", "Sampling.")
    return {name: ast.literal_eval(value) for name, value in found.items() if name.startswith(parts)}


def values_of(setting: Any) -> dict[str, Any]:
    """All fields of a setting, by "object.parameter"."""
    return {
        f"{type(part).__name__}.{field.name}": getattr(part, field.name)
        for part in setting.values()
        for field in dataclasses.fields(part)
    }


def test_the_default_is_the_setting_that_works_in_minutes() -> None:
    bound, values = bound_in("camvid.gin"), values_of(load_tf.defaults())
    assert len(bound) == 19 and {name: values[name] for name in bound} == bound
    # What that file leaves open has the class's own default, as in a gin run.
    others = values_of(load_tf.paper())
    assert {**values, **bound} == {**others, **bound}
    assert load_tf.defaults()["lookahead"].max_iterations == 10


def test_the_papers_setting_is_that_of_its_gin_file() -> None:
    bound, values = bound_in("paper.gin"), values_of(load_tf.paper())
    assert len(bound) > 40 and {name: values[name] for name in bound} == bound
    # And it is what gin runs where no file says anything, which stays as it is.
    assert load_tf.paper()["lookahead"] == load_tf.Lookahead() and load_tf.paper()["sampling"] == load_tf.Sampling()
    assert Players() == Players(**{name: part for name, part in load_tf.paper().items() if name != "lookahead"})  # type: ignore[arg-type]


def test_some_numbers_or_a_whole_part_are_changed() -> None:
    ours = load_tf.defaults(adversarial={"learning_rate": 3e-5}, lookahead={"max_iterations": 50, "patience": 10})
    assert ours["adversarial"] == dataclasses.replace(load_tf.defaults()["adversarial"], learning_rate=3e-5)
    assert (ours["lookahead"].max_iterations, ours["lookahead"].upper) == (50, 0.0)
    assert ours["discriminator"] == load_tf.defaults()["discriminator"]
    whole = load_tf.paper(sampling=load_tf.Sampling(gumbel_noise=False))
    assert whole["sampling"] == load_tf.Sampling(gumbel_noise=False) and whole["lookahead"] == load_tf.Lookahead()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lookahed": {}}, "the setting has no part 'lookahed'; expected one of lookahead, discriminator,"),
        ({"lookahead": {"patiense": 3}}, "lookahead has no field 'patiense'; expected some of max_fruitless_cycles,"),
        ({"lookahead": 10}, "lookahead is 10; expected a load_tf.Lookahead, or a dictionary of fields of it."),
        ({"lookahead": {"patience": 0}}, "Lookahead.patience is 0; expected a whole number of at least 1."),
    ],
)
def test_a_change_that_is_none_is_named(changes: dict[str, Any], expected: str) -> None:
    for setting in (load_tf.defaults, load_tf.paper):
        with pytest.raises(UserError, match=re.escape(expected)):
            setting(**changes)


def test_run_plays_what_it_is_given_and_the_default_in_place_of_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained: the run is stopped where all is assembled."""
    import numpy as np

    from tests.networks import one_convolution

    plans: list[Any] = []

    def stop(plan: Any, *_: Any) -> None:
        plans.append(plan)
        raise UserError("enough")

    monkeypatch.setattr(own_model.experiment, "run", stop)
    random = np.random.default_rng(0)
    pairs = [
        (random.integers(0, 256, (32, 32, 3), np.uint8), random.integers(0, 3, (32, 32)).astype(np.uint8))
        for _ in range(8)
    ]
    slower = load_tf.AdversarialTraining(learning_rate=1e-6)
    bounded: dict[str, Any] = {"lookahead": {"max_iterations": 50}}
    given: list[dict[str, Any]] = [{}, {"adversarial": slower}, dict(load_tf.paper()), bounded]
    for options in given:
        with pytest.raises(UserError, match="enough"):
            load_tf.run(one_convolution(3), pairs[:4], pairs[4:], run_dir=tmp_path, **options)
    ours, theirs = load_tf.defaults(), load_tf.paper()
    longer = load_tf.defaults(**bounded)
    assert (longer["lookahead"].max_iterations, longer["lookahead"].patience) == (50, 5)
    for plan, expected in zip(plans, (ours, {**ours, "adversarial": slower}, theirs, longer), strict=True):
        played = {"lookahead": plan.lookahead, **vars(plan.players)}
        assert played == expected
    text = plans[2].parameters or own_model._as_text(plans[2], {})
    assert "Lookahead.max_iterations = None" in text and "AdversarialTraining.learning_rate = 2.5e-07" in text
