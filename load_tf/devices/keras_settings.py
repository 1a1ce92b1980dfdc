"""What Keras is set to while load_tf builds layers and trains: its own defaults, whatever `keras.json` says.

Layers that are built already keep what they were built with.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from load_tf.devices import surroundings
from load_tf.devices.precision import PRECISIONS

_SETTINGS: dict[str, tuple[Any, Callable[[], Any], Callable[[Any], None]]] = {
    "floatx": ("float32", keras.config.floatx, keras.config.set_floatx),
    "image_data_format": ("channels_last", keras.config.image_data_format, keras.config.set_image_data_format),
    "epsilon": (1e-7, keras.config.epsilon, keras.config.set_epsilon),
}


def use() -> None:
    """Sets them for the process; what was different is noted for `environment.json`."""
    for name, (value, get, put) in _SETTINGS.items():
        _put(name, value, get(), put)


@contextlib.contextmanager
def in_use() -> Iterator[None]:
    """Sets them for a while, in a process of the user's; their dtype policy, too, unless it is one of a precision."""
    before = {name: get() for name, (_, get, _) in _SETTINGS.items()}
    policy = keras.config.dtype_policy()
    try:
        use()
        if policy.name not in PRECISIONS:
            _put("dtype_policy", "float32", policy.name, keras.config.set_dtype_policy)
        yield
    finally:
        for name, value in before.items():
            _SETTINGS[name][2](value)
        keras.config.set_dtype_policy(policy)


def _put(name: str, value: Any, before: Any, put: Callable[[Any], None]) -> None:
    if before != value:
        surroundings.overridden[f"keras.config.{name}"] = str(before)
        put(value)
