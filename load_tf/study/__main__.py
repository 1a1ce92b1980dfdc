"""`python -m load_tf.study --gin_file=study_synthetic.gin --run_dir=DIR`: methods and settings side by side.

Every run is a process of its own with a run directory of its own, so that it can be killed and resumed like any other.
When it ends it leaves one small JSON file in `--results`; runs whose file is there are not made again. These files are
enough to go on from on another machine: weights are not among them, so a start that a missing run needs is made again.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
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

    def do(runs: Sequence[Run]) -> None:
        missing = [run for run in runs if not (results / f"{run.name}.json").is_file()]
        if not missing:
            return
        first, all_ = _starts(missing, study), _starts([*missing, *_left(study, results)], study)
        made = [start for start in all_ if not (run_dir / f"{start.name}.json").is_file()]
        # Starts that only later runs need come last: for a process that would wait for another one's start.
        in_order = [start for start in made if start in first]
        in_order += [run for run in missing if run.variant != START]
        in_order += [start for start in made if start not in first]
        _make_all(in_order, study, run_dir, results, command)
        _keep(all_, run_dir, results)

    results.mkdir(parents=True, exist_ok=True)
    do(study.begun)
    for wave in study.waves:
        do([run for variant in wave for run in _tried(study, variant)])
        # Seed by seed, so that what is there is comparable at any time.
        for seed in study.seeds:
            do([run for variant in wave for run in study.runs(variant, seed, _chosen_rates(study, results, variant))])
            comparison.write(results, _rows(study, results))
    comparison.write(results, _rows(study, results))


def _starts(runs: Sequence[Run], study: Study) -> list[Run]:
    """The runs that make what these start from, each once."""
    return list(dict.fromkeys(run.begins_with(study) for run in runs))


def _left(study: Study, results: Path) -> list[Run]:
    """The runs of all variants, seeds and starts that have no result yet, as far as rates have been chosen."""
    rates = {variant: _chosen_rates(study, results, variant) for variant in study.variants}
    runs = [run for variant in rates for seed in study.seeds for run in study.runs(variant, seed, rates[variant])]
    done = set(_finished(results, runs))
    return [run for run in runs if run not in done]


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
    """By variant the names of its finished runs with the chosen rate."""
    rows = {START: [name for start in study.begun for name in _made(start, results)]}
    for variant in study.variants:
        rates = _chosen_rates(study, results, variant)
        runs = [run for seed in study.seeds for run in study.runs(variant, seed, rates)]
        rows[variant] = [run.name for run in _finished(results, runs)]
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


def _finished(results: Path, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if (results / f"{run.name}.json").is_file()]


def _make_all(runs: Sequence[Run], study: Study, run_dir: Path, results: Path, command: Sequence[str]) -> None:
    """Several processes at a time, in this order but that no run begins before its start is made; the first that fails
    ends the study once the others are through."""
    waiting, failed = list(runs), None
    working: dict[subprocess.Popen[bytes], _Work] = {}
    try:
        while waiting or working:
            while failed is None and len(working) < study.processes:
                unmade = {run for run in (*waiting, *(work.run for work in working.values())) if run.variant == START}
                ready = (run for run in waiting if run.variant == START or run.begins_with(study) not in unmade)
                if (run := next(ready, None)) is None:
                    break
                waiting.remove(run)
                work = _Work(run, run_dir, results)
                working[work.begin(study, command)] = work
            time.sleep(0.2)
            for process in [p for p in working if p.poll() is not None]:
                work = working.pop(process)
                work.log.close()
                print(f"{work.run.name}: {_outcome(process, work)}", flush=True)
                if process.returncode:
                    failed = work
            if failed is not None and not working:
                raise UserError(
                    f"the run {failed.run.name!r} failed: {failed.last_words()} (all of it: {failed.log.name}); mend "
                    "it and give the same command again: what is finished is kept."
                )
    except BaseException:
        # Runs that outlived the study would still have its run directories when it is given again.
        for process in working:
            process.terminate()
        for process in working:
            process.wait()
        raise


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
