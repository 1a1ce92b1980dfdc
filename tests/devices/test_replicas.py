"""Two and four replicas, two processes and accumulated parts against one device: every step of every phase."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests import forked, tiny
from tests.team import free_ports

TOLERANCE = 1e-5


def run(out: Path, *wanted: str, environment: dict[str, str] | None = None) -> forked.Process:
    words = ["-m", "tests.devices.replica_steps", str(out), *wanted]
    return forked.Process(words, tiny.ROOT, tiny.environment(**(environment or {})))


def arrays(out: Path, process: forked.Process, whole: bool = False) -> dict[str, np.ndarray]:
    """What a process left, by name; `whole`: with what it was asked for as first part."""
    error = process.communicate(timeout=500)[1]
    assert process.returncode == 0, error
    with np.load(out) as found:
        return {name if whole else name.partition(":")[2]: found[name] for name in found}


@pytest.fixture(name="one", scope="module")
def _one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    out = tmp_path_factory.mktemp("one") / "one.npz"
    return arrays(out, run(out, "one=0"))


def assert_alike(one: dict[str, np.ndarray], other: dict[str, np.ndarray], least: int) -> None:
    """Vectors agree in relation to their length, whole numbers exactly."""
    assert len(other) >= least
    for name, value in other.items():
        if value.dtype.kind in "iub":
            np.testing.assert_array_equal(value, one[name], err_msg=name)
            continue
        length = np.linalg.norm(one[name])
        assert length > 0 or name.endswith("_share"), f"{name}: nothing to compare"
        assert np.linalg.norm(value - one[name]) <= TOLERANCE * length, name


@pytest.mark.parametrize(
    "wanted", ["2", "0/3", *(pytest.param(wanted, marks=pytest.mark.slow) for wanted in ("4", "2/2"))]
)
def test_a_step_is_that_of_the_global_batch(one: dict[str, np.ndarray], wanted: str, tmp_path: Path) -> None:
    """5 images, and 3 where there may be fewer than replicas; with "/n" in n parts."""
    made = arrays(tmp_path / "made.npz", run(tmp_path / "made.npz", f"made={wanted}"))
    assert_alike(one, made, 25 if "/" in wanted else 35)


def test_two_processes_compute_as_one(one: dict[str, np.ndarray], tmp_path: Path) -> None:
    hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]
    configs = [{"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}} for index in range(2)]
    outs = [tmp_path / "0.npz", tmp_path / "1.npz"]
    processes = [
        run(out, "w=w", environment={"TF_CONFIG": json.dumps(config)})
        for out, config in zip(outs, configs, strict=True)
    ]
    for out, process in zip(outs, processes, strict=True):
        assert_alike(one, arrays(out, process), 35)


def test_images_without_labels_are_shared_alike(tmp_path: Path) -> None:
    """Of 6 images the last 3 have none, so that two replicas have one kind each."""
    both = arrays(tmp_path / "both.npz", run(tmp_path / "both.npz", "one=0/1/beside", "two=2/1/beside"), whole=True)
    one, two = ({n.partition(":")[2]: v for n, v in both.items() if n.startswith(of)} for of in ("one:", "two:"))
    assert_alike(one, two, 20)
    assert 0 < one["semi-supervised/believed_share"] < 1


@pytest.mark.slow
def test_the_papers_discriminator_is_trained_alike(tmp_path: Path) -> None:
    alone = arrays(tmp_path / "one.npz", run(tmp_path / "one.npz", "one=0/1/mobilenet"))
    four = arrays(tmp_path / "four.npz", run(tmp_path / "four.npz", "four=4/1/mobilenet"))
    assert_alike(alone, four, 3)


PLAIN = """
import sys
from load_tf.training import discriminator, stage_one
discriminator.synchronize_batch_norm = stage_one.synchronize_batch_norm = lambda networks, strategy: None
from tests.devices import replica_steps
replica_steps.main(*sys.argv[1:])
"""


def test_batch_norm_of_each_replicas_own_would_be_seen(one: dict[str, np.ndarray], tmp_path: Path) -> None:
    out = tmp_path / "plain.npz"
    different = ("stage one/5", "discriminator/small/5")
    words = ["-c", PLAIN, str(out), "plain=2", *different, "supervised"]
    process = forked.Process(words, tiny.ROOT, tiny.environment())
    plain = arrays(out, process)
    for name in (f"{trainer}/gradients" for trainer in different):
        assert np.linalg.norm(plain[name] - one[name]) > 1e-2 * np.linalg.norm(one[name])
    assert_alike(one, {name: value for name, value in plain.items() if name.startswith("supervised")}, 3)
