"""Algorithm 1 of the paper: lookahead adversarial learning (LoAd), as plain Python.

Nothing here knows what a tensor is. The loop talks to a `Game`, which evaluates, updates, keeps and restores models,
aggregates label maps and trains the discriminator. Everything the loop must remember is in a `State`, which it hands to
the game for a commit after every action, so that a run killed anywhere continues from its last commit.

Names are the paper's: the start model `g_s` with hold-out mIoU `mu_s`, the best model of a cycle `g*`, the end model
`g_e`, fruitless cycles `psi`, patience `gamma`, bounds `beta_u` and `beta_l`, buffer `B`.
"""

import dataclasses
import math
from typing import Any, Literal, Protocol

from load_tf.errors import UserError, check, check_whole

MAX_NON_FINITE_CYCLES = 3
"""Cycles in a row that may end on a non-finite update before the run stops with advice."""

Phase = Literal["begin", "ahead", "aggregate", "discriminator", "finished"]


@dataclasses.dataclass(frozen=True)
class Lookahead:
    """The parameters of Algorithm 1; the defaults are the paper's (section 4).

    >>> short = Lookahead(upper=0.0, patience=5, max_iterations=10)  # two cycles; any rise is a peak
    >>> short.patience, short.lower, Lookahead().patience
    (5, 0.05, 50)

    Attributes:
      max_fruitless_cycles: `Psi`: the run ends after this many cycles in a row without a new peak.
      patience: `Gamma`: the most adversarial iterations in a cycle.
      upper: `beta_u`, in mIoU as a fraction: a peak must be better than the start model by more than this.
      lower: `beta_l`, in mIoU as a fraction, above 0: a cycle ends when it has fallen this far below the start model.
      max_buffer_sets: `B_max`: the most label map sets in the aggregation buffer.
      max_cycles: the run ends after this many cycles, fruitless or not; None, as in the paper, for no such bound.
      max_iterations: the run ends after this many adversarial iterations over all cycles, a budget that other methods
        can be given, too; None, as in the paper, for no such bound.
      peak_test: a peak must also be better than the start model in this share of paired bootstrap draws over the
        hold-out images, in [0.5, 1); None, as in the paper, for no such test.
      race: an evaluation may stop as soon as the images seen so far say that the model is no peak, and on which side of
        the lower bound it is, with this chance at the most, in (0, 0.5), that all images would say otherwise; 0.005 is
        small. A peak is always evaluated in full. None, as in the paper, for all images every time.
    """

    max_fruitless_cycles: int = 50
    patience: int = 50
    upper: float = 0.001
    lower: float = 0.05
    max_buffer_sets: int = 3
    max_cycles: int | None = None
    max_iterations: int | None = None
    peak_test: float | None = None
    race: float | None = None

    def __post_init__(self) -> None:
        whole = "a whole number of at least 1"
        check_whole(self, "max_fruitless_cycles", "patience", "max_buffer_sets", expected=whole)
        bounds = [name for name in ("max_cycles", "max_iterations") if getattr(self, name) is not None]
        check_whole(self, *bounds, expected=f"None or {whole}")
        within = "an mIoU as a fraction, in"
        check(self, "upper", allowed=lambda v: isinstance(v, int | float) and 0 <= v < 1, expected=f"{within} [0, 1)")
        why = "a cycle goes on while mIoU is above the start model's less this, so with 0 it would end before its first"
        check(
            self,
            "lower",
            allowed=lambda value: isinstance(value, int | float) and 0 < value < 1,
            expected=f"{within} (0, 1): {why} update",
        )
        share = "None or a share in [0.5, 1)"
        check(self, "peak_test", allowed=lambda value: value is None or 0.5 <= value < 1, expected=share)
        chance = "None or a chance in (0, 0.5)"
        check(
            self,
            "race",
            allowed=lambda value: value is None or (isinstance(value, int | float) and 0 < value < 0.5),
            expected=chance,
        )


@dataclasses.dataclass
class State:
    """All that Algorithm 1 remembers between two actions; plain values, fit for JSON.

    Models have the names of Figure 1: `g0` is the model it started from, `g1` the first peak, `ge0_1` the end model of
    the second cycle (counted from 0) that started from `g0`.
    """

    phase: Phase = "begin"
    start_miou: float = math.nan
    """`mu_s`."""
    peaks: int = 0
    """How many peaks were found; the start model is `g<peaks>`."""
    fruitless: int = 0
    """`psi`."""
    cycle: int = 0
    """Cycles begun before this one, over the whole run."""
    iteration: int = 0
    """`gamma`: adversarial iterations made in this cycle."""
    iterations: int = 0
    """Adversarial iterations made in all cycles."""
    miou: float = math.nan
    """`mu`: the present model's."""
    peak_miou: float | None = None
    """`mu*`: of the best model above the upper bound in this cycle, if there is one."""
    peak_iteration: int = 0
    peak_cycle: int = 0
    """The cycle of that iteration; without going back, one before this one, maybe."""
    finite: bool = True
    """Whether the last update was finite."""
    non_finite_cycles: int = 0
    """Cycles in a row that ended on a non-finite update."""
    buffer: list[str] = dataclasses.field(default_factory=list)
    """The models whose label maps the buffer holds: the start model's first, then end models, the oldest first."""
    pending: list[str] = dataclasses.field(default_factory=list)
    """Models whose label maps are still to be aggregated."""

    @property
    def start(self) -> str:
        """The name of `g_s`."""
        return f"g{self.peaks}"

    @property
    def fruitful(self) -> bool:
        """Whether this cycle has found a peak."""
        return self.peak_miou is not None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "State":
        # A run that was begun before it was remembered names the cycle it stands in.
        return cls(**{"peak_cycle": values["cycle"], **values})


class Game(Protocol):
    """What Algorithm 1 needs of the world."""

    def evaluate(self) -> float:
        """mIoU of the present model on the hold-out, as a fraction, over the classes that the hold-out's truth has."""

    def race(self, floor: float, best: float, error: float, best_is_start: bool) -> tuple[float, int | None]:
        """As `evaluate`, but it may stop where it is known that the present model is not above `best`.

        Args:
          floor: mIoU at which a cycle ends; on which side of it the model is has to be known, too.
          best: mIoU that a better model must exceed.
          error: the chance, at the most, that all images would say otherwise.
          best_is_start: whether `best` is about the start model; else about the best one of the cycle.

        Returns:
          The mIoU, an estimate where it stopped; and then how many images were looked at, else None.
        """

    def go_back(self) -> None:
        """Makes the start model the present one; the optimizer's momentum starts from zero, unless it is to go on."""

    def reset_momentum(self) -> None:
        """As `go_back`, but the present model stays what it is."""

    def update(self, cycle: int, iteration: int) -> bool:
        """One adversarial iteration on the present model.

        Returns False if a loss or gradient was not finite; the present model then is the last finite one.
        """

    def confidence(self) -> float:
        """Share of paired bootstrap draws over the hold-out in which the evaluated model beats the start model."""

    def keep_best(self) -> None:
        """Keeps the present model as the best of this cycle."""

    def promote_best(self) -> None:
        """Makes the best model of the cycle the start model."""

    def aggregate(self, name: str, cycle: int) -> None:
        """Stores the label maps of model `name`: the start model's if it is `g...`, else the present model's."""

    def train_discriminator(self, buffer: list[str], cycle: int) -> None:
        """Trains the discriminator on the ground truth and the label maps of the models in `buffer`."""

    def record(self, event: str, **values: Any) -> None:
        """Writes an event into the journal."""

    def commit(self, state: State) -> None:
        """Makes everything up to now, and `state`, what a restart continues from."""


def play(game: Game, settings: Lookahead, state: State | None = None) -> State:
    """Runs Algorithm 1 to its end, or on from `state`.

    Args:
      game: the world; its present model is `g_0` when a run begins.
      settings: the parameters.
      state: what an earlier, interrupted call last committed; None to begin.

    Returns:
      The final state. The result of the run is the game's start model, the best model seen on the hold-out.

    Raises:
      UserError: if three cycles in a row ended on a non-finite update.
    """
    state = state or State()
    while state.phase != "finished":
        match state.phase:
            case "begin":
                _begin(game, settings, state)
            case "aggregate":
                _aggregate(game, settings, state)
            case "discriminator":
                game.train_discriminator(state.buffer, state.cycle)
                _begin_cycle(game, state)
            case "ahead":
                _look_ahead(game, settings, state)
        game.commit(state)
    return state


def evaluate_start(game: Game, settings: Lookahead, state: State) -> None:
    """Scores and journals the model a run begins with.

    Raises:
      UserError: if it can't be scored.
    """
    state.start_miou = state.miou = game.evaluate()
    if not math.isfinite(state.start_miou):
        raise UserError(
            f"the start model's hold-out mIoU is {state.start_miou}; are all of the hold-out's pixels void (255)?"
        )
    game.record("start", miou=state.start_miou, upper=settings.upper, lower=settings.lower, model=state.start)


def _begin(game: Game, settings: Lookahead, state: State) -> None:
    evaluate_start(game, settings, state)
    state.pending = [state.start]
    state.phase = "aggregate"


def _begin_cycle(game: Game, state: State) -> None:
    """One step back: the next cycle starts from `g_s` again."""
    game.go_back()
    state.iteration, state.miou = 0, state.start_miou
    state.peak_miou, state.finite = None, True
    state.phase = "ahead"


def _look_ahead(game: Game, settings: Lookahead, state: State) -> None:
    """One turn of the inner loop, or the end of the cycle if it has turned for the last time."""
    reason = _reason_to_end(settings, state)
    if reason:
        _end_cycle(game, settings, state, reason)
        return
    iterate(game, settings, state)


def iterate(game: Game, settings: Lookahead, state: State) -> None:
    """One iteration: an update, the hold-out, and the model is kept if it is the best."""
    state.finite = game.update(state.cycle, state.iteration)
    state.iteration += 1
    state.iterations += 1
    if not state.finite:
        return
    best = state.start_miou + settings.upper if state.peak_miou is None else state.peak_miou
    looked_at = None
    if settings.race is None:
        state.miou = game.evaluate()
    else:
        floor = state.start_miou - settings.lower
        state.miou, looked_at = game.race(floor, best, settings.race, best_is_start=not state.fruitful)
    estimated = {} if looked_at is None else {"images": looked_at}
    game.record("evaluate", cycle=state.cycle, iteration=state.iteration, miou=_json_number(state.miou), **estimated)
    if state.miou > best:
        _keep_if_sure(game, settings, state)


def _keep_if_sure(game: Game, settings: Lookahead, state: State) -> None:
    """Keeps the model just evaluated, the best since the start model was, unless the peak test is against it."""
    if settings.peak_test is not None:
        confidence = game.confidence()
        game.record("peak_test", cycle=state.cycle, iteration=state.iteration, confidence=confidence)
        if confidence < settings.peak_test:
            return
    state.peak_miou, state.peak_cycle, state.peak_iteration = state.miou, state.cycle, state.iteration
    game.keep_best()


def _reason_to_end(settings: Lookahead, state: State) -> str | None:
    if not state.finite or not math.isfinite(state.miou):
        return "non_finite"
    if not state.start_miou - settings.lower < state.miou:
        return "lower_bound"
    if not state.iteration < settings.patience:
        return "patience"
    if state.iterations == settings.max_iterations:
        return "budget"
    return None


def _end_cycle(game: Game, settings: Lookahead, state: State, reason: str) -> None:
    end = f"ge{state.peaks}_{state.fruitless}"
    record_cycle_end(game, state, reason, end)
    state.non_finite_cycles = state.non_finite_cycles + 1 if reason == "non_finite" else 0
    if state.non_finite_cycles == MAX_NON_FINITE_CYCLES:
        raise UserError(
            f"{MAX_NON_FINITE_CYCLES} cycles in a row ended on a loss, gradient or mIoU that is not finite; "
            "lower the segmentor's learning rate (AdversarialTraining.learning_rate) and start a new run directory."
        )
    if state.peak_miou is not None:
        game.promote_best()
        state.peaks += 1
        state.start_miou, state.fruitless = state.peak_miou, 0
        game.record("peak", cycle=state.cycle, iteration=state.peak_iteration, miou=state.peak_miou, model=state.start)
        state.buffer = []
        ended_on_peak = state.peak_iteration == state.iteration
        state.pending = [state.start] if ended_on_peak or settings.max_buffer_sets == 1 else [state.start, end]
    else:
        state.fruitless += 1
        state.pending = [end] if settings.max_buffer_sets > 1 else []
    state.cycle += 1
    over = (
        state.fruitless >= settings.max_fruitless_cycles
        or state.cycle == settings.max_cycles
        or state.iterations == settings.max_iterations
    )
    state.phase = "finished" if over else "aggregate"
    if over:
        state.pending = []
        game.go_back()


def record_cycle_end(game: Game, state: State, reason: str, end: str) -> None:
    """Journals why a cycle ended, and the name of its end model."""
    game.record(
        "cycle_end",
        cycle=state.cycle,
        iteration=state.iteration,
        reason=reason,
        miou=_json_number(state.miou),
        model=end,
    )


def _aggregate(game: Game, settings: Lookahead, state: State) -> None:
    """MapAggregation: adds the next pending set, dropping the oldest end model's if the buffer is full."""
    if state.pending:
        name = state.pending.pop(0)
        game.aggregate(name, state.cycle)
        if len(state.buffer) == settings.max_buffer_sets:
            del state.buffer[1]
        state.buffer.append(name)
    if not state.pending:
        game.record("buffer", cycle=state.cycle - 1, sets=list(state.buffer))
        state.phase = "discriminator"


def _json_number(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None
