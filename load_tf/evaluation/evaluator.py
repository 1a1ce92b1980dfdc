"""The one evaluator: hold-out, Table 1, the study and the tests all count pixels here.

As the official evaluation: every image padded to the crop, logits up-sampled to the padded size, arg-max, void (255)
ignored, one confusion matrix per image. Sizes and up-sampling are those of the segmentor's convention.
"""

import contextlib
import copy
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL, Split
from load_tf.data.pipeline import PARALLEL_CALLS, read_ahead
from load_tf.devices import loops, workers
from load_tf.devices.replicas import per_replica
from load_tf.errors import UserError
from load_tf.evaluation.measuring import Measuring
from load_tf.evaluation.shapes import Shapes, zeros
from load_tf.progress import progress
from load_tf.segmentors import labelling
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.folding import forward

Segmentor = Callable[..., tf.Tensor]
"""A Keras model, or anything called like one: (images, training=False) -> logits [B, h, w, K]."""


def confusion_matrices(label: tf.Tensor, prediction: tf.Tensor, num_classes: int) -> tf.Tensor:
    """`miou.confusion_matrix` of a batch, in the graph.

    Args:
      label: uint8 [B, H, W], values in {0..K-1, 255}; 255 is not counted.
      prediction: uint8 [B, H, W], values in [0, K).
      num_classes: K.

    Returns:
      int64 [B, K, K]: rows are the truth, columns the prediction.
    """
    bins = num_classes**2
    label, prediction = tf.cast(label, tf.int32), tf.cast(prediction, tf.int32)
    cell = tf.where(label == IGNORE_LABEL, bins, num_classes * label + prediction)
    # The GPU kernel refuses to run with op determinism on; label maps are small enough to come over.
    with tf.device("CPU:0"):
        cell = tf.reshape(cell, [tf.shape(cell)[0], -1])
        counts = tf.math.bincount(cell, minlength=bins, maxlength=bins, dtype=tf.int64, axis=-1)
    return tf.reshape(counts, [-1, num_classes, num_classes])


def check_labels(image: np.ndarray, label: np.ndarray, identity: str, num_classes: int) -> None:
    """Raises UserError, naming the image, if its label map uint8 has another size or values that are no class."""
    height, width = image.shape[:2]
    if label.shape != (height, width):
        raise UserError(
            f"image {identity!r} is {height}x{width} (height x width) but its label map has the shape "
            f"{label.shape}; expected equal sizes."
        )
    values = np.flatnonzero(np.bincount(label.ravel(), minlength=256))
    strange = [int(value) for value in values if value >= num_classes and value != IGNORE_LABEL]
    if strange:
        raise UserError(
            f"the label map of {identity!r} holds {strange}; expected 0 to {num_classes - 1}, or {IGNORE_LABEL} for "
            "void."
        )


class Evaluator:
    """Confusion matrices and label maps of a model on a split.

    The model is traced once, on the first call, and its variables are read anew in every call: make one evaluator and
    ask it after every update. Batch norm that follows a convolution is folded into it (`load_tf.segmentors.folding`).
    """

    def __init__(
        self,
        model: Segmentor,
        split: Split,
        crop: labelling.Size,
        num_classes: int,
        batch_size: int = 4,
        *,
        convention: Convention = OFFICIAL,
        largest: labelling.Size | None = None,
        max_pixels: int = labelling.MAX_PIXELS,
        strategy: tf.distribute.Strategy | None = None,
        bfloat16: bool = False,
    ) -> None:
        """Prepares the input pipeline; nothing is read yet.

        Args:
          model: the segmentor, [B, H, W, 3] float RGB in [0, 255] -> logits [B, h, w, K].
          split: the images and their ground truth.
          crop: height and width images are padded to, as the convention allows. A larger image is padded to the
            convention's next of its own size and goes through with others of that padded size.
          num_classes: K.
          batch_size: images a step of a replica; proportionally fewer where they are larger than the crop. So a batch
            is computed alike, to the last bit, however many replicas there are.
          convention: the model's: which sizes it is given, and how its logits are up-sampled.
          largest: the only height and width the model takes, then also the crop; None: any.
          max_pixels: images with more pixels, height * width, are refused.
          strategy: where the model's variables live; None for the present one. Its workers and replicas share the
            images of `evaluate`, which all workers must call; `predictions` are a worker's own.
          bfloat16: make the logits in it (`load_tf.segmentors.folding`), which some processors do in half the time;
            mIoU then differs by some tenths of a point (docs/performance.md).

        Raises:
          UserError: if the convention doesn't allow the crop or another number is not positive.
        """
        crop = (int(crop[0]), int(crop[1]))
        if largest is None:
            convention.check_crop(crop)
        elif crop != tuple(largest):
            raise UserError(f"crop is {crop}; expected the only size that the network takes, {tuple(largest)}.")
        if batch_size < 1 or max_pixels < 1:
            raise UserError(f"batch_size is {batch_size}, max_pixels {max_pixels}; expected at least 1 of each.")
        strategy = strategy or tf.distribute.get_strategy()
        with strategy.scope():
            self.forward = forward(model, bfloat16=bfloat16)
        """The model's forward pass; to be refreshed where it is called from elsewhere."""
        self._crop = crop
        self._largest = largest
        self.convention = convention
        """The model's."""
        self._num_classes = num_classes
        self.batch_size = batch_size
        """Images in a step of a replica."""
        self._max_pixels = max_pixels
        self._failure: UserError | None = None
        self._workers = workers.of(strategy)
        self._strategy = strategy
        self._loop = _Loop(self._label_and_count, strategy)
        self._give(split)

    def on(self, split: Split) -> "Evaluator":
        """An evaluator of the same model on another split; what is folded and traced serves both.

        Args:
          split: its images may have other sizes, its labels are of the same classes.
        """
        other = copy.copy(self)
        other._give(split)
        return other

    def _give(self, split: Split) -> None:
        self._split = split
        self._own = range(len(split))[self._workers.index :: self._workers.count]
        self._dataset = self._pipeline(self._own)

    def evaluate(self, description: str = "evaluate") -> np.ndarray:
        """Confusion matrices of all images; `miou.mean_iou` makes one number of them.

        Args:
          description: for the progress bar.

        Returns:
          int64 [N, K, K] in the order of the split's ids: rows are the truth, columns the prediction.

        Raises:
          UserError: naming an image that can't be decoded, is too large or has a label out of range.
        """
        return self._evaluate(description, None)

    def evaluate_some(self, indices: Sequence[int] | np.ndarray, description: str = "evaluate") -> np.ndarray:
        """As `evaluate`, of images of the split in the order of `indices`, each once: int64 [n, K, K]."""
        wanted = [int(index) for index in indices]
        own = wanted[self._workers.index :: self._workers.count]
        return self._evaluate(description, None, own)[wanted]

    def evaluate_shapes(self, description: str = "evaluate") -> tuple[np.ndarray, Shapes]:
        """What `evaluate` gives and, from the same label maps, what `shapes` counts in every image.

        The shapes are measured on the processor, in threads, which takes longer than the confusion matrices: this is
        for tables, not for what is asked after every update.

        Args:
          description: for the progress bar.

        Raises:
          UserError: as `evaluate`.
        """
        found = zeros(len(self._split), self._num_classes)
        confusion = self._evaluate(description, found)
        return confusion, Shapes(*(self._workers.union(counts) for counts in found))

    def _evaluate(self, description: str, found: Shapes | None, own: Sequence[int] | None = None) -> np.ndarray:
        """`evaluate`; shapes are filled in where they are asked for, of this worker's images: all, or `own`."""
        confusion = np.zeros((len(self._split), self._num_classes, self._num_classes), np.int64)

        measuring = None if found is None else Measuring(found)

        def collect(
            index: np.ndarray, sizes: tf.Tensor, matrices: tf.Tensor, maps: tf.Tensor, labels: tf.Tensor
        ) -> None:
            real = index >= 0
            confusion[index[real]] = matrices.numpy()[real]
            if measuring is None:
                return
            for i, (height, width), label_map, truth in zip(
                index, sizes.numpy(), maps.numpy(), labels.numpy(), strict=True
            ):
                if i >= 0:
                    measuring.add(int(i), truth[:height, :width], label_map[:height, :width])

        dataset = self._dataset if own is None else self._pipeline(own)
        own = self._own if own is None else own
        with measuring or contextlib.nullcontext():
            if own:
                self._run(dataset, len(own), description, collect)
        return self._workers.union(confusion)

    def predictions(self, indices: Sequence[int], description: str = "predict") -> list[np.ndarray]:
        """Label maps of some images, by the same step that `evaluate` counts with.

        Args:
          indices: which images of the split.
          description: for the progress bar.

        Returns:
          For every index uint8 [H, W], cut back to the image, values in [0, K).

        Raises:
          UserError: as `evaluate`.
        """
        found: dict[int, np.ndarray] = {}

        def collect(
            index: np.ndarray, sizes: tf.Tensor, _matrices: tf.Tensor, maps: tf.Tensor, _labels: tf.Tensor
        ) -> None:
            for i, (height, width), label_map in zip(index, sizes.numpy(), maps.numpy(), strict=True):
                if i >= 0:
                    found[int(i)] = label_map[:height, :width].copy()

        wanted = list(dict.fromkeys(int(i) for i in indices))
        if wanted:
            self._run(self._pipeline(wanted), len(wanted), description, collect)
        return [found[int(i)] for i in indices]

    def make_logits(self, collect: Callable[[np.ndarray, tf.Tensor, tf.Tensor], None], description: str) -> None:
        """Makes the logits of this worker's images, without counting anything; each call traces the network once.

        Args:
          collect: is called for every batch with indices int64 [B] in the split, -1 where a void image fills the batch
            up, logits [B, h, w, K] and label maps uint8 [B, H, W] of the padded size. What it raises ends the pass.
          description: for the progress bar.

        Raises:
          UserError: as `evaluate`.
        """
        if self._own:
            self._run(self._dataset, len(self._own), description, collect, _Loop(self._logits, self._strategy))

    @property
    def images(self) -> int:
        """How many the split has."""
        return len(self._split)

    def union(self, found: np.ndarray) -> np.ndarray:
        """The sum of what all workers counted."""
        return self._workers.union(found)

    def trace_count(self) -> int:
        """How often the step was traced so far: once, whatever the sizes and however many calls."""
        return self._loop.trace_count()

    def _run(
        self,
        dataset: tf.data.Dataset,
        total: int,
        description: str,
        collect: Callable[..., None],
        loop: "_Loop | None" = None,
    ) -> None:
        self._failure = None
        self.forward.refresh()
        try:
            (loop or self._loop).run(dataset, total, description, collect)
        except tf.errors.OpError:
            # tf.data hands on only the text of what a Python function raised.
            if self._failure is None:
                raise
        if self._failure is not None:
            raise self._failure

    # No control flow of tensors: AutoGraph would rewrite each function, which is seconds of every start.
    @tf.autograph.experimental.do_not_convert
    def _label_and_count(
        self, index: tf.Tensor, size: tf.Tensor, image: tf.Tensor, label: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        _, logits, _ = self._logits(index, size, image, label)
        maps = labelling.label_maps(logits, tf.shape(image)[1:3], self.convention)
        return index, size, confusion_matrices(label, maps, self._num_classes), maps, label

    @tf.autograph.experimental.do_not_convert
    def _logits(
        self, index: tf.Tensor, _size: tf.Tensor, image: tf.Tensor, label: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if self._largest is not None:
            # What the network has to know while it is traced.
            image = tf.ensure_shape(image, [None, *self._largest, 3])
        return index, self.forward(image, training=False), label

    def _pipeline(self, indices: Sequence[int]) -> tf.data.Dataset:
        """Batches (index [B], size [B, 2], image [B, H, W, 3], label [B, H, W]) of one padded size each.

        The last batch of a size is filled up with void images of index -1: convolutions of fewer images may be computed
        otherwise, and an image's label map is not to depend on which others are asked for.
        """

        @tf.autograph.experimental.do_not_convert
        def read(index: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # Stateless, or op determinism would take the parallelism out of the map.
            types = (tf.int32, tf.uint8, tf.uint8)
            padded, image, label = tf.numpy_function(self._read, [index], types, stateful=False)
            return index, tf.ensure_shape(padded, [2]), tf.ensure_shape(image, [None, None, 3]), label

        @tf.autograph.experimental.do_not_convert
        def pad(index: tf.Tensor, padded: tf.Tensor, image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, ...]:
            size = tf.shape(image)[:2]
            missing = padded - size
            label = tf.pad(label, [[0, missing[0]], [0, missing[1]]], constant_values=IGNORE_LABEL)
            image = labelling.pad_image(image, padded)
            return index, size, tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(label, [None, None])

        @tf.autograph.experimental.do_not_convert
        def padded_size(_index: tf.Tensor, _size: tf.Tensor, image: tf.Tensor, _label: tf.Tensor) -> tf.Tensor:
            height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
            return height * 2**32 + width

        @tf.autograph.experimental.do_not_convert
        def images_per_step(key: tf.Tensor) -> tf.Tensor:
            pixels = (key // 2**32) * (key % 2**32)
            return tf.maximum(self.batch_size * self._crop[0] * self._crop[1] // pixels, 1)

        @tf.autograph.experimental.do_not_convert
        def batch(key: tf.Tensor, group: tf.data.Dataset) -> tf.data.Dataset:
            full = images_per_step(key)

            @tf.autograph.experimental.do_not_convert
            def fill(*tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
                missing = full - tf.shape(tensors[0], tf.int64)[0]
                with_void = (-1, 0, labelling.PADDING_VALUE, IGNORE_LABEL)
                return tuple(
                    tf.pad(tensor, [[0, missing]] + [[0, 0]] * (len(tensor.shape) - 1), constant_values=value)
                    for tensor, value in zip(tensors, with_void, strict=True)
                )

            return group.batch(full).map(fill)

        dataset = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
        dataset = dataset.map(read, num_parallel_calls=PARALLEL_CALLS)
        dataset = dataset.map(pad, num_parallel_calls=PARALLEL_CALLS)
        dataset = dataset.group_by_window(padded_size, batch, window_size_func=images_per_step)
        return read_ahead(dataset)

    def _read(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decodes one example: the size it's padded to, image and label map."""
        try:
            image, label, identity = self._split[int(index)]
            self._check(image, label, identity)
        except UserError as error:
            self._failure = error
            raise
        height, width = label.shape
        return np.array(labelling.padded_size(height, width, self._crop, self.convention), np.int32), image, label

    def _check(self, image: np.ndarray, label: np.ndarray, identity: str) -> None:
        height, width = image.shape[:2]
        if height * width > self._max_pixels:
            raise UserError(
                f"image {identity!r} is {height}x{width} (height x width); expected at most {self._max_pixels} pixels "
                "(max_pixels)."
            )
        if self._largest is not None and (height > self._largest[0] or width > self._largest[1]):
            raise UserError(
                f"image {identity!r} is {height}x{width} (height x width), but the network takes at most "
                f"{self._largest[0]}x{self._largest[1]}."
            )
        check_labels(image, label, identity, self._num_classes)


class _Loop(loops.StandardEvaluator):
    """Orbit's inner loop over a data set: the step is traced, collecting its results and the progress bar are not."""

    def __init__(self, step: Callable[..., tuple[tf.Tensor, ...]], strategy: tf.distribute.Strategy) -> None:
        super().__init__(eval_dataset=None)
        self._step = step
        self._strategy = strategy
        self._traces = 0

    def run(self, dataset: tf.data.Dataset, total: int, description: str, collect: Callable[..., None]) -> None:
        """Calls `collect` with the step's results, replica by replica, for every batch."""
        self._collect = collect
        self._ticks = progress(range(total), description, unit="img")
        self.eval_dataset = dataset
        self.evaluate(tf.constant(-1))

    def trace_count(self) -> int:
        return self._traces

    def eval_step(self, iterator: tf.data.Iterator) -> tuple[tf.Tensor, ...]:
        self._traces += 1  # in Python, so only while tracing
        return self._strategy.run(self._step, args=self._batches(iterator))

    def _batches(self, iterator: tf.data.Iterator) -> tuple[tf.Tensor, ...]:
        """A whole batch for each replica; where none is left, the first one again with indices that don't count."""
        first = next(iterator)
        others = [iterator.get_next_as_optional() for _ in range(1, workers.of(self._strategy).local_replicas)]
        if not others and self._strategy.num_replicas_in_sync == 1:
            return first
        void = (-tf.ones_like(first[0]), *first[1:])
        batches = [first, *(tf.cond(o.has_value(), o.get_value, lambda: void) for o in others)]
        return per_replica(batches, self._strategy)

    def eval_begin(self) -> int:
        return 0

    def eval_reduce(self, state: int, step_outputs: tuple[tf.Tensor, ...]) -> int:
        local = [self._strategy.experimental_local_results(output) for output in step_outputs]
        for index, *others in zip(*local, strict=True):
            self._collect(index.numpy(), *others)
            done = int((index.numpy() >= 0).sum())
            state += done
            for _ in range(done):
                next(self._ticks)
        return state

    def eval_end(self, state: int) -> None:
        next(self._ticks, None)  # ends the progress bar
