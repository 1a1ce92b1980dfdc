"""What the commands share: flags, help, and errors in one sentence."""

import os
import sys
import textwrap
from collections.abc import Callable

from absl import app, flags, logging

from load_tf import interruption, output
from load_tf.devices import memory, surroundings
from load_tf.errors import UserError

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # so that --help of a command shows the flags defined here as its own
USAGE_STATUS = UserError.status
"""Exit status when something outside the code is wrong."""
READER_GONE = 128 + 13
"""Exit status when who reads the output has gone away: what a shell says of a process that SIGPIPE ended."""


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
    flags.DEFINE_string(
        "math", None, "float32 or bfloat16, which a run's looks at models are made in; overrides Runtime.math."
    )
    flags.DEFINE_bool(
        "watch_preemption", False, "On Google Compute Engine: heed its notice that this machine is taken away."
    )


def define_engine_flag() -> None:
    """The flag of the commands that look at a finished model."""
    flags.DEFINE_enum(
        "engine",
        "tensorflow",
        ["tensorflow", "litert", "openvino"],
        "What labels the images: tensorflow, litert (faster with small networks) or openvino (pip install "
        "'load-tf[export]').",
    )


def run(main: Callable[..., int | None], positional: bool = False, for_its_output: bool = False) -> None:
    """Runs a command under absl and ends the process with its status; see `execute`.

    Args:
      main: as `execute` takes it.
      positional: likewise.
      for_its_output: whether all that the command is for is what it prints, so that it ends, with `READER_GONE`, once
        nobody reads that any more; others go on without.
    """

    def parse(arguments: list[str]) -> list[str]:
        if {"--help", "-help", "-h", "--helpshort"} & set(arguments[1:]):
            # absl looks for the words and flags of the file that was started: of a console script it finds none.
            print(usage(sys.modules[main.__module__].__doc__ or ""))
            sys.exit(0)
        return parse_flags(arguments)

    def prepared(*arguments: str) -> int | None:
        surroundings.for_a_command()
        memory.keep_what_is_freed()
        return main(*arguments)

    output.outlive_readers(READER_GONE if for_its_output else None)
    app.run(lambda arguments: execute(prepared, arguments, positional), flags_parser=parse)


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


def _without_gin_trace(error: Exception) -> str:
    """gin adds to a message where the call came from; the sentence says enough."""
    return str(error).partition("\n  In call to configurable")[0]
