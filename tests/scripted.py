"""`python -m tests.scripted` is `python -m load_tf.main` with a script of what becomes of the segmentor in a game.

Which turns a tiny game takes by itself rounding decides, and that is another processor's or number of threads'. Here
every update is the real one, and then the script has its way with the weights: `RISE` trains them until the hold-out
says that it was a peak, `FALL` makes them name one class everywhere, which is below any lower bound, `STAY` puts the
start model's back, and `SLIP` makes a model that is worse than that by less than the lower bound. What an act does
depends on weights and data alone, so that a run that was killed goes on as if it had not been.
"""

from load_tf import commands, main

commands.quiet_tensorflow()

import functools  # noqa: E402 - TensorFlow is silenced before it comes
from collections.abc import Callable  # noqa: E402
from unittest import mock  # noqa: E402

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from load_tf.data.dataset import IGNORE_LABEL  # noqa: E402
from load_tf.evaluation.miou import mean_iou  # noqa: E402
from load_tf.game.game import AdversarialGame  # noqa: E402
from load_tf.segmentors.labelling import pad_image  # noqa: E402

RISE, FALL, STAY, SLIP = "rise", "fall", "stay", "slip"
LOWER = 0.02
"""`Lookahead.lower` of who plays this."""

SCRIPT = (
    (RISE, RISE, FALL),  # a peak, and an end model that fell below the lower bound
    (FALL,),  # fruitless; its maps take the place of the other end model's in the full buffer
    (SLIP, STAY, STAY, SLIP),  # the second fruitless one in a row, ended by patience
    (STAY, RISE, SLIP, RISE),  # a peak that is the end model, too
    (SLIP, RISE, STAY, STAY),  # a peak that is not
    (FALL,),
)
"""What happens in the iterations of every cycle, at a patience of 4."""

PEAK = 0.01
"""How much a rise gains in mIoU."""

MOST_STEPS = 500


def _examples(game: AdversarialGame) -> tuple[tf.Tensor, tf.Tensor]:
    """All training images, float32 [N, H, W, 3], and the labels where the logits are, uint8 [N, H / 4, W / 4]."""
    examples = [game.training[index] for index in range(len(game.training))]
    images = np.stack([pad_image(example.image, game.crop) for example in examples])
    labels = np.full((len(examples), *game.crop), IGNORE_LABEL, np.uint8)
    for row, example in enumerate(examples):
        height, width = example.label.shape
        labels[row, :height, :width] = example.label
    return tf.constant(images, tf.float32), tf.constant(labels[:, ::4, ::4])


class _Teacher:
    """Gradient descent on the cross-entropy of all training images of a game; traced once."""

    def __init__(self, game: AdversarialGame) -> None:
        self._segmentor = game.segmentor
        self._images, labels = _examples(game)
        self._seen = tf.cast(labels != IGNORE_LABEL, tf.float32)
        self._truth = tf.where(labels != IGNORE_LABEL, labels, 0)
        self._velocities = [tf.Variable(tf.zeros_like(v.value)) for v in game.segmentor.trainable_variables]

    def begin(self) -> None:
        """Without momentum."""
        for velocity in self._velocities:
            velocity.assign(tf.zeros_like(velocity))

    @tf.function
    def step(self) -> None:
        """One step."""
        variables = self._segmentor.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._segmentor(self._images, training=False)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(self._truth, tf.int32), logits)
            loss = tf.reduce_sum(losses * self._seen) / tf.reduce_sum(self._seen)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        clipped, _ = tf.clip_by_global_norm(gradients, 1.0)
        for variable, velocity, gradient in zip(variables, self._velocities, clipped, strict=True):
            velocity.assign(0.9 * velocity - 0.05 * gradient)
            variable.assign_add(velocity)


_teacher = functools.cache(_Teacher)


def rise(game: AdversarialGame) -> None:
    """Gradient descent on the cross-entropy of all training images, until the hold-out's mIoU is a peak's."""
    wanted = PEAK + max(game.state.start_miou, game.state.peak_miou or 0.0)
    teacher = _teacher(game)
    teacher.begin()
    for count in range(MOST_STEPS):
        teacher.step()
        if count % 5 == 4 and _miou(game) > wanted:
            return
    raise AssertionError(f"the segmentor could not be taught to more than {wanted} mIoU")


def _miou(game: AdversarialGame) -> float:
    return mean_iou(game.evaluator.evaluate().sum(axis=0))


def _prefer_last_class(game: AdversarialGame, logit: float) -> None:
    bias = game.segmentor.trainable_variables[-1]
    bias.assign_add(np.eye(bias.shape[0])[-1] * logit)


def fall(game: AdversarialGame) -> None:
    """One class everywhere."""
    _prefer_last_class(game, 1e4)


def stay(game: AdversarialGame) -> None:
    """The start model."""
    game.start.put_back()


def slip(game: AdversarialGame) -> None:
    """The start model, with a little too much of one class: how much is found by bisection."""
    start = game.state.start_miou
    little, much = 0.0, 100.0
    for _ in range(30):
        logit = (little + much) / 2
        stay(game)
        _prefer_last_class(game, logit)
        miou = _miou(game)
        if start - LOWER / 2 < miou < start - LOWER / 10:
            return
        little, much = (logit, much) if miou > start - LOWER / 2 else (little, logit)
    raise AssertionError(f"nothing lies a little below {start} mIoU")


ACTS: dict[str, Callable[[AdversarialGame], None]] = {RISE: rise, FALL: fall, STAY: stay, SLIP: slip}

_update = AdversarialGame.update


def _scripted_update(game: AdversarialGame, cycle: int, iteration: int) -> bool:
    trainer = game.segmentor_trainer
    train = trainer.train

    def train_and_act(steps: tf.Tensor) -> dict[str, float | bool]:
        measures = train(steps)
        ACTS[SCRIPT[cycle][iteration]](game)
        return measures

    with mock.patch.object(trainer, "train", train_and_act):
        return _update(game, cycle, iteration)


AdversarialGame.update = _scripted_update  # type: ignore[method-assign, assignment]

if __name__ == "__main__":
    main.main()
