"""`python -m load_tf.study --gin_file=study_synthetic.gin --run_dir=DIR`: methods and settings side by side.

Every run is a process of its own with a run directory of its own, so that it can be killed and resumed like any other.
When it ends it leaves one small JSON file in `--results`; runs whose file is there are not made again.
"""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import gin
from absl import flags

from load_tf import commands
from load_tf.errors import UserError

START = "stage 1"
"""The run that every other of its seed starts from."""


@gin.configurable("study")
@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
      variants: by name the bindings, such as `experiment.method = @LoAd()`, that make it different from the others.
      seeds: every variant is run with each.
      learning_rates: by variant the rates to choose from, on the hold-out, with the first seed; a variant that is not
        named takes the gin file's.
      same_rate: by variant another one whose rate it takes.
      processes: runs at a time.
    """

    variants: Mapping[str, Sequence[str]]
    seeds: Sequence[int] = (0, 1, 2)
    learning_rates: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    same_rate: Mapping[str, str] = dataclasses.field(default_factory=dict)
    processes: int = 1

    def __post_init__(self) -> None:
        for names, what in (
            (self.learning_rates, "learning_rates"),
            (self.same_rate, "same_rate"),
            (self.same_rate.values(), "same_rate"),
        ):
            for name in names:
                if name not in self.variants:
                    raise UserError(
                        f"study.{what} names {name!r}; expected one of {', '.join(map(repr, self.variants))}."
                    )
        if not self.seeds or self.processes < 1:
            raise UserError(
                f"study has seeds {self.seeds} and {self.processes} processes; expected at least one of each."
            )

    @property
    def waves(self) -> tuple[tuple[str, ...], ...]:
        """The variants in an order in which every rate is known when it is asked for."""
        first = tuple(name for name in self.variants if name not in self.same_rate)
        return first, tuple(self.same_rate)


@dataclasses.dataclass(frozen=True)
class Run:
    """One variant with one seed, and a learning rate where there is a choice."""

    variant: str
    seed: int
    learning_rate: float | None = None

    @property
    def name(self) -> str:
        """For files."""
        words = "".join(c if c.isalnum() or c in "-.+" else "_" for c in self.variant)
        rate = "" if self.learning_rate is None else f"-rate{self.learning_rate:g}"
        return f"{words}{rate}-seed{self.seed}"

    def bindings(self, study: Study, run_dir: Path) -> list[str]:
        """What makes its config different from the gin file's."""
        if self.variant == START:
            return [f"experiment.seed = {self.seed}", "experiment.method = @Baseline()"]
        start = run_dir / Run(START, self.seed).name
        rate = [] if self.learning_rate is None else [f"AdversarialTraining.learning_rate = {self.learning_rate!r}"]
        return [
            f"experiment.seed = {self.seed}",
            f"experiment.start_from = {str(start)!r}",
            *rate,
            *study.variants[self.variant],
        ]


def make(study: Study, run_dir: Path, results: Path, command: Sequence[str]) -> None:
    """Makes every run that is missing, and the report after each.

    Args:
      study: what is compared.
      run_dir: a run directory per run goes in here.
      results: where the JSON files and the report go.
      command: makes one run, given `--gin_param=BINDING` for each of its bindings, `--run_dir` and `--one=RESULT.json`.
    """
    from load_tf.report import comparison

    def do(runs: Sequence[Run]) -> None:
        _make_all(
            [run for run in runs if not (results / f"{run.name}.json").is_file()], study, run_dir, results, command
        )

    results.mkdir(parents=True, exist_ok=True)
    do([Run(START, seed) for seed in study.seeds])
    chosen: dict[str, float | None] = {}
    for wave in study.waves:
        searched = [Run(v, study.seeds[0], rate) for v in wave for rate in study.learning_rates.get(v, ())]
        do(searched)
        for variant in wave:
            tried = [run for run in searched if run.variant == variant]
            chosen[variant] = chosen[study.same_rate[variant]] if variant in study.same_rate else None
            if tried:
                chosen[variant] = max(
                    tried, key=lambda run: comparison.read(results, run.name).holdout_after
                ).learning_rate
        # Seed by seed, so that what is there is comparable at any time.
        for seed in study.seeds:
            do([Run(variant, seed, chosen[variant]) for variant in wave])
            comparison.write(results, _rows(study, results))
    comparison.write(results, _rows(study, results))


def _rows(study: Study, results: Path) -> dict[str, list[str]]:
    """By variant the names of its finished runs with the chosen rate: the one that most seeds were run with."""
    rows = {}
    for variant in (START, *study.variants):
        rates = {run: run.learning_rate for run in _finished(variant, study, results)}
        if rates:
            values = list(rates.values())
            chosen = _best_rate(study, results, variant) if variant in study.learning_rates else values[0]
            rows[variant] = [run.name for run, rate in rates.items() if rate == chosen]
    return rows


def _best_rate(study: Study, results: Path, variant: str) -> float | None:
    from load_tf.report import comparison

    first = [run for run in _finished(variant, study, results) if run.seed == study.seeds[0]]
    return max(first, key=lambda run: comparison.read(results, run.name).holdout_after).learning_rate if first else None


def _finished(variant: str, study: Study, results: Path) -> list[Run]:
    rates: Sequence[float | None] = study.learning_rates.get(study.same_rate.get(variant, variant)) or (None,)
    runs = [Run(variant, seed, rate) for seed in study.seeds for rate in rates]
    return [run for run in runs if (results / f"{run.name}.json").is_file()]


def _make_all(runs: Sequence[Run], study: Study, run_dir: Path, results: Path, command: Sequence[str]) -> None:
    """Several processes at a time; the first that fails ends the study once the others are through."""
    waiting, failed = list(runs), None
    working: dict[subprocess.Popen[bytes], tuple[Run, IO[str], float]] = {}
    while waiting or working:
        while waiting and len(working) < study.processes and failed is None:
            run = waiting.pop(0)
            folder = run_dir / run.name
            folder.parent.mkdir(parents=True, exist_ok=True)
            log: IO[str] = open(run_dir / f"{run.name}.log", "w")  # noqa: SIM115 - the process has it while it lives
            parameters = [f"--gin_param={binding}" for binding in run.bindings(study, run_dir)]
            one = f"--one={results / run.name}.json"
            arguments = [*command, *parameters, f"--run_dir={folder}", one]
            working[subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT)] = run, log, time.monotonic()
        time.sleep(0.2)
        for process in [p for p in working if p.poll() is not None]:
            run, log, began = working.pop(process)
            log.close()
            print(f"{run.name}: {_outcome(process, run, results)}, {time.monotonic() - began:.0f} s", flush=True)
            if process.returncode:
                failed = run
        if failed is not None and not working:
            text = (run_dir / f"{failed.name}.log").read_text(errors="replace").strip().splitlines()
            last = text[-1] if text else "it said nothing"
            raise UserError(
                f"the run {failed.name!r} failed: {last} (all of it: {run_dir / failed.name}.log); mend it and give "
                "the same command again: what is finished is kept."
            )


def _outcome(process: "subprocess.Popen[bytes]", run: Run, results: Path) -> str:
    if process.returncode:
        return f"failed with status {process.returncode}"
    from load_tf.report import comparison

    found = comparison.read(results, run.name)
    return f"hold-out {100 * found.holdout_gain:+.2f}, untouched {100 * found.gain:+.2f}"


def _main() -> None:
    if not commands.FLAGS.run_dir:
        raise UserError("no --run_dir; name a folder for the runs.")
    commands.quiet_tensorflow()
    commands.parse_gin()
    if commands.FLAGS.one:
        from load_tf import study_run

        study_run.make(Path(commands.FLAGS.run_dir), Path(commands.FLAGS.one))
        return
    make_study: Callable[..., Study] = Study  # gin fills in the arguments
    study = commands.configured(make_study)
    run_dir = Path(commands.FLAGS.run_dir).resolve()
    results = Path(commands.FLAGS.results).resolve() if commands.FLAGS.results else run_dir / "results"
    given = [a for a in sys.argv[1:] if not a.startswith(("--run_dir", "--results", "-run_dir", "-results"))]
    make(study, run_dir, results, [sys.executable, "-m", "load_tf.study", *given])
    print((results / "table.md").read_text())


def main() -> None:
    """Entry point of the console script."""
    commands.define_experiment_flags()
    flags.DEFINE_string("results", None, "Folder for the results, one JSON file per run; default RUN_DIR/results.")
    flags.DEFINE_string("one", None, "Makes one run and writes its result to this file; the study calls itself so.")
    commands.run(_main)


if __name__ == "__main__":
    main()
