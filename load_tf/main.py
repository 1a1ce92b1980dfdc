"""Runs an experiment: stage 1 if the segmentor needs it, LoAd, and the report.

python -m load_tf.main --gin_file=demo.gin --run_dir=DIR

The gin file says what is run on what; demo.gin takes minutes and needs nothing. The same command on the same folder
resumes a run that was stopped; a finished one prints its table. Open DIR/report/index.html to see what happened.

Several GPUs are found by themselves; several machines by TF_CONFIG, with the same command on each and DIR on storage
that all share (docs/scale.md).

Exit status: 0 if the run is finished, 2 if a flag, a file or a value is wrong (one sentence says which), 75 if another
machine of the run is gone or does not come, 130 or 143 if Ctrl-C or SIGTERM stopped it.
"""

from load_tf import commands
from load_tf.errors import UserError
from load_tf.experiment import config


def _main() -> None:
    if not commands.FLAGS.run_dir:
        raise UserError("no --run_dir; name a folder for the run.")
    commands.quiet_tensorflow()
    text = config.parse_gin()
    from load_tf.experiment import plan
    from load_tf.experiment import run as experiment

    experiment.run(config.configured(plan.assemble), commands.FLAGS.run_dir, text)


def main() -> None:
    """Entry point of the console script."""
    commands.define_experiment_flags()
    commands.run(_main)


if __name__ == "__main__":
    main()
