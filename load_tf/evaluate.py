"""Evaluates a segmentor: IoU by class and mIoU, with the settings they depend on printed beside them.

python -m load_tf.evaluate --gin_file=voc.gin [--data_dir=DIR] [--checkpoint=FILE] [--run_dir=DIR]

With --run_dir the table is also written, to DIR/report. With --engine another runtime labels the images, one at a time,
and the share of the pixels that TensorFlow labels otherwise, in the first few, is said.

Exit status: 0 if the table was made, 2 if a flag, a file or a value is wrong (one sentence says which), 130 or 143 if
Ctrl-C or SIGTERM stopped it.
"""

from pathlib import Path

from load_tf import commands
from load_tf.experiment import config


def _main() -> None:
    commands.quiet_tensorflow()
    config.parse_gin()
    from load_tf.experiment import plan, scoring

    run_dir = Path(commands.FLAGS.run_dir) if commands.FLAGS.run_dir else None
    scoring.evaluate_only(config.configured(plan.assemble), run_dir, commands.FLAGS.engine)


def main() -> None:
    """Entry point of the console script."""
    commands.define_experiment_flags()
    commands.define_engine_flag()
    commands.run(_main)


if __name__ == "__main__":
    main()
