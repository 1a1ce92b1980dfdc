"""Does a run decide otherwise where its looks at the hold-out are races, and how many images do they look at?

    python -m benchmarks.race --gin_file=voc_mobilenetv2_convolutional.gin --data_dir=VOC2012 --checkpoint=DIR

Plays the config's method to its end as a run does, looking at all images, and keeps every model's confusion matrices.
Then every look is raced again and again, each time with images drawn anew, at several errors. Two decisions hang on a
look: is the model the best of its cycle, and has it fallen to the lower bound? The table has, over all races, the share
of images that were looked at, and the shares of races that stopped with another decision, that missed a peak, and that
stopped at all.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from benchmarks import setting
from benchmarks.table import header, row
from load_tf import commands
from load_tf.algorithm.lookahead import Lookahead
from load_tf.evaluation.miou import mean_iou_of_truth
from load_tf.evaluation.race import Bounds, race

RACES = 200
"""Of every look, at every error."""

ERRORS = (0.05, 0.02, 0.005, 0.001)


class Look(NamedTuple):
    """A model, what stood when it was looked at, and the model it was compared with; matrices int64 [N, K, K]."""

    confusion: np.ndarray
    reference: np.ndarray
    bounds: Bounds


class Raced(NamedTuple):
    """What races did, over all of them: shares."""

    images: float
    others: float
    peaks_missed: float
    stopped: float


def raced(looks: list[Look], error: float, batch_size: int, races: int = RACES) -> Raced:
    """Races every look so often."""
    rows = []
    for number, (confusion, reference, bounds) in enumerate(looks):
        score = mean_iou_of_truth(confusion)
        for key in range(races):
            miou, found, seen = race(reference, bounds, error, batch_size, (key, number), confusion.__getitem__)
            stopped = found is None
            missed = stopped and score > bounds.best
            other = missed or (stopped and (score > bounds.floor) != (miou > bounds.floor))
            rows.append((seen / len(confusion), other, missed, stopped))
    return Raced(*(float(value) for value in np.mean(rows, axis=0)))


def _main() -> None:
    from load_tf.experiment import config, plan, registry

    looks: list[Look] = []
    with setting.game_and_data() as (game, _):
        lookahead: Lookahead = dataclasses.replace(registry.configured(Lookahead)(), race=ERRORS[0])

        def recorded(floor: float, best: float, error: float, best_is_start: bool) -> tuple[float, None]:
            """Looks at all images, whatever the error."""
            miou = game.evaluate()
            reference = game.models.start_confusion if best_is_start else game.models.best_confusion
            assert game.models.confusion is not None and reference is not None
            looks.append(Look(game.models.confusion, reference, Bounds(floor, best)))
            return miou, None

        game.race = recorded  # type: ignore[method-assign]
        config.configured(plan.make_experiment).method.play(game, lookahead, None)
        batch_size = game.evaluator.batch_size
    gains = [100 * (mean_iou_of_truth(look.confusion) - look.bounds.best) for look in looks]
    print(f"{len(gains)} looks at {len(looks[0].confusion)} images, {sum(gain > 0 for gain in gains)} peaks;")
    print("points from the best: " + ", ".join(f"{gain:+.2f}" for gain in gains))
    print()
    header(("error asked for", "images looked at", "other decisions", "peaks missed", "races that stopped"))
    for error in ERRORS:
        found = raced(looks, error, batch_size)
        row(f"{100 * error:g} %", *(f"{100 * value:.2f} %" for value in found))


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)
