"""What a study compares, and the runs it consists of."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from load_tf.errors import UserError, check, check_whole

START = "stage 1"
"""The run that every other of its seed starts from."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
      variants: by name the bindings, such as `experiment.method = @LoAd()`, that make it different from the others.
      bindings: what all variants have beside the gin file, but not the stage 1 they start from.
      seeds: every variant is run with each, from every start.
      starts: by name the bindings that make one, such as `experiment.seed = 7` or `cross_fit.fold = 1`; a run that
        starts there has them, too, but for the seed, which is then that of the order of images alone. None: every seed
        makes a start of its own.
      folds: the starts are those of `cross_fit`, each with a hold-out and untouched images of its own: the rate is
        chosen in each, and the untouched images of all are put together.
      learning_rates: by variant the rates to choose from, on the hold-out, with the first seed, from the first start;
        a variant that is not named takes the gin file's.
      same_rate: by variant another one whose rate it takes.
      rate_parameters: by variant the parameter that its rates are bound to, such as `HungEtAl.learning_rate`;
        `AdversarialTraining.learning_rate` for one that is not named.
      processes: runs at a time.
    """

    variants: Mapping[str, Sequence[str]]
    bindings: Sequence[str] = ()
    seeds: Sequence[int] = (0, 1, 2)
    starts: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    folds: bool = False
    learning_rates: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    same_rate: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rate_parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    processes: int = 1

    def __post_init__(self) -> None:
        for names, what in (
            (self.learning_rates, "learning_rates"),
            (self.same_rate, "same_rate"),
            (self.same_rate.values(), "same_rate"),
            (self.rate_parameters, "rate_parameters"),
        ):
            for name in names:
                if name not in self.variants:
                    raise UserError(
                        f"study.{what} names {name!r}; expected one of {', '.join(map(repr, self.variants))}."
                    )
        for name, other in self.same_rate.items():
            if other in self.same_rate:
                raise UserError(
                    f"study.same_rate gives {name!r} the rate of {other!r}, which takes {self.same_rate[other]!r}'s; "
                    "expected a variant that takes nobody's."
                )
        for name, rates in self.learning_rates.items():
            if name in self.same_rate or len({Run(name, 0, rate).name for rate in rates}) < len(rates):
                raise UserError(
                    f"study.learning_rates gives {name!r} the rates {', '.join(map(str, rates))}; expected rates that "
                    "differ in six digits, of a variant that is not in study.same_rate."
                )
        check(self, "seeds", allowed=_each_once, expected="at least one, and each once", called="study")
        if self.folds and len(self.starts) < 2:
            raise UserError(f"study.folds is set, but study.starts has {len(self.starts)}; expected a start a fold.")
        check_whole(self, "processes", called="study")
        files = {Run(START, self.seeds[0]).name: START}
        for variant in self.variants:
            other = files.setdefault(Run(variant, self.seeds[0]).name, variant)
            if other != variant or variant == START:
                raise UserError(
                    f"study.variants names {variant!r}, whose files would be those of {other!r}; expected another name."
                )
        if len({Run(START, 0, start=start).name for start in self.starts}) < len(self.starts):
            raise UserError(f"study.starts names {', '.join(self.starts)}; expected names that differ in letters.")

    @property
    def begun(self) -> "list[Run]":
        """The runs that make the starts."""
        if self.starts:
            return [Run(START, self.seeds[0], start=start) for start in self.starts]
        return [Run(START, seed) for seed in self.seeds]

    def runs(self, variant: str, seed: int, rates: "Mapping[str | None, float | None]") -> "list[Run]":
        """A variant's runs with one seed: one from every start, each with the rate of `rates` for that start."""
        return [Run(variant, seed, rates[start], start) for start in (self.starts or (None,))]

    @property
    def choosing(self) -> "tuple[str | None, ...]":
        """The starts from which a rate is chosen: every fold's for itself, else the first one's for all."""
        names = tuple(self.starts) or (None,)
        return names if self.folds else names[:1]


def _each_once(seeds: Sequence[int]) -> bool:
    return 0 < len(seeds) == len(set(seeds))


@dataclasses.dataclass(frozen=True)
class Run:
    """One variant with one seed, a learning rate where there is a choice, and a start where the study names some."""

    variant: str
    seed: int
    learning_rate: float | None = None
    start: str | None = None

    @property
    def name(self) -> str:
        """For files."""
        rate = "" if self.learning_rate is None else f"-rate{self.learning_rate:g}"
        start = "" if self.start is None else f"-from_{self.start}"
        words = f"{self.variant}{rate}{start}-seed{self.seed}"
        return "".join(c if c.isalnum() or c in "-.+" else "_" for c in words)

    def begins_with(self, study: Study) -> "Run":
        """The run that makes its start; a start's is itself."""
        return Run(START, self.seed if self.start is None else study.seeds[0], start=self.start)

    def bindings(self, study: Study, run_dir: Path) -> list[str]:
        """What makes its config different from the gin file's."""
        named = [] if self.start is None else study.starts[self.start]
        if self.variant == START:
            return [f"experiment.seed = {self.seed}", *named, "experiment.method = @Baseline()"]
        start = run_dir / self.begins_with(study).name
        parameter = study.rate_parameters.get(self.variant, "AdversarialTraining.learning_rate")
        rate = [] if self.learning_rate is None else [f"{parameter} = {self.learning_rate!r}"]
        return [
            *named,
            f"experiment.seed = {self.seed}",
            f"experiment.start_from = {str(start)!r}",
            *study.bindings,
            *rate,
            *study.variants[self.variant],
        ]
