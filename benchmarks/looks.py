"""Does a run decide otherwise where it looks at models in bfloat16?

    python -m benchmarks.looks --gin_file=voc_mobilenetv2_convolutional.gin --data_dir=VOC2012 --checkpoint=DIR

Plays the config's method to its end as a run does, looking in float32, and looks at every model a second time in
bfloat16. Two decisions hang on a look: is the model the best of its cycle, and has it fallen below the lower bound? The
table says how many there were, and how many would be others by what bfloat16 says of the start, of the best and of the
model itself; how far both arithmetics are apart; and the seconds of both. Nothing of it is kept.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import setting
from benchmarks.table import header, row
from load_tf import commands
from load_tf.algorithm.lookahead import Lookahead
from load_tf.devices import processor
from load_tf.evaluation.evaluator import Evaluator
from load_tf.evaluation.miou import mean_iou_of_truth


class Look(NamedTuple):
    """One model's mIoU as a fraction, by both arithmetics."""

    exact: float
    narrow: float


@dataclasses.dataclass
class Decisions:
    """What hangs on looks, by both arithmetics.

    Attributes:
      settings: of Algorithm 1.
      made: how many decisions.
      others: how many of them bfloat16 would have made otherwise.
    """

    settings: Lookahead
    made: int = 0
    others: int = 0

    def count(self, events: Sequence[tuple[str, Look | None]]) -> None:
        """Counts the decisions of a run.

        Args:
          events: "start" and "evaluate" with their looks, "cycle_end" and "peak" without, as they came.
        """
        start = best = promoted = Look(float("nan"), float("nan"))
        found = False
        for event, look in events:
            if event == "cycle_end":
                promoted, found = best, False
            elif event == "peak":
                start = promoted
            elif event == "start" and look is not None:
                start = look
            elif look is not None:
                bounds = best if found else Look(*(value + self.settings.upper for value in start))
                is_best = [value > bound for value, bound in zip(look, bounds, strict=True)]
                fell = [value <= bound - self.settings.lower for value, bound in zip(look, start, strict=True)]
                self.made += 2
                self.others += (is_best[0] != is_best[1]) + (fell[0] != fell[1])
                if is_best[0]:
                    best, found = look, True


def _main() -> None:
    from load_tf.experiment import config, plan, registry

    if not processor.has_bfloat16():
        raise commands.UserError(f"there is nothing to measure: {processor.LACKS}.")
    events: list[tuple[str, Look | None]] = []
    looks: list[Look] = []
    seconds = {"float32": 0.0, "bfloat16": 0.0}

    def hear(event: dict[str, Any]) -> None:
        name = event["event"]
        if name in ("start", "evaluate", "cycle_end", "peak"):
            events.append((name, looks[-1] if name in ("start", "evaluate") else None))

    with setting.game_and_data(hear) as (game, data):
        lookahead: Lookahead = registry.configured(Lookahead)()
        method = config.configured(plan.make_experiment).method
        narrow = Evaluator(
            game.segmentor, data.holdout, game.crop, game.judge.trainer.num_classes if game.judge else 0,
            convention=game.evaluator.convention, bfloat16=True,
        )  # fmt: skip
        exact_look = game.evaluate

        def look_twice() -> float:
            began = time.monotonic()
            exact = exact_look()
            between = time.monotonic()
            with game.models.in_place(game.models.average):
                found = mean_iou_of_truth(narrow.evaluate("in bfloat16").sum(axis=0))
            seconds["float32"] += between - began
            seconds["bfloat16"] += time.monotonic() - between
            looks.append(Look(exact, found))
            return exact

        game.evaluate = look_twice  # type: ignore[method-assign]
        method.play(game, lookahead, None)
    decisions = Decisions(lookahead)
    decisions.count(events)
    apart = 100 * np.abs(np.subtract(*np.transpose(looks)))
    changes = 100 * np.abs(np.diff([look.exact - look.narrow for look in looks]))
    header(("looks", "decisions", "others", "apart, mean", "apart, most", "of a change, mean", *seconds))
    times = (f"{value / len(looks):.2f} s" for value in seconds.values())
    numbers = (f"{apart.mean():.4f}", f"{apart.max():.4f}", f"{changes.mean() if len(changes) else 0:.4f}")
    row(len(looks), decisions.made, decisions.others, *numbers, *times)


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)
