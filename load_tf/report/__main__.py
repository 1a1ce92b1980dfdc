"""Makes the report of a run, as one page that opens from disk.

python -m load_tf.report --run_dir=DIR

A run writes its report when it ends. This command writes DIR/report/index.html again, for a run that is still going or
that was made by an older version; it reads the folder and needs no TensorFlow.

Exit status: 0 if the page was written, 2 if the folder holds no run.
"""

from pathlib import Path

from absl import flags

from load_tf import commands
from load_tf.errors import UserError
from load_tf.storage.arrays import write_atomically

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this command."""
    flags.DEFINE_string("run_dir", None, "Folder of the run, finished or not.")


def write() -> None:
    """Writes the report of the run that the flags name."""
    if not FLAGS.run_dir:
        raise UserError("no --run_dir; name the folder of a run.")
    from load_tf.report import html

    run_dir = Path(FLAGS.run_dir)
    content = html.page(run_dir)
    file = run_dir / "report" / "index.html"
    try:
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, content.encode())
    except OSError as error:
        raise UserError(f"{file} can't be written: {error.strerror}.") from None
    print(f"written: {file}")


def main() -> None:
    """Entry point of the console script."""
    define_flags()
    commands.run(write)


if __name__ == "__main__":
    main()
