"""MapAggregation of Algorithm 1: the label maps of a model over D_t and the hold-out, and the sets that are kept."""

import numpy as np
import tensorflow as tf

from load_tf.algorithm.lookahead import State
from load_tf.data.dataset import IGNORE_LABEL, Joined, Split
from load_tf.devices import workers
from load_tf.devices.replicas import chunks, on_each_replica
from load_tf.discriminator.buffer import LabelMapSet
from load_tf.discriminator.grid import GridExamples, Size, read_grid_examples
from load_tf.evaluation.evaluator import Evaluator
from load_tf.progress import progress
from load_tf.storage.run_directory import ArraySource, RunDirectory
from load_tf.training.adversarial import map_maker
from load_tf.training.augmentation import padded_batch

_FOLDER = "label_maps/"
"""What the names of sets begin with in a commit."""


class Aggregation:
    """The label maps of the buffer's models at the points of the discriminator's grid, beside the ground truth there.

    Attributes:
      training_grid: ground truth and images of D_t on the grid; behind the images with labels those without.
      holdout_grid: those of the hold-out.
      labelled: how many images of D_t have labels.
      sets: the label maps by the name of their model; the first are those of the model that the updates begin with.
      changed: names in a commit whose arrays are not those of the last one.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        training: Split,
        holdout: Split,
        *,
        crop: Size,
        grid: int,
        batch_size: int,
        strategy: tf.distribute.Strategy,
        unlabelled: Split | None = None,
    ) -> None:
        """Reads the images.

        Args:
          evaluator: the hold-out's; its forward pass makes the maps.
          training: the images of D_t that have labels.
          holdout: the hold-out.
          crop: the padded height and width.
          grid: points along each axis.
          batch_size: images in a step.
          strategy: its replicas share the images.
          unlabelled: the images of D_t that have none; None: there are none.

        Raises:
          UserError: naming an image that is larger than the crop.
        """
        self.labelled = len(training)
        if unlabelled is not None:
            training = Joined(training, unlabelled)
        self._evaluator, self._training, self._holdout = evaluator, training, holdout
        self._crop, self._grid, self._batch_size = crop, grid, batch_size
        self._workers = workers.of(strategy)
        self.training_grid: GridExamples = read_grid_examples(training, crop, grid, "D_t on the grid")
        self.holdout_grid: GridExamples = read_grid_examples(
            holdout, crop, grid, "hold-out on the grid", "hold-out image"
        )
        self._map_batches = on_each_replica(map_maker(evaluator.forward, crop, grid, evaluator.convention), strategy)
        self.sets: dict[str, LabelMapSet] = {}
        self.changed: set[str] = set()

    @property
    def images(self) -> int:
        """How many images a set is made of."""
        return len(self._training) + len(self._holdout)

    @property
    def origin(self) -> LabelMapSet | None:
        """The set that changes are measured from: the first, once it is there."""
        return next(iter(self.sets.values()), None)

    def add(self, name: str, cycle: int) -> None:
        """Makes the set of the present model and keeps it as that of model `name`. All workers must call it.

        Args:
          name: the model's, such as `g0`.
          cycle: the one that comes.
        """
        self._evaluator.forward.refresh()
        self.sets[name] = LabelMapSet(
            self._maps_of(self._training, f"maps of {name}"), self._maps_of(self._holdout, f"maps of {name}"), cycle
        )
        self.changed |= {_FOLDER + name}

    def keep(self, names: list[str]) -> None:
        """Drops all sets but those of the given models; they stand in this order from now on."""
        self.sets = {name: self.sets[name] for name in names}

    def changed_share(self, name: str) -> float | None:
        """Share of the hold-out's points at which an end model's maps differ from those of the model it came from.

        Args:
          name: the end model's, such as `ge0_1`, which came from `g0`.

        Returns:
          In [0, 1], void apart; None for a model that is no end model, or if the other's set is not there.
        """
        origin = name.removeprefix("ge").partition("_")[0]
        start = self.sets.get(f"g{origin}")
        if not name.startswith("ge") or start is None:
            return None
        visible = self.holdout_grid.labels != IGNORE_LABEL
        differing = (self.sets[name].holdout != start.holdout) & visible
        return float(differing.sum() / max(visible.sum(), 1))

    def sources(self, state: State) -> dict[str, ArraySource]:
        """What a commit holds of it: all sets."""
        return {_FOLDER + name: one_set.to_arrays for name, one_set in self.sets.items()}

    def restore(self, run: RunDirectory) -> None:
        """Goes back to what the last commit holds."""
        for name in run.state["files"]:
            if name.startswith(_FOLDER):
                self.sets[name.removeprefix(_FOLDER)] = LabelMapSet.from_arrays(run.arrays(name))

    def _maps_of(self, split: Split, description: str) -> np.ndarray:
        """uint8 [N, G, G]; batches are divided among all replicas of all workers, each as one device would have it."""
        grid, size = self._grid, self._batch_size
        maps = np.zeros((len(split), grid, grid), np.uint8)
        starts = range(0, len(split), size)[self._workers.index :: self._workers.count]
        for turn in progress(chunks(starts, self._workers.local_replicas), description, unit="batch"):
            batches = []
            for start in turn:
                images, _ = padded_batch(split, range(start, min(start + size, len(split))), self._crop)
                batches.append(tf.constant(images))
            for start, made in zip(turn, self._map_batches(batches), strict=True):
                maps[start : start + len(made)] = made
        return self._workers.union(maps)
