"""The warnings: each where it belongs, none where the game is well."""

import numpy as np
import pytest

from load_tf.errors import UserError
from load_tf.game import warnings
from load_tf.game.warnings import discriminator_warning, segmentor_warning


def measured(pairs: float, real: float = 0.8, fake: float = 0.8) -> dict[str, float]:
    return {"pair_accuracy": pairs, "real_accuracy": real, "fake_accuracy": fake}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (measured(0.5), "at chance: it ranks 50%"),
        (measured(0.55), "at chance"),
        (measured(0.1), "at chance"),
        (measured(0.5, 1.0, 0.0), "collapsed: it takes every map for real"),
        (measured(0.5, 0.0, 1.0), "collapsed: it takes every map for fake"),
        (measured(0.9, 1.0, 0.0), None),
        (measured(0.56), None),
        (measured(0.9), None),
        (measured(1.0), None),
        (measured(1.0, 1.0, 0.99), None),
        (measured(1.0, 1.0, 1.0), "perfect: it tells 100.0%"),
    ],
)
def test_of_the_discriminator(values: dict[str, float], word: str | None) -> None:
    text = discriminator_warning(values)
    assert text is None if word is None else word in text


@pytest.mark.parametrize(
    ("changed", "gradient", "word"),
    [
        (0.0, 1.0, "does not move: 0.0000 %"),
        (0.00009, 1.0, "does not move"),
        (0.0001, 1.0, None),
        (0.01, 0.0, "no gradient"),
        (None, 1.0, None),
        (None, None, None),
        (0.5, None, None),
    ],
)
def test_of_the_segmentor(changed: float | None, gradient: float | None, word: str | None) -> None:
    text = segmentor_warning(changed, gradient)
    assert text is None if word is None else word in text


def test_of_the_direction() -> None:
    assert warnings.direction_warning(0.1) is None and warnings.direction_warning(None) is None
    for noise in (0.09, 0.0, -0.5):
        assert f"cosine of {noise:.2f}" in str(warnings.direction_warning(noise))


def test_the_sentence_names_value_place_and_advice() -> None:
    warnings.refuse_non_finite("stage 1", "in epoch 3", "StageOne.learning_rate", loss=0.5, score=0.1)
    with pytest.raises(
        UserError, match=r"stage 1: the hold out score is nan in epoch 3; lower StageOne\.learning_rate"
    ):
        warnings.refuse_non_finite("stage 1", "in epoch 3", "StageOne.learning_rate", loss=0.5, hold_out_score=np.nan)
