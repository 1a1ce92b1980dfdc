"""What the commands share: flags, gin files, and errors in one sentence."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging

from load_tf.errors import UserError

FLAGS = flags.FLAGS
USAGE_STATUS = 2
"""Exit status when something outside the code is wrong."""

_MACRO_FLAGS = ("data_dir", "checkpoint")


def define_experiment_flags() -> None:
    """The flags of every command that runs an experiment."""
    flags.DEFINE_multi_string(
        "gin_file", [], "Experiment file: a path, or the name of a shipped one such as demo.gin. May be repeated."
    )
    flags.DEFINE_multi_string("gin_param", [], "A binding such as Lookahead.patience=10, over the files'. May be repeated.")
    flags.DEFINE_string("run_dir", None, "Folder of the run; a run that is there is resumed.")
    flags.DEFINE_string("data_dir", None, "Where the data set is; overrides the file's data_dir.")
    flags.DEFINE_string("checkpoint", None, "The segmentor's checkpoint; overrides the file's checkpoint.")
    flags.DEFINE_integer("seed", None, "Seed of every draw; overrides experiment.seed.")


def run(main: Callable[[], None]) -> None:
    """Runs a command under absl; a `UserError` ends it with one sentence and status 2."""

    def guarded(arguments: list[str]) -> None:
        try:
            if len(arguments) > 1:
                raise UserError(f"unexpected argument {arguments[1]!r}; see --help.")
            main()
        except UserError as error:
            print(f"load_tf: {_without_gin_trace(error)}", file=sys.stderr)
            sys.exit(USAGE_STATUS)

    app.run(guarded)


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
    import gin

    import load_tf.plan  # noqa: F401 - registers every configurable; gin locks when it parses

    files = [str(find_gin_file(name)) for name in FLAGS.gin_file]
    text = "\n".join(Path(file).read_text() for file in files)
    bindings = list(FLAGS.gin_param)
    for name in _MACRO_FLAGS:
        value = getattr(FLAGS, name)
        if value is not None:
            if f"%{name}" not in text:
                raise UserError(f"--{name} is given, but {', '.join(FLAGS.gin_file)} has no use for it (no %{name} in it).")
            bindings.append(f"{name} = {_absolute(value)!r}")
    if FLAGS.seed is not None:
        bindings.append(f"experiment.seed = {FLAGS.seed}")
    for file in files:
        _refuse_imports(file)
    try:
        gin.parse_config_files_and_bindings(files, bindings)
        return gin.config_str(max_line_length=120)
    except (ValueError, TypeError, SyntaxError, AttributeError, RuntimeError, OSError) as error:
        raise UserError(f"the config is not accepted: {_one_sentence(error)}") from None


def configured(assemble: Callable):  # noqa: ANN201 - whatever it returns
    """Calls something that gin configures; gin's complaints become one sentence."""
    try:
        return assemble()
    except (TypeError, ValueError, RuntimeError) as error:
        if "gin" in str(error).lower() or "configurable" in str(error).lower() or "macro" in str(error).lower():
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


def _refuse_imports(file: str) -> None:
    """A gin file may name what load_tf registers, and run no other code."""
    for number, line in enumerate(Path(file).read_text().splitlines(), 1):
        if re.match(r"\s*(import|from)\s", line):
            raise UserError(f"{file}, line {number}: gin files of load_tf do not import; remove {line.strip()!r}.")


def _absolute(path: str) -> str:
    """Paths of flags are relative to where the command was given; a name that is no path stays."""
    expanded = Path(path).expanduser()
    return str(expanded.resolve()) if expanded.exists() or "/" in path or path in (".", "..") else path


def _without_gin_trace(error: Exception) -> str:
    """gin adds to a message where the call came from; the sentence says enough."""
    return str(error).partition("\n  In call to configurable")[0]


def _one_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("In file", "In bindings", "at 0x"))] or lines or [repr(error)]
    return " ".join(useful)[:600]
