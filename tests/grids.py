"""What a discriminator learns from, drawn by number: images and label maps on a small grid."""

import numpy as np

from load_tf.discriminator.grid import GridExamples


def examples(count: int, size: int, classes: int, void: float) -> GridExamples:
    """Images and their labels.

    Args:
      count: of the images.
      size: height and width of the grid.
      classes: K.
      void: the share of the labels that are void.
    """
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, (count, size, size), dtype=np.uint8)
    labels[random.random(labels.shape) < void] = 255
    return GridExamples(random.integers(0, 256, (count, size, size, 3), dtype=np.uint8), labels)
