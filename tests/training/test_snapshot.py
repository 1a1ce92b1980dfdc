"""Copies of variables, and their way to a file and back."""

import keras
import numpy as np
import pytest

from load_tf.errors import UserError
from load_tf.training.snapshot import Snapshot, array_names, arrays_to_variables, variables_to_arrays


def variables(seed: int = 0) -> list[keras.Variable]:
    """Two of them have the same path, as layers of the same name in two networks do; one is an integer."""
    random = np.random.default_rng(seed)
    return [
        keras.Variable(random.normal(size=(2, 3)), dtype="float32", name="kernel"),
        keras.Variable(random.normal(size=(3,)), dtype="float32", name="bias"),
        keras.Variable(random.normal(size=(2, 3)), dtype="float32", name="kernel"),
        keras.Variable(5 + seed, dtype="int64", trainable=False, name="iterations"),
    ]


def values(of: list[keras.Variable]) -> list[list]:
    return [np.asarray(v.value).tolist() for v in of]


def test_take_put_back_become() -> None:
    present = variables()
    first = values(present)
    one, other = Snapshot(present), Snapshot(present)
    one.take()
    for variable in present:
        variable.assign(variable * 2)
    second = values(present)
    assert first != second
    other.take()
    one.put_back()
    assert values(present) == first
    other.put_back()
    assert values(present) == second
    other.become(one)
    for variable in present:
        variable.assign(variable * 0)
    other.put_back()
    assert values(present) == first


def test_a_copy_is_one() -> None:
    """What happens to the variables, or to the snapshot it came from, does not move it."""
    present = variables()
    one, other = Snapshot(present), Snapshot(present)
    one.take()
    first = values(present)
    other.become(one)
    present[0].assign(present[0] + 1)
    one.take()
    other.put_back()
    assert values(present) == first


def test_to_arrays_and_back() -> None:
    present = variables()
    one = Snapshot(present)
    one.take()
    arrays = {name: array.copy() for name, array in one.to_arrays().items()}
    assert [name.partition(":")[0] for name in arrays] == ["0", "1", "2", "3"]
    assert [a.dtype for a in arrays.values()] == [np.float32, np.float32, np.float32, np.int64]
    for variable in present:
        variable.assign(variable * 0)
    one.take()
    one.from_arrays(arrays)
    one.put_back()
    assert values(present) == values(variables())


def test_variables_to_arrays_and_back() -> None:
    there, here = variables(1), variables(0)
    arrays_to_variables(variables_to_arrays(there), here)
    assert values(here) == values(there)
    assert values(here) != values(variables(0))


def test_names_differ_for_equal_paths() -> None:
    names = array_names(variables())
    assert len(set(names)) == 4
    assert names[0] == "0:kernel"


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (variables()[:3], "'3:iterations' is only in this network"),
        (variables()[1:], "'0:bias' is only in what was stored"),
    ],
)
def test_another_networks_weights_are_refused(stored: list[keras.Variable], message: str) -> None:
    present = variables()
    with pytest.raises(UserError, match=message):
        arrays_to_variables(variables_to_arrays(stored), present)
    assert values(present) == values(variables())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found(bad: float) -> None:
    values = np.arange(12.0).reshape(3, 4)
    variables = [keras.Variable(values), keras.Variable(np.array([3, 4]), dtype="int32"), keras.Variable(1.0)]
    for order in (variables, variables[::-1]):
        snapshot = Snapshot(order)
        assert snapshot.variables_are_finite()
        spoilt = values.copy()
        spoilt[2, 1] = bad
        variables[0].assign(spoilt)
        assert not snapshot.variables_are_finite()
        variables[0].assign(values)
        assert snapshot.variables_are_finite()
