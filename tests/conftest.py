"""What all tests share: where the real data and the golden outputs are, if they are anywhere."""

import os
from collections.abc import Iterator
from pathlib import Path

import gin
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores; set before TensorFlow and numpy start.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images, official weights and golden outputs, which only developers and CI have."""
    if not SHARED.is_dir():
        pytest.skip(
            f"needs the shared data folder {SHARED.name!r} beside the checkout (images, weights, golden outputs)"
        )
    return SHARED


@pytest.fixture(scope="module", autouse=True)
def _config_of_its_own() -> Iterator[None]:
    """gin's config is the process's: what one file's tests bound must not be the next one's defaults."""
    gin.clear_config()
    yield
    gin.clear_config()
