"""Numbers that are none, and a discriminator that has collapsed."""

import keras
import numpy as np
import pytest

from load_tf import health
from load_tf.errors import UserError


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_number_is_found(bad: float) -> None:
    variables = [keras.Variable(np.arange(12.0).reshape(3, 4)), keras.Variable(np.array([3, 4]), dtype="int32")]
    assert health.all_finite(variables)
    assert health.all_finite(variables[1:]) and health.all_finite([])
    values = np.arange(12.0).reshape(3, 4)
    values[2, 1] = bad
    variables[0].assign(values)
    assert not health.all_finite(variables)
    assert not health.all_finite(variables[::-1])


def test_the_sentence_names_value_place_and_advice() -> None:
    health.refuse_non_finite("stage 1", "in epoch 3", "StageOne.learning_rate", loss=0.5, score=0.1)
    with pytest.raises(
        UserError, match=r"stage 1: the hold out score is nan in epoch 3; lower StageOne\.learning_rate"
    ):
        health.refuse_non_finite("stage 1", "in epoch 3", "StageOne.learning_rate", loss=0.5, hold_out_score=np.nan)


@pytest.mark.parametrize(
    ("pairs", "real", "fake", "finding"),
    [
        (0.9, 0.8, 0.8, None),
        # One-sided, but it ranks well: the segmentor's gradient is of use.
        (0.9, 1.0, 0.0, None),
        (0.5, 1.0, 0.0, "every map for real"),
        (0.5, 0.0, 1.0, "every map for fake"),
        (0.52, 0.6, 0.5, "hardly better than a coin"),
        (0.1, 0.3, 0.3, "hardly better than a coin"),
    ],
)
def test_collapse(pairs: float, real: float, fake: float, finding: str | None) -> None:
    found = health.collapse({"pair_accuracy": pairs, "real_accuracy": real, "fake_accuracy": fake})
    assert found is None if finding is None else finding in str(found)


def test_the_epoch_that_was_kept_is_found_in_the_journal() -> None:
    lines = [{"event": "discriminator", "cycle": c, "epoch": e, "loss": 10 * c + e} for c in (0, 1) for e in (1, 2)]
    assert health.epoch_in([*lines, {"event": "buffer"}], 1, 1)["loss"] == 11
    # A cycle that was done again after a kill counts as it was done last.
    assert health.epoch_in([*lines, {**lines[2], "loss": -1}], 1, 1)["loss"] == -1
