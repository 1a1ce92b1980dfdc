"""What a gin config has to hold up to before anything is run: every value of the declared type, every binding used.

gin itself refuses a name that does not exist. It accepts a value of any type, and bindings of what is never called.
"""

import collections.abc
import types
import typing
from typing import Any

import gin

from load_tf.errors import UserError

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text in quotes",
    types.NoneType: "None",
    collections.abc.Mapping: "a dictionary",
    collections.abc.Callable: "a reference such as @small_deeplab",
}


def refuse_wrong_types() -> None:
    """Refuses a bound value that is not of the type its parameter is declared with.

    A reference such as `@voc()` counts as what its function is declared to return; without brackets, as a function.

    Raises:
      UserError: naming the binding, its value and what was expected.
    """
    # gin has no public way to ask; its version is pinned.
    for (scope, selector), parameters in gin.config._CONFIG.items():
        hints = _hints(selector)
        for parameter, bound in parameters.items():
            value = _resolved(bound)
            if parameter in hints and not _is_of_type(value, hints[parameter]):
                prefix = f"{scope}/" if scope else ""
                name = f"{prefix}{selector.rpartition('.')[2]}.{parameter}"
                raise UserError(f"{name} is {value!r}; expected {_expected(value, hints[parameter])}.")


def refuse_unused_bindings(beside: tuple[str, ...] = ()) -> None:
    """Refuses a config in which something is bound that nothing asked for: a typo, or a leftover.

    Args:
      beside: names of configurables that may be bound all the same.

    Raises:
      UserError: naming the binding.
    """
    # As above, there is no public way.
    used = gin.config._OPERATIVE_CONFIG
    for scope, selector in gin.config._CONFIG:
        if (scope, selector) in used or selector.rpartition(".")[2] in beside:
            continue
        if selector.endswith("macro"):
            raise UserError(f"the macro {scope} is set but nothing in the config uses it; remove it.")
        names = ", ".join(gin.config._CONFIG[scope, selector])
        prefix = f"{scope}/" if scope else ""
        raise UserError(
            f"the config binds {prefix}{selector.rpartition('.')[2]}.{names}, but this experiment uses no "
            f"{selector.rpartition('.')[2]}; remove the binding."
        )


def _hints(selector: str) -> dict[str, Any]:
    """The types a configurable's parameters, and its result as "return", are declared with."""
    if selector == "gin.singleton":
        return {"constructor": collections.abc.Callable}
    return typing.get_type_hints(gin.config._REGISTRY[selector].wrapped)


def _resolved(value: Any) -> Any:
    """A bound value; for a macro that is set, the macro's."""
    if isinstance(value, gin.config.ConfigurableReference) and value.selector.endswith("macro"):
        return gin.config._CONFIG.get((value.scoped_selector.rpartition("/")[0], value.selector), {}).get(
            "value", value
        )
    return value


def _is_of_type(value: Any, hint: Any) -> bool:
    value = _resolved(value)
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is_of_type(value, argument) for argument in arguments)
    if origin is Any:
        return True
    if isinstance(value, gin.config.ConfigurableReference):
        return _gives(value, origin)
    if origin is typing.Literal:
        return value in arguments
    if origin in (int, float):
        return isinstance(value, (int, origin)) and not isinstance(value, bool)
    if origin is tuple and Ellipsis not in arguments:
        return (
            isinstance(value, list | tuple)
            and len(value) == len(arguments)
            and all(_is_of_type(v, argument) for v, argument in zip(value, arguments, strict=True))
        )
    if origin in (tuple, list, collections.abc.Sequence):
        return isinstance(value, list | tuple) and all(_is_of_type(v, arguments[0]) for v in value)
    if origin is collections.abc.Mapping:
        return isinstance(value, dict) and all(
            _is_of_type(part, argument)
            for item in value.items()
            for part, argument in zip(item, arguments, strict=False)
        )
    return isinstance(value, origin) if isinstance(origin, type) else True


def _gives(reference: Any, expected: Any) -> bool:
    """Whether a reference gives an object of a class, or with `Callable` a function; True where nothing tells."""
    made = reference.configurable
    if made.selector == "gin.macro":
        return True  # one that is not set, which gin says
    if not reference.evaluate or expected is collections.abc.Callable:
        return not reference.evaluate and expected is collections.abc.Callable
    given = made.wrapped if isinstance(made.wrapped, type) else _hints(made.selector).get("return")
    return not isinstance(given, type) or issubclass(given, expected)


def _expected(value: Any, hint: Any) -> str:
    """What would have been right, in words; for a reference whose brackets alone are wrong, that."""
    if isinstance(value, gin.config.ConfigurableReference):
        other = gin.config.ConfigurableReference(value.scoped_selector, not value.evaluate)
        if _is_of_type(other, hint):
            return f"{other!r}, {'with' if other.evaluate else 'without'} brackets"
    return _in_words(hint)


def _in_words(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_in_words(argument) for argument in arguments)
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple and Ellipsis not in arguments:
        return "(" + ", ".join(map(_in_words, arguments)) + ")"
    if origin in (tuple, list, collections.abc.Sequence):
        return f"a list, each {_in_words(arguments[0])}"
    if origin is collections.abc.Mapping and arguments:
        return "a dictionary from {} to {}".format(*map(_in_words, arguments))
    return _WORDS.get(origin) or f"a reference that gives a {getattr(origin, '__name__', origin)}"
