"""One line for every event, so that a person who looks in the morning sees where the game stands."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

from load_tf import output
from load_tf.algorithm.lookahead import Lookahead
from load_tf.report.endings import ending


class Terminal:
    """Prints a run's events in plain words on standard output, between the progress bars."""

    def __init__(self, settings: Lookahead | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins to count the time.

        Args:
          settings: how long a cycle and the run may be at the most; None: no time left is told.
          clock: seconds.
        """
        self._settings, self._clock = settings, clock
        self._start = self._start_untouched = math.nan
        self._lower = self._upper = 0.0
        self._judged: str | None = None
        self._agreement: float | None = None
        self._update: dict[str, Any] = {}
        self._iterations = 0
        self._before = 0
        self._game_began = math.nan
        self._began = clock()
        self._unread = False

    def say(self, text: str) -> None:
        """Prints a line, or nothing once nobody reads it: the run goes on."""
        if self._unread:
            return
        try:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        except OSError as error:
            if error.errno not in output.GONE:
                raise
            self._unread = True

    def remember(self, event: dict[str, Any]) -> None:
        """Takes note of an event from before a resume, without printing it."""
        if event["event"] == "start":
            self._start_of_load(event)
        elif event["event"] == "peak":
            self._start_from(event)
        elif event["event"] == "evaluate":
            self._iterations += 1
            self._before += 1

    def hear(self, event: dict[str, Any]) -> None:
        """Prints an event of the journal, if it is one people want to see."""
        show = {
            "stage_one": self._stage_one,
            "calibrated": self._calibrated,
            "start": self._start_of_load,
            "update": self._update_of_segmentor,
            "evaluate": self._evaluate,
            "peak": self._peak,
            "cycle_end": self._cycle_end,
            "buffer": self._buffer,
            "maps": self._maps,
            "discriminator": self._discriminator,
            "discriminator_end": self._discriminator_end,
            "direction": self._direction,
            "peak_test": self._peak_test,
            "warning": self._warning,
        }.get(event["event"])
        if show is not None:
            minutes, seconds = divmod(int(self._clock() - self._began), 60)
            line = show(event)
            if line:
                self.say(f"[{minutes:3d}:{seconds:02d}] {line}")

    def _stage_one(self, event: dict[str, Any]) -> str:
        return (
            f"stage 1, epoch {event['epoch']}/{event['epochs']}: cross-entropy {event['loss']:.4f}, "
            f"hold-out mIoU {100 * event['miou']:.2f} (best {100 * event['best']:.2f})"
        )

    def _calibrated(self, event: dict[str, Any]) -> str:
        return (
            f"class constants fitted to D_t in {event['steps']} steps: hold-out mIoU "
            f"{100 * event['miou_before']:.2f} -> {100 * event['miou']:.2f}"
        )

    def _start_of_load(self, event: dict[str, Any]) -> str:
        self._lower, self._upper = event["lower"], event["upper"]
        self._start_from(event)
        watched = ""
        if math.isfinite(self._start_untouched):
            watched = f"; {event['watched']} untouched images are watched, mIoU {100 * event['untouched']:.2f}"
        return f"it starts from hold-out mIoU {100 * event['miou']:.2f}{watched}"

    def _start_from(self, event: dict[str, Any]) -> None:
        """A new start model; on the watched images its score may not be known."""
        self._start = event["miou"]
        self._start_untouched = math.nan if event.get("untouched") is None else event["untouched"]

    def _update_of_segmentor(self, event: dict[str, Any]) -> str | None:
        self._update = event
        if not math.isfinite(self._game_began):
            self._game_began = self._clock()
        if event["finite"]:
            return None
        return (
            f"cycle {event['cycle']}, iteration {event['iteration']}: loss or gradient not finite, update not applied"
        )

    def _evaluate(self, event: dict[str, Any]) -> str:
        self._iterations += 1
        if event["miou"] is None:
            return f"cycle {event['cycle']}, iteration {event['iteration']}: hold-out mIoU not finite"
        change = f", {100 * (event['miou'] - self._start):+.2f}" if math.isfinite(self._start) else ""
        seen = f" by {event['images']} images" if "images" in event else ""
        return (
            f"cycle {event['cycle']}, iteration {event['iteration']}: hold-out mIoU {100 * event['miou']:.2f}{seen}"
            f"{change}{self._bounds()}{self._watched(event)}{self._health()}{self._left(event)}"
        )

    def _watched(self, event: dict[str, Any]) -> str:
        """The gain on the watched images, which decides nothing."""
        if event.get("untouched") is None or not math.isfinite(self._start_untouched):
            return ""
        return f", untouched {100 * (event['untouched'] - self._start_untouched):+.2f}"

    def _bounds(self) -> str:
        """What ends the cycle, and what is a peak."""
        if not math.isfinite(self._start):
            return ""
        return f" (bounds {100 * (self._start - self._lower):.2f}, {100 * (self._start + self._upper):.2f})"

    def _left(self, event: dict[str, Any]) -> str:
        """Time to the latest possible end of the cycle and of the run, from the pace since this process took over."""
        done = self._iterations - self._before
        if self._settings is None or not math.isfinite(self._game_began):
            return ""
        pace = (self._clock() - self._game_began) / done
        text = f", cycle {_duration(pace * (self._settings.patience - event['iteration']))} more at the most"
        if self._settings.max_iterations is not None:
            text += f", run {_duration(pace * (self._settings.max_iterations - self._iterations))}"
        return text

    def _health(self) -> str:
        """What the discriminator's training and the last update say of the game, as far as its method measures it."""
        words = (
            ("loss", "loss {:+.3f}"),
            ("gradient_norm", "gradient {:.3g}"),
            ("fooled_share", "fooled {:.0%}"),
            ("changed_share", "labels changed {:.2%}"),
            ("distance", "moved {:.1e}"),
        )
        shown = [text.format(self._update[name]) for name, text in words if self._update.get(name) is not None]
        if self._judged is not None:
            shown.append(self._judged)
        if self._agreement is not None:
            shown.append(f"agreement {self._agreement:.2f}")
        return "".join(f", {text}" for text in shown)

    def _peak_test(self, event: dict[str, Any]) -> str:
        return (
            f"cycle {event['cycle']}, iteration {event['iteration']}: better than the start model in "
            f"{event['confidence']:.1%} of the draws of hold-out images"
        )

    def _warning(self, event: dict[str, Any]) -> str:
        return f"WARNING: {event['text']}"

    def _peak(self, event: dict[str, Any]) -> str:
        gain = 100 * (event["miou"] - self._start)
        change = f"({gain:+.2f}){self._watched(event)}"
        self._start_from(event)
        return f"peak {event['model']}: hold-out mIoU {100 * event['miou']:.2f} {change}, the new start model"

    def _cycle_end(self, event: dict[str, Any]) -> str:
        return f"cycle {event['cycle']} ends after {event['iteration']} iterations: {ending(event['reason']).sentence}"

    def _buffer(self, event: dict[str, Any]) -> str:
        return f"buffer: [{' | '.join(event['sets'])}]"

    def _maps(self, event: dict[str, Any]) -> str:
        return f"{event['model']}: {100 * event['changed_share']:.2f} % of the hold-out's label map points changed"

    def _discriminator(self, event: dict[str, Any]) -> str:
        if "place_auc" in event:  # asked whether a map is right there, not whether it is real: its pairs say nothing
            self._judged = f"places {event['place_auc']:.0%}"
            told = f"places {event['place_auc']:.3f}"
        else:
            self._judged = f"pairs {event['pair_accuracy']:.0%}"
            told = f"pairs {event['pair_accuracy']:.2f}"
        return (
            f"discriminator, epoch {event['epoch']}: loss {event['training_loss']:.3f}; on the hold-out loss "
            f"{event['loss']:.3f}, real {event['real_accuracy']:.2f}, fake {event['fake_accuracy']:.2f}, {told}"
        )

    def _direction(self, event: dict[str, Any]) -> str:
        self._agreement = event["agreement"]
        words = (
            ("agreement", "batches agree on its direction by a cosine of {:.2f}"),
            ("localisation", "at {:.0%} of the wrong hold-out points it prefers the truth"),
        )
        shown = [text.format(event[name]) for name, text in words if event[name] is not None]
        return f"the discriminator's gradient: {', '.join(shown) or 'none'}"

    def _discriminator_end(self, event: dict[str, Any]) -> str:
        reason = {
            "sufficient_accuracy": "accurate enough",
            "not_improving": "it does not improve any more on the hold-out",
            "max_epochs": "its epochs are used up",
            "non_finite": "WARNING: a loss was not finite",
        }[event["reason"]]
        # The journals of older runs don't say what for.
        kept_for = {
            "sufficient_accuracy": ": it is accurate enough",
            "loss": ": its loss is the lowest",
            "pair_accuracy": ": its pair accuracy is the highest",
            "place_auc": ": it tells right places from wrong ones best",
        }.get(event.get("kept_for", ""), "")
        return f"discriminator: {reason}; epoch {event['best']} is kept{kept_for}"


class Silent(Terminal):
    """Prints nothing: of several workers one tells what all do."""

    def say(self, text: str) -> None:
        """Prints nothing."""


def in_minutes(seconds: float) -> str:
    """A time that is only roughly known: "a minute", "6 min", "3 h 20 min", "4 days"."""
    minutes = math.ceil(seconds / 60)
    if minutes <= 1:
        return "a minute"
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{minutes // 60} h {minutes % 60:02d} min" if hours < 48 else f"{math.ceil(hours / 24)} days"


def _duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60}:{whole % 60:02d}"
