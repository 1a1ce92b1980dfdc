"""What all tests share: where the real data and the golden outputs are, if they are anywhere."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import gin
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores; set before TensorFlow and numpy start.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# Until what the imports make is set aside, below: there is nothing in it to collect.
gc.disable()

DEAREST = (
    *("devices/test_workers.py", "experiment/test_run.py", "devices/test_replicas.py", "study/test_study.py"),
    *("experiment/test_own_model.py", "experiment/test_start.py", "test_readme.py", "storage/test_golden_runs.py"),
    *("methods/test_methods.py", "game/test_game.py", "serving/test_lite.py", "training/test_checkpointing.py"),
)
"""Files that take longest, by `tests/processor_time.py`, in the order in which they are given to the workers."""

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The dearest files first: where one of them came last, the other worker would have nothing to do meanwhile."""
    places = {Path(__file__).parent / file: place for place, file in enumerate(DEAREST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """What the imports made is set aside: the collector would look through it again and again in every trace."""
    gc.collect()
    gc.freeze()
    gc.enable()


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
