"""The soak as a test: see `tests/soak.py`, which runs as a command, too."""

from pathlib import Path

import pytest

from tests.soak import Soak


@pytest.mark.slow
def test_fifty_kills_leave_no_trace(tmp_path: Path) -> None:
    soak = Soak(tmp_path, seed=1)
    soak.play(50)
    assert soak.kills.total() >= 50 and len(soak.kills) == 3
