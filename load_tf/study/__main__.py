"""`python -m load_tf.study --gin_file=study_synthetic.gin --run_dir=DIR`: methods and settings side by side.

Every run is a process of its own with a run directory of its own, so that it can be killed and resumed like any other.
When it ends it leaves one small JSON file in `--results`; runs whose file is there are not made again. These files are
enough to go on from on another machine: weights are not among them, so a start that a missing run needs is made again.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO

from absl import flags

from load_tf import commands
from load_tf.errors import UserError
from load_tf.experiment import config
from load_tf.experiment.study_plan import START, Run, Study

AGAIN = "-again"
"""In the name of a start's result, with a number: that of another model than the first one."""


def make(study: Study, run_dir: Path, results: Path, command: Sequence[str]) -> None:
    """Makes every run that is missing, and the report after each.

    Args:
      study: what is compared.
      run_dir: a run directory per run goes in here.
      results: where the JSON files and the report go.
      command: makes one run, given `--gin_param=BINDING` for each of its bindings, `--run_dir` and `--one=RESULT.json`.
    """
    from load_tf.study import comparison

    results.mkdir(parents=True, exist_ok=True)
    _keep([start for start in study.begun if (run_dir / f"{start.name}.json").is_file()], run_dir, results)

    def made(run: Run) -> None:
        if run.variant == START:
            _keep([run], run_dir, results)
        elif (rows := _rows(study, results)).keys() - {START}:
            comparison.write(results, rows)

    _make_all(study, run_dir, results, command, made)
    comparison.write(results, _rows(study, results))


def _missing(study: Study, results: Path) -> list[Run]:
    """The runs without a result, in the order in which they are to be made.

    First those that rates are chosen from, fold by fold. Then seed by seed and start by start, so that what is there is
    comparable at any time; of a variant whose rate is not chosen yet with any rate. A start's own run comes where no
    other needs it.
    """
    tried = [run for variant in study.variants for run in _tried(study, variant)]
    runs = [run for start in study.choosing for run in tried if run.start == start]
    rates = {variant: _chosen_rates(study, results, variant) for variant in study.variants}
    for seed in study.seeds:
        by_start = zip(*(study.runs(variant, seed, rates[variant]) for variant in study.variants), strict=True)
        runs += [run for row in by_start for run in row]
    return [run for run in dict.fromkeys((*runs, *study.begun)) if not (results / f"{run.name}.json").is_file()]


def _next(study: Study, run_dir: Path, results: Path, working: Collection[Run]) -> Run | None:
    """What a process that is free is to make; None where all that is missing waits for runs that are being made.

    No run begins before its start is made and its rate is chosen. A process that would wait for that makes what later
    runs start from.
    """
    for run in _missing(study, results):
        start = run.begins_with(study)
        if run in working or start in working:
            continue
        if run == start or not (run_dir / f"{start.name}.json").is_file():
            return start
        if run in _tried(study, run.variant) or _chosen(study, results, run):
            return run
    return None


def _keep(starts: Sequence[Run], run_dir: Path, results: Path) -> None:
    """Copies a start's result to the others; its own lies beside its run directory and says that its weights are here.

    A start that was made again on another machine may be another model, whose result stands beside the first one's.
    """
    from load_tf.study import comparison

    for start in starts:
        here = comparison.read(run_dir, start.name)
        kept = [comparison.read(results, name) for name in _made(start, results)]
        if any(here.values["counts_after"] == other.values["counts_after"] for other in kept):
            continue
        name = f"{start.name}{AGAIN}{len(kept) + 1}" if kept else start.name
        shutil.copyfile(run_dir / f"{start.name}.json", results / f"{name}.json")
        if kept:
            print(
                f"{start.name} was made again and is another model: {100 * here.holdout_after:.2f} on the hold-out, in "
                f"{results} {100 * kept[0].holdout_after:.2f}. A gain is over the start that its own run had.",
                flush=True,
            )


def _made(start: Run, results: Path) -> list[str]:
    """The names of a start's results: the first one's, and those of other models that it was when it was made again."""
    found = [start.name] if (results / f"{start.name}.json").is_file() else []
    while found and (results / f"{start.name}{AGAIN}{len(found) + 1}.json").is_file():
        found.append(f"{start.name}{AGAIN}{len(found) + 1}")
    return found


def _rows(study: Study, results: Path) -> dict[str, list[str]]:
    """By variant the names of its finished runs with the chosen rate, once it is chosen."""
    rows = {START: [name for start in study.begun for name in _made(start, results)]}
    for variant in study.variants:
        rates = _chosen_rates(study, results, variant)
        runs = [run for seed in study.seeds for run in study.runs(variant, seed, rates)]
        rows[variant] = [run.name for run in _finished(results, runs) if _chosen(study, results, run)]
    return {variant: names for variant, names in rows.items() if names}


def _tried(study: Study, variant: str) -> list[Run]:
    """The runs that a variant's rate is chosen from."""
    rates = study.learning_rates.get(variant, ())
    return [Run(variant, study.seeds[0], rate, start) for start in study.choosing for rate in rates]


def _chosen_rates(study: Study, results: Path, variant: str) -> dict[str | None, float | None]:
    """By start the one of a variant's rates, or of the variant whose rate it takes, that was best on the hold-out.

    None where there is no choice, or none of its runs is finished yet.
    """
    from load_tf.study import comparison

    finished = _finished(results, _tried(study, study.same_rate.get(variant, variant)))
    # A gain, since a run may be from a start that was made again.
    finished.sort(key=lambda run: comparison.read(results, run.name).holdout_gain, reverse=True)
    best = {run.start: run.learning_rate for run in reversed(finished)}  # of equal ones the first
    names = tuple(study.starts) or (None,)
    return {start: best.get(start if study.folds else study.choosing[0]) for start in names}


def _chosen(study: Study, results: Path, run: Run) -> bool:
    """Whether all runs that its rate is chosen from are finished."""
    tried = _tried(study, study.same_rate.get(run.variant, run.variant))
    deciding = [other for other in tried if not study.folds or other.start == run.start]
    return len(_finished(results, deciding)) == len(deciding)


def _finished(results: Path, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if (results / f"{run.name}.json").is_file()]


def _make_all(study: Study, run_dir: Path, results: Path, command: Sequence[str], made: Callable[[Run], None]) -> None:
    """Makes what is missing, several processes at a time; the first that fails ends the study once the others are
    through. `made` hears of every run that is finished."""
    failed: _Work | None = None
    working: dict[subprocess.Popen[bytes], _Work] = {}
    try:
        begin_more = True
        while begin_more or working:
            while begin_more and len(working) < study.processes:
                run = _next(study, run_dir, results, [work.run for work in working.values()])
                if run is None:
                    break
                work = _Work(run, run_dir, results)
                working[work.begin(study, command)] = work
            begin_more = False
            time.sleep(0.2)
            for process in [p for p in working if p.poll() is not None]:
                work = working.pop(process)
                work.log.close()
                print(f"{work.run.name}: {_outcome(process, work)}", flush=True)
                if process.returncode:
                    failed = work
                else:
                    made(work.run)
                begin_more = failed is None
    except BaseException:
        # Runs that outlived the study would still have its run directories when it is given again.
        for process in working:
            process.terminate()
        for process in working:
            process.wait()
        raise
    if failed is not None:
        raise UserError(
            f"the run {failed.run.name!r} failed: {failed.last_words()} (all of it: {failed.log.name}); mend "
            "it and give the same command again: what is finished is kept."
        )


class _Work:
    """A run that a process of its own works on; what that says goes to RUN_DIR/NAME.log."""

    def __init__(self, run: Run, run_dir: Path, results: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.run, self.run_dir, self.began = run, run_dir, time.monotonic()
        self.result = (run_dir if run.variant == START else results) / f"{run.name}.json"
        self.log: IO[str] = open(run_dir / f"{run.name}.log", "w")  # noqa: SIM115 - open as long as the process lives

    def begin(self, study: Study, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        parameters = [f"--gin_param={binding}" for binding in self.run.bindings(study, self.run_dir)]
        places = [f"--run_dir={self.run_dir / self.run.name}", f"--one={self.result}"]
        return subprocess.Popen([*command, *parameters, *places], stdout=self.log, stderr=subprocess.STDOUT)

    def last_words(self) -> str:
        lines = Path(self.log.name).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _outcome(process: "subprocess.Popen[bytes]", work: _Work) -> str:
    if process.returncode:
        return f"failed with status {process.returncode}"
    from load_tf.study import comparison

    found = comparison.read(work.result.parent, work.run.name)
    return (
        f"hold-out {100 * found.holdout_gain:+.2f}, untouched {100 * found.gain:+.2f}, "
        f"{time.monotonic() - work.began:.0f} s"
    )


def _main() -> None:
    if not commands.FLAGS.run_dir:
        raise UserError("no --run_dir; name a folder for the runs.")
    commands.quiet_tensorflow()
    config.parse_gin()
    if commands.FLAGS.one:
        from load_tf.study import run as study_run

        study_run.make(Path(commands.FLAGS.run_dir), Path(commands.FLAGS.one))
        return
    from load_tf.experiment import registry

    if commands.FLAGS.seed is not None:
        raise UserError("--seed is given, but a study has seeds of its own; set study.seeds with --gin_param.")
    study = config.configured(registry.configured(Study))
    run_dir = Path(commands.FLAGS.run_dir).resolve()
    results = Path(commands.FLAGS.results).resolve() if commands.FLAGS.results else run_dir / "results"
    # The flags that `make` adds come last, and of --run_dir the last one counts.
    make(study, run_dir, results, [sys.executable, "-m", "load_tf.study", *sys.argv[1:]])
    print((results / "table.md").read_text())


def main() -> None:
    """Entry point of the console script."""
    commands.define_experiment_flags()
    flags.DEFINE_string("results", None, "Folder for the results, one JSON file per run; default RUN_DIR/results.")
    flags.DEFINE_string("one", None, "Makes one run and writes its result to this file; the study calls itself so.")
    commands.run(_main)


if __name__ == "__main__":
    main()
