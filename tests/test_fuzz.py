"""Spoilt input of every kind is used or refused in a sentence (`tests/fuzz.py`); the fuzzer can find something."""

from collections.abc import Iterator

import gin
import numpy as np
import pytest

from load_tf.data import decoding
from load_tf.randomness import generator
from load_tf.storage import arrays
from tests import fuzz, tiny


@pytest.fixture(autouse=True)
def _flags(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tiny.experiment_flags(monkeypatch)(["fuzz"])
    yield
    gin.clear_config()


@pytest.mark.parametrize("subject", fuzz.SUBJECTS)
@pytest.mark.parametrize("cases", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_traceback(subject: str, cases: int) -> None:
    with fuzz.quiet():
        outcomes = [fuzz.run_case(subject, number) for number in range(cases)]
    # Neither end is the only one: the cases are neither too tame nor too wild.
    assert 0.02 * cases < sum(outcome is not None for outcome in outcomes) < 0.98 * cases


def test_the_fuzzer_finds_what_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the check of PNG's sizes, or of a state's checksum, something else gets through."""
    monkeypatch.setattr(decoding, "UserError", ValueError)
    with fuzz.quiet(), pytest.raises(ValueError):
        for number in range(60):
            fuzz.run_case("images", number)


def test_cases_repeat_and_differ() -> None:
    data = bytes(range(200))
    spoilt = [fuzz.spoil(data, generator(0, "fuzz", "x", number)) for number in range(20)]
    assert spoilt == [fuzz.spoil(data, generator(0, "fuzz", "x", number)) for number in range(20)]
    assert len(set(spoilt)) == 20 and data not in spoilt
    assert np.mean([len(one) for one in spoilt]) > 20
    assert arrays.MAGIC not in spoilt
