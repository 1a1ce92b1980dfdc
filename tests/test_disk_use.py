"""What a run is said to take: the discriminator counted without building it equals the one that is built."""

import numpy as np
import pytest

from load_tf.discriminator import Discriminator
from load_tf.disk_use import discriminator_numbers


@pytest.mark.parametrize(("alpha", "classes"), [(0.25, 8), (0.5, 3)])
def test_the_discriminator_is_counted_right(alpha: float, classes: int) -> None:
    settings = Discriminator(alpha=alpha, input_size=32)
    built = settings.build(classes, seed=0)
    trained = sum(int(np.prod(v.shape)) for v in built.trainable_variables)
    whole = sum(int(np.prod(v.shape)) for v in built.variables)
    assert discriminator_numbers(settings, classes) == (trained, whole - trained)


def test_the_papers_discriminator() -> None:
    """MobileNet's 3,228,864 numbers of keras.applications, 60 channels more, and a last layer of 1,025."""
    trained, others = discriminator_numbers(Discriminator(), 21)
    assert trained + others == 3_228_864 + 60 * 9 * 32 + 1025
