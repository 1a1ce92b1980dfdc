"""The images of the segmentor's updates: a stream that goes on from wherever the run stands."""

from typing import NamedTuple

import tensorflow as tf

from load_tf.data.dataset import Joined, Split
from load_tf.discriminator.buffer import LabelMapSet
from load_tf.discriminator.grid import GridExamples, Size
from load_tf.methods.method import Trainer
from load_tf.training.adversarial import adversarial_batches
from load_tf.training.segmentor import AdversarialTraining

ITERATIONS = 1000
"""Iterations a stream is long; then another one takes over where it ends."""


class _Stream(NamedTuple):
    """Where the trainer's stream stands, in updates of the run."""

    next: int
    end: int
    origin: LabelMapSet | None
    """Whose maps changes are measured from."""


class Images:
    """Gives a trainer the images of its next updates. Which they are depends on the seed and the updates made alone."""

    def __init__(
        self,
        training: Split,
        grid: GridExamples,
        settings: AdversarialTraining,
        *,
        crop: Size,
        seed: int,
        unlabelled: Split | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
          training: the images of D_t that have labels.
          grid: all of D_t on the discriminator's grid, the others behind these.
          settings: of the updates.
          crop: the padded height and width.
          seed: the experiment's.
          unlabelled: those of D_t that have none; None: there are none.
        """
        self._training, self._grid, self._settings = training, grid, settings
        self._all: Split = training if unlabelled is None else Joined(training, unlabelled)
        self._crop, self._seed = crop, seed
        self._stream: _Stream | None = None

    def ahead(self, updates: int, count: int) -> tf.data.Dataset:
        """The images of the next `count` updates, to look at without training; `updates` are made so far."""
        return adversarial_batches(
            *(self._all, self._grid, self._settings, self._crop, self._seed, updates, count),
            labelled=len(self._training),
        )

    def prepare(self, trainer: Trainer, updates: int, origin: LabelMapSet | None) -> None:
        """Gives the trainer a new stream unless the one it has goes on at the right place.

        Args:
          trainer: of the segmentor; it is about to make the updates of an iteration.
          updates: made so far.
          origin: the label maps that changes are measured from.
        """
        stream, per_iteration = self._stream, self._settings.updates_per_iteration
        fits = stream is not None and stream.next == updates < stream.end and stream.origin is origin
        if stream is None or not fits:
            count = ITERATIONS * per_iteration
            trainer.train_dataset = adversarial_batches(
                self._training if trainer.needs_truth else self._all,
                self._grid,
                self._settings,
                self._crop,
                self._seed,
                updates,
                count,
                origin.training if origin else None,
                trainer.needs_truth,
                trainer.augmentation,
                labelled=len(self._training),
                beside=trainer.beside,
            )
            stream = _Stream(updates, updates + count, origin)
        self._stream = stream._replace(next=updates + per_iteration)
