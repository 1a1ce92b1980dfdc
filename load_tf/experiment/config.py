"""Gin files and parameters of the command line, found, looked at and parsed."""

import re
import tokenize
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from load_tf import commands
from load_tf.errors import UserError

T = TypeVar("T")

_MACRO_FLAGS = ("data_dir", "checkpoint")

_COMPLAINTS = (
    *("Required bindings for ", "No configurable matching ", "Configurable '", "No bindings specified"),
    "The constructor for singleton ",
)
"""How gin's own messages begin."""

_BY_GIN = (ValueError, TypeError, SyntaxError, AttributeError, RuntimeError, tokenize.TokenError)
"""What gin raises at a text that it does not accept; the last comes of a bracket that is not closed."""


def parse_gin() -> str:
    """Parses the gin files and parameters of the flags.

    Returns:
      The config as text, all bindings in canonical order: what a run directory is recognised by.

    Raises:
      UserError: if a file is not found, or gin does not accept a binding.
    """
    if not commands.FLAGS.gin_file:
        raise UserError(f"no --gin_file; give a path or one of the shipped files: {', '.join(shipped_gin_files())}.")
    files = [str(find_gin_file(name)) for name in commands.FLAGS.gin_file]
    texts = {file: _read_text(file) for file in files}
    for name, text in [*texts.items(), *(("--gin_param", binding) for binding in commands.FLAGS.gin_param)]:
        _refuse_imports(name, text)
    bindings = list(commands.FLAGS.gin_param)
    for name in _MACRO_FLAGS:
        value = getattr(commands.FLAGS, name)
        if value is not None:
            if not any(f"%{name}" in text for text in texts.values()):
                raise UserError(
                    f"--{name} is given, but {', '.join(commands.FLAGS.gin_file)} has no use for it (no %{name} in it)."
                )
            bindings.append(f"{name} = {_absolute(value)!r}")
    if commands.FLAGS.seed is not None:
        bindings.append(f"experiment.seed = {commands.FLAGS.seed}")
    if commands.FLAGS.math is not None:
        bindings.append(f"Runtime.math = {commands.FLAGS.math!r}")
    import gin

    from load_tf.experiment import registry  # noqa: F401 - registers every configurable; gin locks when it parses
    from load_tf.experiment.bindings import refuse_wrong_types

    try:
        gin.parse_config_files_and_bindings(files, bindings)
    except (*_BY_GIN, OSError) as error:
        # gin says in which file, but not in which parameter.
        where = f" in {', '.join(bindings)}" if isinstance(error, SyntaxError) and not error.filename else ""
        raise UserError(f"the config is not accepted: {_one_sentence(error)}{where}") from None
    refuse_wrong_types()
    return gin.config_str(max_line_length=120)


def parse_run_config(run_dir: Path) -> None:
    """Parses the config of a run that is there.

    Raises:
      UserError: if the folder holds no run, or one whose data set no gin file named, or gin does not accept it.
    """
    file = run_dir / "config.gin"
    if not file.is_file():
        raise UserError(f"{run_dir} holds no run: there is no config.gin in it.")
    text = _read_text(str(file))
    _refuse_imports(str(file), text)
    if not re.search(r"^experiment\.dataset\s*=", text, re.M):
        raise UserError(f"{file} names no data set (experiment.dataset): the run was given its images in Python.")
    import gin

    from load_tf.experiment import registry  # noqa: F401 - as in `parse_gin`
    from load_tf.experiment.bindings import refuse_wrong_types

    try:
        gin.parse_config(text)
    except _BY_GIN as error:
        raise UserError(f"{file} is not accepted: {_one_sentence(error)}") from None
    refuse_wrong_types()


def configured(assemble: Callable[..., T]) -> T:
    """Calls something that gin configures; what gin finds missing in the config becomes one sentence.

    An exception of what is called, whatever its words, stays as it is.
    """
    try:
        return assemble()
    except (TypeError, ValueError, RuntimeError) as error:
        if (complaint := _of_gin(error)) is not None:
            raise UserError(f"the config is not complete: {complaint}") from None
        raise


def _of_gin(error: Exception) -> str | None:
    """What gin itself has to say of a config, in a sentence; None for an error that is not gin's.

    gin has no exceptions of its own, and adds the call to the message of whatever is raised in it: only the beginnings
    of its own messages, and its note on missing arguments, tell (gin-config is pinned).
    """
    text = str(error)
    missing = re.search(r"\n  No values supplied by Gin or caller for arguments: (\[.*?\])", text)
    if missing and isinstance(error, TypeError):
        called = re.search(r"In call to configurable '([^']+)'", text)
        return f"Required bindings for `{called[1] if called else '?'}` not provided in config: {missing[1]}"
    return _one_sentence(error) if text.startswith(_COMPLAINTS) else None


def find_gin_file(name: str) -> Path:
    """A gin file in the current folder, else among the shipped ones."""
    for path in (Path(name), *(folder / name for folder in _shipped_folders())):
        if path.is_file():
            return path
    raise UserError(f"gin file {name!r} is not there, nor among the shipped ones: {', '.join(shipped_gin_files())}.")


def shipped_gin_files() -> list[str]:
    """The names of the gin files that come with the package."""
    return sorted({path.name for folder in _shipped_folders() for path in folder.glob("*.gin")})


def _shipped_folders() -> list[Path]:
    """`load_tf/configs` of an installed wheel; `gin/` beside the package in a checkout or an editable install."""
    package = Path(__file__).resolve().parents[1]
    return [folder for folder in (package / "configs", package.parent / "gin") if folder.is_dir()]


def _read_text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text (byte {error.start}); expected a gin file.") from None
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}.") from None


def _refuse_imports(name: str, text: str) -> None:
    """A config may name what load_tf registers, and run no other code; what it includes would not be looked at."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*(import|from|include)\b", line):
            raise UserError(
                f"{name}, line {number}: configs of load_tf neither import nor include; remove {line.strip()!r}, "
                "and give several --gin_file to combine files."
            )


def _absolute(path: str) -> str:
    """Paths of flags are relative to where the command was given; a name that is no path stays."""
    expanded = Path(path).expanduser()
    return str(expanded.resolve()) if expanded.exists() or "/" in path or path in (".", "..") else path


def _one_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = (
        [line for line in lines if not line.startswith(("In file", "In bindings", "at 0x"))] or lines or [repr(error)]
    )
    return " ".join(useful)[:600]
