"""Copies of variables that stay on the device: the start model, the best model, the best epoch."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from load_tf.errors import UserError


class Snapshot:
    """A copy of some variables, taken and put back without leaving the device."""

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        self._variables = [v.value for v in variables]
        self._names = array_names(variables)
        self._copies = [tf.Variable(v, trainable=False) for v in self._variables]

    @tf.function(autograph=False)
    def take(self) -> None:
        """Copies the variables' present values."""
        for copy, variable in zip(self._copies, self._variables, strict=True):
            copy.assign(variable)

    @tf.function(autograph=False)
    def put_back(self) -> None:
        """Gives the variables the values they had when the copy was taken."""
        for copy, variable in zip(self._copies, self._variables, strict=True):
            variable.assign(copy)

    @tf.function(autograph=False)
    def become(self, other: "Snapshot") -> None:
        """Copies another copy of the same variables."""
        for copy, source in zip(self._copies, other._copies, strict=True):
            copy.assign(source)

    @tf.function(autograph=False)
    def move_towards_variables(self, step: tf.Tensor) -> None:
        """Moves the copy by `step` of its distance to the variables' present values; `step` float32 in [0, 1]."""
        for copy, variable in zip(self._copies, self._variables, strict=True):
            copy.assign_add(tf.cast(step, copy.dtype) * (variable - copy))

    @tf.function(autograph=False)
    def distance(self) -> tf.Tensor:
        """float32: norm of the variables' change since the copy was taken, over the norm of the copy."""
        pairs = list(zip(self._copies, self._variables, strict=True))
        moved = tf.linalg.global_norm([tf.cast(variable - copy, tf.float32) for copy, variable in pairs])
        return tf.math.divide_no_nan(moved, tf.linalg.global_norm([tf.cast(copy, tf.float32) for copy, _ in pairs]))

    @tf.function(autograph=False)
    def variables_are_finite(self) -> tf.Tensor:
        """bool: whether no variable holds a NaN or an infinity now; integers are always finite."""
        floats = [v for v in self._variables if v.dtype.is_floating]
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in floats])

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {name: copy.numpy() for name, copy in zip(self._names, self._copies, strict=True)}

    def from_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        for name, copy in zip(self._names, self._copies, strict=True):
            copy.assign(arrays[name])


def array_names(variables: Sequence[keras.Variable]) -> list[str]:
    """Names for a file: the place in the list and the path, so that none is equal and a change of order is seen."""
    return [f"{number}:{variable.path}" for number, variable in enumerate(variables)]


def variables_to_arrays(variables: Sequence[keras.Variable]) -> dict[str, np.ndarray]:
    """The variables' values by name, on the host."""
    return {name: np.asarray(v.value) for name, v in zip(array_names(variables), variables, strict=True)}


def arrays_to_variables(arrays: dict[str, np.ndarray], variables: Sequence[keras.Variable]) -> None:
    """Puts values back that `variables_to_arrays` took from the same variables.

    Raises:
      UserError: if they are those of another network.
    """
    names = array_names(variables)
    if set(names) != set(arrays):
        first = min(set(names) ^ set(arrays))
        where = "only in this network" if first in names else "only in what was stored"
        raise UserError(f"stored weights are of another network: variable {first!r} is {where}.")
    for name, variable in zip(names, variables, strict=True):
        variable.assign(arrays[name])
