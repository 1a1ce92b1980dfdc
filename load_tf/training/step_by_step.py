"""Both networks in one update: a step of the discriminator, then one of the segmentor against it as it then is.

The discriminator's step is on the update's own images: their ground truth (1) against the maps that the present
segmentor makes of them (0), made in the step itself by the same sampling as the segmentor is judged on. Its loss is the
mean of the two terms.
"""

from typing import Any

import tensorflow as tf

from load_tf.devices.replicas import Batch
from load_tf.discriminator.conditioning import one_hot
from load_tf.training.adversarial import AdversarialTrainer
from load_tf.training.discriminator import DiscriminatorTrainer
from load_tf.training.supervised import HybridTrainer


class StepByStepTrainer(AdversarialTrainer):
    """The adversarial objective; `discriminator_loss` is returned beside what every `AdversarialTrainer` returns.

    The discriminator's weights and slots are those of its own trainer, and are to be kept for a restart.
    """

    trains_discriminator = True

    def __init__(self, *arguments: Any, discriminator_trainer: DiscriminatorTrainer, **named: Any) -> None:
        """Takes the base class's arguments, and what makes the discriminator's steps."""
        self.discriminator_trainer = discriminator_trainer
        super().__init__(*arguments, **named)

    def step(self, batch: Batch) -> None:
        self.discriminator_trainer.step(batch, self._pairs)
        super().step(batch)

    def _pairs(self, part: Batch) -> Batch:
        """Of a replica's images, one after the other, the real map and the generated one: a batch of twice the rows."""
        logits = tf.cast(self.forward(part["images"], training=False), tf.float32)
        _, generated = self.live_maps(logits, part, self.discriminator_trainer.parts)
        both = tf.stack([one_hot(part["labels"], self.num_classes), generated], axis=1)
        return {
            "images": tf.repeat(part["grid_images"], 2, axis=0),
            "maps": tf.reshape(both, tf.concat([[-1], tf.shape(both)[2:]], 0)),
            "real": tf.tile([1.0, 0.0], [tf.shape(both)[0]]),
            "weights": tf.ones([2 * tf.shape(both)[0]]),
            # The noise of the maps has the key itself.
            "key": tf.random.experimental.stateless_fold_in(part["key"], 1),
            **{name: 2 * part[name] for name in ("rows", "first", "own")},
        }

    def train_loop_begin(self) -> None:
        super().train_loop_begin()
        self.discriminator_trainer.train_loop_begin()

    def train_loop_end(self) -> dict[str, float | bool]:
        return {**super().train_loop_end(), "discriminator_loss": self.discriminator_trainer.train_loop_end()["loss"]}


class StepByStepHybridTrainer(StepByStepTrainer, HybridTrainer):
    """Cross-entropy plus `weight` times the adversarial loss."""
