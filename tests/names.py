"""The names that others write down: `python -m tests.names` prints what `tests/golden/names.txt` holds.

Python's public names, what gin can bind with every default, and what every shipped gin file binds. A name that is gone
or another breaks somebody's program, gin file or run directory: change the file only where that is meant.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gin
from absl import flags

import load_tf
from load_tf import commands
from load_tf.experiment import config

FILE = Path(__file__).resolve().parent / "golden/names.txt"


def public_names() -> Iterator[str]:
    """What `load_tf` exports, with its parameters."""
    for name in load_tf.__all__:
        yield from _with_parameters(f"load_tf.{name}", getattr(load_tf, name))


def gin_names() -> Iterator[str]:
    """Every configurable of load_tf by the name a gin file calls it, with what can be bound and the defaults."""
    from load_tf.experiment import registry

    assert registry.PARAMETERS, "importing the registry registers all of them"
    known = gin.config._REGISTRY
    for name, registered in sorted((known.minimal_selector(selector), one) for selector, one in known.items()):
        if registered.wrapped.__module__.startswith("load_tf."):
            assert not registered.allowlist and not registered.denylist
            yield from _with_parameters(f"@{name}", registered.wrapped)


def bound_names() -> Iterator[str]:
    """For every shipped gin file the names that the `config.gin` of its run would bind, in its order."""
    if "gin_file" not in flags.FLAGS:
        commands.define_experiment_flags()
    for file in config.shipped_gin_files():
        gin.clear_config()
        for flag in ("gin_file", "gin_param", "data_dir", "checkpoint", "seed", "math"):
            flags.FLAGS[flag].unparse()
        commands.parse_flags(["load_tf", f"--gin_file={file}"])
        for name in re.findall(r"^([^\s#=]+) *=", config.parse_gin(), re.M):
            yield f"{file} {name}"
    gin.clear_config()


def text() -> str:
    """All of them, one a line."""
    return "\n".join([*public_names(), *gin_names(), *bound_names()]) + "\n"


def _with_parameters(name: str, value: Callable[..., Any]) -> Iterator[str]:
    yield name
    for parameter in inspect.signature(value).parameters.values():
        default = re.sub(r"<\S*?(\w+) object at 0x\w+>", r"\1()", repr(parameter.default))
        if parameter.default is parameter.empty or parameter.default is gin.REQUIRED:
            default = "required"
        yield f"{name} {parameter.name} = {default}"


if __name__ == "__main__":
    print(text(), end="")
