"""What the commands share: flags, gin files, and errors in one sentence."""

import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from absl import app, flags, logging

from load_tf import interruption
from load_tf.errors import UserError

T = TypeVar("T")

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # so that --help of a command shows the flags defined here as its own
USAGE_STATUS = UserError.status
"""Exit status when something outside the code is wrong."""

_MACRO_FLAGS = ("data_dir", "checkpoint")


def define_experiment_flags() -> None:
    """The flags of every command that runs an experiment."""
    flags.DEFINE_multi_string(
        "gin_file", [], "Experiment file: a path, or the name of a shipped one such as demo.gin. May be repeated."
    )
    flags.DEFINE_multi_string(
        "gin_param", [], "A binding such as Lookahead.patience=10, over the files'. May be repeated."
    )
    flags.DEFINE_string("run_dir", None, "Folder of the run; a run that is there is resumed.")
    flags.DEFINE_string("data_dir", None, "Where the data set is; overrides the file's data_dir.")
    flags.DEFINE_string("checkpoint", None, "The segmentor's checkpoint; overrides the file's checkpoint.")
    flags.DEFINE_integer("seed", None, "Seed of every draw; overrides experiment.seed.")
    flags.DEFINE_bool(
        "watch_preemption", False, "On Google Compute Engine: heed its notice that this machine is taken away."
    )


def run(main: Callable[..., int | None], positional: bool = False) -> None:
    """Runs a command under absl and ends the process with its status; see `execute`."""

    def parse(arguments: list[str]) -> list[str]:
        if {"--help", "-help", "-h", "--helpshort"} & set(arguments[1:]):
            # absl looks for the words and flags of the file that was started: of a console script it finds none.
            print(usage(sys.modules[main.__module__].__doc__ or ""))
            sys.exit(0)
        return parse_flags(arguments)

    app.run(lambda arguments: execute(main, arguments, positional), flags_parser=parse)


def usage(description: str) -> str:
    """What --help prints: what the command does, and its flags.

    Args:
      description: the docstring of the command's module.
    """
    lines = [description.strip(), "", "Flags:"]
    for module, defined in sorted(FLAGS.flags_by_module_dict().items()):
        if module.partition(".")[0] == "absl":
            continue
        for flag in sorted(defined, key=lambda flag: str(flag.name)):
            default = "" if flag.default in (None, False, []) else f" (default: {flag.default})"
            name = f"--{flag.name}" if flag.boolean else f"--{flag.name}=..."
            words = str(flag.help).partition(";\n")[0]  # absl adds that a repeated flag may be repeated
            wrapped = textwrap.wrap(words + default, 96)
            lines += [f"  {name}", *(f"      {line}" for line in wrapped)]
    return "\n".join(lines)


def execute(main: Callable[..., int | None], arguments: list[str], positional: bool = False) -> int:
    """Calls a command; a `UserError`, or being asked to stop, becomes one sentence on standard error.

    Args:
      main: the command; what it returns is the exit status, None is 0.
      arguments: what is left of the command line after its flags were parsed; the first is the program's name.
      positional: give `main` the others; without, they are refused.

    Returns:
      The exit status: that of the command or of the error, or 143 and 130 if SIGTERM or Ctrl-C ended it.
    """
    try:
        if arguments[1:] and not positional:
            raise UserError(f"unexpected argument {arguments[1]!r}; see --help.")
        watching = "watch_preemption" in FLAGS and FLAGS.watch_preemption
        with interruption.handled(interruption.machine_is_taken_away if watching else None):
            return main(*arguments[1:]) or 0
    except interruption.Interrupted as stop:
        print(f"load_tf: {stop}", file=sys.stderr)
        return stop.status
    except UserError as error:
        print(f"load_tf: {_without_gin_trace(error)}", file=sys.stderr)
        return error.status


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses the flags; returns what is left.

    A wrong flag ends the process with `USAGE_STATUS`, --help with 0; absl's own statuses are 1 for both.
    """
    try:
        return FLAGS(arguments)
    except flags.Error as error:
        print(f"load_tf: {error}; see --help.", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    except SystemExit:
        # Only --help and its like end the program while flags are parsed.
        sys.exit(0)


def quiet_tensorflow() -> None:
    """Silences TensorFlow's notes to its developers; what goes wrong still comes as an exception.

    Must come before its import. TF_CPP_MIN_LOG_LEVEL in the environment wins.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.set_verbosity(logging.ERROR)


def parse_gin() -> str:
    """Parses the gin files and parameters of the flags.

    Returns:
      The config as text, all bindings in canonical order: what a run directory is recognised by.

    Raises:
      UserError: if a file is not found, or gin does not accept a binding.
    """
    if not FLAGS.gin_file:
        raise UserError(f"no --gin_file; give a path or one of the shipped files: {', '.join(shipped_gin_files())}.")
    files = [str(find_gin_file(name)) for name in FLAGS.gin_file]
    texts = {file: _read_text(file) for file in files}
    for name, text in [*texts.items(), *(("--gin_param", binding) for binding in FLAGS.gin_param)]:
        _refuse_imports(name, text)
    bindings = list(FLAGS.gin_param)
    for name in _MACRO_FLAGS:
        value = getattr(FLAGS, name)
        if value is not None:
            if not any(f"%{name}" in text for text in texts.values()):
                raise UserError(
                    f"--{name} is given, but {', '.join(FLAGS.gin_file)} has no use for it (no %{name} in it)."
                )
            bindings.append(f"{name} = {_absolute(value)!r}")
    if FLAGS.seed is not None:
        bindings.append(f"experiment.seed = {FLAGS.seed}")
    import gin

    import load_tf.experiment.plan  # noqa: F401 - registers every configurable; gin locks when it parses
    from load_tf.experiment.bindings import refuse_wrong_types

    try:
        gin.parse_config_files_and_bindings(files, bindings)
    except (ValueError, TypeError, SyntaxError, AttributeError, RuntimeError, OSError) as error:
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

    import load_tf.experiment.plan  # noqa: F401 - as in `parse_gin`

    try:
        gin.parse_config(text)
    except (ValueError, TypeError, SyntaxError, AttributeError, RuntimeError) as error:
        raise UserError(f"{file} is not accepted: {_one_sentence(error)}") from None


def configured(assemble: Callable[..., T]) -> T:
    """Calls something that gin configures; gin's complaints become one sentence."""
    try:
        return assemble()
    except (TypeError, ValueError, RuntimeError) as error:
        if any(word in str(error).lower() for word in ("gin", "configurable", "macro", "required bindings")):
            raise UserError(f"the config is not complete: {_one_sentence(error)}") from None
        raise


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
    package = Path(__file__).resolve().parent
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


def _without_gin_trace(error: Exception) -> str:
    """gin adds to a message where the call came from; the sentence says enough."""
    return str(error).partition("\n  In call to configurable")[0]


def _one_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = (
        [line for line in lines if not line.startswith(("In file", "In bindings", "at 0x"))] or lines or [repr(error)]
    )
    return " ".join(useful)[:600]
