"""What the processor of a test may lack."""

import pytest

from load_tf.devices import precision
from load_tf.errors import UserError


def use_precision(name: str) -> None:
    """`precision.use`; skips where the processor (or a cap on what oneDNN may use of it) has no 16-bit convolution."""
    try:
        precision.use(name)
    except UserError as error:
        pytest.skip(str(error))
