"""How the tf.data pipelines run: every one of them ends in `read_ahead`."""

import os

import tensorflow as tf

PARALLEL_CALLS = os.cpu_count() or 1
"""Elements that are read or decoded at a time."""


def read_ahead(dataset: tf.data.Dataset, elements: int = 2) -> tf.data.Dataset:
    """A data set that prepares so many elements ahead of its consumer.

    The tuner of tf.data is off: it has nothing to choose here, and can hold up the end of a pass for half a second.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(elements).with_options(options)
