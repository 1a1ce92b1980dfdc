"""Keys: the same for the same purpose on every machine, unlike for any other."""

import itertools

import numpy as np
import pytest

from load_tf.randomness import generator, key


def test_keys_do_not_change_between_versions() -> None:
    """A run that an older version began could not be gone on with. The numbers are `b2sum -l 64` of the repr."""
    assert key(0).tolist() == [-1752423480, 1225405142]
    assert key(7, "pairs", 3, 1).tolist() == [1721471408, 1013318364]


def test_key_is_what_stateless_ops_take() -> None:
    assert key(1, "a").dtype == np.int32
    assert key(1, "a").shape == (2,)
    key(1, "a")[:] = 0  # a copy that may be written to


@pytest.mark.parametrize(
    "make", [lambda *p: key(*p).tolist(), lambda *p: generator(*p).integers(2**62, size=3).tolist()]
)
def test_same_purpose_same_draw_other_purpose_other_draw(make) -> None:
    purposes = [
        (0,),
        (1,),
        (-1,),
        (2**40,),
        (0, 1),
        (0, "1"),
        (0, 1, 2),
        (0, 2, 1),
        (0, 12),
        (0, "1, 2"),
        (0, "a"),
        (0, "a", 0),
    ]
    for purpose in purposes:
        assert make(*purpose) == make(*purpose)
    for one, other in itertools.combinations(purposes, 2):
        assert make(*one) != make(*other), (one, other)


def test_many_keys_are_all_different() -> None:
    keys = {
        tuple(key(seed, "dropout", cycle, step).tolist())
        for seed in range(5)
        for cycle in range(20)
        for step in range(50)
    }
    assert len(keys) == 5000


def test_draws_of_neighbouring_keys_are_independent() -> None:
    """Correlation of 1000 streams of 50 normal draws each with the next one's: 0 within 4 sigma."""
    draws = np.stack([generator(0, "step", step).standard_normal(50) for step in range(1001)])
    correlation = np.mean(draws[:-1] * draws[1:])
    assert abs(correlation) < 4 / np.sqrt(50_000)
    assert abs(draws.mean()) < 4 / np.sqrt(50_050)
