"""What a commit holds of a game, and how a game resumes: every part names its arrays, the state has the counters."""

import dataclasses
from typing import Protocol

from load_tf.algorithm.lookahead import State
from load_tf.game.aggregation import Aggregation
from load_tf.game.judge import Judge
from load_tf.game.models import Models
from load_tf.game.watching import Watch
from load_tf.storage.run_directory import ArraySource, RunDirectory

PHASE = "lookahead"
"""What a run's state calls the time of the game."""


class Part(Protocol):
    """A part of a game that must survive a kill."""

    changed: set[str]
    """Names in a commit whose arrays are not those of the last one."""

    def sources(self, state: State) -> dict[str, ArraySource]:
        """All arrays that a commit in this state holds of it, by name; asked for those that changed."""

    def restore(self, run: RunDirectory) -> None:
        """Goes back to what the last commit of the run holds."""


class Saving:
    """Writes the commits of a game, in each only what changed, and brings a game back to where the last one stood."""

    def __init__(self, models: Models, judge: Judge | None, aggregation: Aggregation, watch: Watch) -> None:
        """Names the parts; all that changes in a game is in one of them, in the state or in the count of updates.

        Args:
          models: the segmentor's.
          judge: the discriminator's side; None without one.
          aggregation: the label maps.
          watch: what is known of the watched images.
        """
        self._judge, self._watch = judge, watch
        self._parts: list[Part] = [models, *([judge] if judge else []), aggregation]

    def commit(self, run: RunDirectory, state: State, updates: int) -> None:
        """Makes the game as it stands what a restart continues from.

        Args:
          run: where it is written.
          state: the algorithm's.
          updates: of the segmentor, made in the run so far.

        Raises:
          UserError, Interrupted: as `RunDirectory.commit`.
        """
        sources = {name: source for part in self._parts for name, source in part.sources(state).items()}
        changed = {name for part in self._parts for name in part.changed}
        progress = self._judge.progress if self._judge else None
        run.commit(
            {
                "phase": PHASE,
                "lookahead": state.to_json(),
                "updates": updates,
                "discriminator": dataclasses.asdict(progress) if progress else None,
                "watched": self._watch.to_json(),
            },
            {name: sources[name] for name in sorted(changed) if name in sources},
            keep=set(sources),
        )
        self._forget_changes()

    def resume(self, run: RunDirectory) -> tuple[State, int] | None:
        """Goes to where the run's last commit stood.

        Returns:
          The algorithm's state and the updates made so far; None if the run has no commit of a game.

        Raises:
          UserError: if its arrays are damaged, or another network's.
        """
        if run.state.get("phase") != PHASE:
            return None
        for part in self._parts:
            part.restore(run)
        self._watch.from_json(run.state.get("watched", {}))
        self._forget_changes()
        return State.from_json(run.state["lookahead"]), run.state["updates"]

    def _forget_changes(self) -> None:
        for part in self._parts:
            part.changed.clear()
