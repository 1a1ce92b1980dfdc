"""What all tests share: where the real data and the golden outputs are, if they are anywhere."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images, official weights and golden outputs, which only developers and CI have."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared data folder {SHARED.name!r} beside the checkout (images, weights, golden outputs)")
    return SHARED
