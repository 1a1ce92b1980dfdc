"""Shapes are measured in threads, while the network labels the next images."""

from types import TracebackType

import numpy as np

from load_tf.data.threads import THREADS, Ahead
from load_tf.evaluation.shapes import Shapes, shapes

WAITING = 2
"""Images of a thread that wait or are measured; where the network is faster than the threads, it waits for them, and
label maps do not pile up."""


class Measuring:
    """Fills the shapes of images in; a context, at the end of which all of them are there."""

    def __init__(self, found: Shapes, threads: int = THREADS) -> None:
        """Nothing is measured yet.

        Args:
          found: of N images; what is measured goes into the rows of its arrays.
          threads: images that are measured at a time.
        """
        self._found = found
        self._ahead: Ahead[None] = Ahead(WAITING, threads)

    def __enter__(self) -> "Measuring":
        return self

    def add(self, row: int, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Begins with an image, and waits while there are too many others; raises what went wrong in one of those.

        Args:
          row: of the counts.
          truth: uint8 [H, W], which `shapes` takes; not to be changed from here on.
          prediction: uint8 [H, W], likewise.
        """
        for _ in self._ahead.call(self._measure, row, truth, prediction):
            pass

    def _measure(self, row: int, truth: np.ndarray, prediction: np.ndarray) -> None:
        measured = shapes(truth, prediction, self._found.components.shape[-1])
        for counts, of_image in zip(self._found, measured, strict=True):
            counts[row] = of_image

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._ahead:
            if error is None:
                for _ in self._ahead.rest():
                    pass
