"""How long a run takes, said in its first line: the work its settings allow, at the pace of a few measured steps.

The steps are those of the run's own networks on its own images, and change nothing of either.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from load_tf.algorithm.lookahead import Lookahead
from load_tf.data.dataset import Subset
from load_tf.devices import workers
from load_tf.evaluation.evaluator import Evaluator
from load_tf.experiment.images import Data
from load_tf.methods.load import LoAd
from load_tf.report.terminal import in_minutes
from load_tf.training.augmentation import padded_batch
from load_tf.training.calibration import ENOUGH_IMAGES
from load_tf.training.discriminator import DiscriminatorTraining
from load_tf.training.stage_one import steps_per_epoch

if TYPE_CHECKING:
    from load_tf.experiment.plan import Plan

STEP_OF_CONSTANTS = 0.3
"""Of a label map: what a step of a fit of class constants takes once the logits are kept (MobileNetV2 on VOC)."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """Measured seconds.

    Attributes:
      label: for labelling an image and counting its pixels, as the evaluator does.
      learn: for the segmentor's gradient of an image.
      judge: for the discriminator's gradient of a map.
    """

    label: float
    learn: float
    judge: float


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many images a run has of each kind."""

    training: int
    holdout: int
    watched: int
    validation: int
    unlabelled: int = 0


def sentence(plan: "Plan", data: Data, holdout: Evaluator) -> str | None:
    """How long the run will take, measured here and now.

    Args:
      plan: the assembled experiment.
      data: its images.
      holdout: the hold-out's evaluator; what it traces the run needs anyway.

    Returns:
      A sentence; None for methods other than LoAd, and where several devices share the work, whose pace one step on one
      of them does not tell.
    """
    several = plan.strategy.num_replicas_in_sync > 1 or workers.of(plan.strategy).count > 1
    if several or not isinstance(plan.experiment.method, LoAd):
        return None
    images = (len(data.training), len(data.holdout), len(data.validation))
    watched = min(plan.experiment.watched_images, images[2] - images[1])
    counts = Counts(images[0], images[1], watched, images[2], len(data.unlabelled or ()))
    return in_words(plan, counts, measured(plan, data, holdout))


def measured(plan: "Plan", data: Data, holdout: Evaluator, clock: Callable[[], float] = time.monotonic) -> Pace:
    """Takes the time of a few steps. No weight, statistic or generator changes.

    Args:
      plan: the assembled experiment.
      data: its images.
      holdout: the hold-out's evaluator.
      clock: seconds.
    """
    experiment, settings = plan.experiment, plan.players.discriminator
    some = min(len(data.holdout), 2 * experiment.evaluation_batch_size)
    evaluator = holdout.on(Subset(data.holdout, tuple(range(some))))
    images = tf.constant(padded_batch(data.training, [0], plan.crop)[0])
    with plan.strategy.scope():
        discriminator = experiment.method.discriminator(settings, experiment.dataset.num_classes, experiment.seed)
    assert discriminator is not None
    maps = tf.zeros([2, settings.input_size, settings.input_size, settings.channels(experiment.dataset.num_classes)])
    segmentor = plan.segmentor.model
    return Pace(
        _seconds(lambda: evaluator.evaluate("measuring the pace"), clock) / some,
        _seconds(lambda: _gradient(lambda: segmentor(images, training=False), segmentor.trainable_variables), clock),
        _seconds(lambda: _gradient(lambda: discriminator(maps, False), discriminator.trainable_variables), clock) / 2,
    )


def in_words(plan: "Plan", counts: Counts, pace: Pace) -> str:
    """What `sentence` says, of a measured pace.

    Args:
      plan: the assembled experiment.
      counts: of its images.
      pace: as measured.
    """
    settings = plan.lookahead
    before, cycle = _before_and_after(plan, counts, pace), settings.patience
    iterations = most_iterations(settings)
    if iterations is None:
        first = _game(plan, counts, pace, cycle, 1)
        another = _game(plan, counts, pace, 2 * cycle, 2) - first
        return (
            f"time: a first cycle of {_counted(cycle, 'iteration')} and all around it take about "
            f"{in_minutes(before + first)}, each other about {in_minutes(another)}; nothing bounds how many there are "
            "(Lookahead.max_iterations)."
        )
    cycles = (-(-iterations // settings.patience), most_cycles(settings, iterations))
    usual, most = (before + _game(plan, counts, pace, iterations, number) for number in cycles)
    text = f"{_counted(iterations, 'iteration')} in {_counted(cycles[0], 'cycle')}"
    if cycles[1] > cycles[0] and in_minutes(most) != in_minutes(usual):
        return (
            f"time: about {in_minutes(usual)} for {text}, {in_minutes(most)} at the most, if cycles end early and "
            f"there are {cycles[1]}."
        )
    return f"time: about {in_minutes(usual)} at the most, for {text}."


def most_iterations(settings: Lookahead) -> int | None:
    """Adversarial iterations that a run can make; None if nothing bounds them."""
    if settings.max_cycles is None:
        return settings.max_iterations
    whole = settings.max_cycles * settings.patience
    return whole if settings.max_iterations is None else min(whole, settings.max_iterations)


def most_cycles(settings: Lookahead, iterations: int) -> int:
    """Cycles that a run of so many iterations can have, each but the last as short as can be.

    A cycle ends early only where the last update has taken it below the lower bound, so one with a peak has two
    iterations or more, and after `max_fruitless_cycles` without a peak the run is over.
    """
    if settings.patience == 1:
        cycles = iterations
    else:
        blocks, rest = divmod(iterations, settings.max_fruitless_cycles + 1)
        cycles = blocks * settings.max_fruitless_cycles + min(rest, settings.max_fruitless_cycles)
    return cycles if settings.max_cycles is None else min(cycles, settings.max_cycles)


def _before_and_after(plan: "Plan", counts: Counts, pace: Pace) -> float:
    """Seconds of all that is no part of the game: stage 1, class constants, and the scores of both models."""
    stage_one, experiment = plan.stage_one, plan.experiment
    seconds = 2 * counts.validation * pace.label * len(plan.evaluation.scales) * (1 + plan.evaluation.flip)
    if experiment.start_from is not None:
        return seconds
    if not plan.segmentor.pretrained:
        part = 1.0
        if stage_one.crop is not None:
            part = math.prod(stage_one.crop) / math.prod(plan.crop)
        images = steps_per_epoch(counts.training, stage_one) * stage_one.batch_size
        seconds += stage_one.epochs * (images * part * pace.learn + counts.holdout * pace.label)
    if stage_one.calibrate:
        maps = 1 + STEP_OF_CONSTANTS * stage_one.calibrate
        seconds += maps * max(counts.training, counts.unlabelled) * pace.label
    return seconds


def _game(plan: "Plan", counts: Counts, pace: Pace, iterations: int, cycles: int) -> float:
    """Seconds of so many iterations in so many cycles, each with two new sets of label maps at the most."""
    players, adversarial = plan.players, plan.players.adversarial
    judging, epochs = players.discriminator_training, _epochs(players.discriminator_training, cycles)
    look = (counts.holdout + counts.watched) * pace.label
    constants = adversarial.calibrate * min(max(counts.training, counts.unlabelled), ENOUGH_IMAGES) * pace.label
    sets = (2 * cycles - 1) * (counts.training + counts.unlabelled + counts.holdout) * pace.label
    # An epoch shows the truth and a map of every image, or all maps that are there.
    shown = 1 + (plan.lookahead.max_buffer_sets if judging.union else 1)
    judge = epochs * (shown * counts.training + counts.holdout) * pace.judge
    updates = adversarial.updates_per_iteration * iterations + judging.agreement_batches * cycles
    # Recomputing activations takes a third more time (docs/performance.md).
    image = pace.learn * (4 / 3 if adversarial.checkpointing else 1) + pace.judge
    return (iterations + 1) * look + iterations * constants + sets + judge + updates * adversarial.batch_size * image


def _epochs(settings: DiscriminatorTraining, cycles: int) -> int:
    """Of the discriminator, at the most."""
    return (settings.first_max_epochs or settings.max_epochs) + (cycles - 1) * settings.max_epochs


def _seconds(step: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Of a step: the shortest of three, or of as many as fit into two seconds, after a first one that traces."""
    step()
    times: list[float] = []
    while len(times) < 3 and sum(times) < 2:
        began = clock()
        step()
        times.append(clock() - began)
    return min(times)


def _gradient(outputs: Callable[[], tf.Tensor], variables: list[Any]) -> None:
    """Computes a gradient of some outputs, and waits for it."""
    values = [variable.value for variable in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        loss = tf.reduce_mean(tf.square(tf.cast(outputs(), tf.float32)))
    for found in tape.gradient(loss, values):
        if found is not None:
            tf.convert_to_tensor(found).numpy()


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
