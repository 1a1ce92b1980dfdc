"""`python -m load_tf.main --gin_file=demo.gin --run_dir=DIR`: runs an experiment, or resumes what is in the folder."""

from load_tf import commands
from load_tf.errors import UserError


def _main() -> None:
    if not commands.FLAGS.run_dir:
        raise UserError("no --run_dir; name a folder for the run.")
    commands.quiet_tensorflow()
    config = commands.parse_gin()
    from load_tf import experiment, plan

    experiment.run(commands.configured(plan.assemble), commands.FLAGS.run_dir, config)


def main() -> None:
    """Entry point of the console script."""
    commands.define_experiment_flags()
    commands.run(_main)


if __name__ == "__main__":
    main()
