"""`python -m load_tf.evaluate --gin_file=voc.gin`: the table of a segmentor, its settings printed beside it."""

from pathlib import Path

from load_tf import commands


def _main() -> None:
    commands.quiet_tensorflow()
    commands.parse_gin()
    from load_tf import plan
    from load_tf.report import results

    run_dir = Path(commands.FLAGS.run_dir) if commands.FLAGS.run_dir else None
    results.evaluate_only(commands.configured(plan.assemble), run_dir)


def main() -> None:
    """Entry point of the console script."""
    commands.define_experiment_flags()
    commands.run(_main)


if __name__ == "__main__":
    main()
