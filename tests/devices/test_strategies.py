"""Which strategy is chosen, and what is said where it can't be."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from load_tf.devices import presence, workers
from load_tf.devices import strategies as devices
from load_tf.errors import UserError

HOSTS = ["10.0.0.1:2222", "10.0.0.2:2222"]


def config(index: int = 0, **cluster: list[str]) -> str:
    return json.dumps({"cluster": cluster or {"worker": HOSTS}, "task": {"type": "worker", "index": index}})


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)


@pytest.fixture(name="made")
def _made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The strategies that would have been made, by name; none is."""
    made: list[Any] = []

    def note(name: str) -> Callable[..., str]:
        return lambda *arguments: made.append((name, *arguments)) or name

    for name in ("MirroredStrategy", "MultiWorkerMirroredStrategy"):
        monkeypatch.setattr(tf.distribute, name, note(name))
    monkeypatch.setattr(presence, "wait_for_all", note("waited"))
    monkeypatch.setattr(devices, "_lengthen_heartbeat_timeout", lambda cluster: None)
    return made


def gpus(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:{n}" for n in range(number)])


@pytest.mark.parametrize("number", [0, 1])
def test_up_to_one_gpu_needs_no_strategy(monkeypatch: pytest.MonkeyPatch, made: list[Any], number: int) -> None:
    gpus(monkeypatch, number)
    assert devices.strategy("auto") is tf.distribute.get_strategy()
    assert devices.strategy("one") is tf.distribute.get_strategy()
    assert made == []
    assert devices.describe(tf.distribute.get_strategy()) == {"strategy": "one device", "replicas": 1}


def test_several_gpus_are_mirrored_unless_one_is_asked_for(monkeypatch: pytest.MonkeyPatch, made: list[Any]) -> None:
    gpus(monkeypatch, 4)
    assert devices.strategy("auto") == devices.strategy("mirrored") == "MirroredStrategy"
    assert made == [("MirroredStrategy",)] * 2
    assert devices.strategy("one") is tf.distribute.get_strategy()


def test_several_workers_come_before_gpus(monkeypatch: pytest.MonkeyPatch, made: list[Any]) -> None:
    gpus(monkeypatch, 4)
    monkeypatch.setenv("TF_CONFIG", config())
    assert devices.strategy("auto") == "MultiWorkerMirroredStrategy"
    monkeypatch.setenv("TF_CONFIG", config(1, chief=HOSTS[:1], worker=["10.0.0.3:1", "10.0.0.2:2222"]))
    assert devices.strategy("auto") == "MultiWorkerMirroredStrategy"
    assert made == [
        ("waited", HOSTS, 0),
        ("MultiWorkerMirroredStrategy",),
        # The chief comes first, and is no worker.
        ("waited", ["10.0.0.1:2222", "10.0.0.3:1", "10.0.0.2:2222"], 2),
        ("MultiWorkerMirroredStrategy",),
    ]
    monkeypatch.setenv("TF_CONFIG", config(worker=HOSTS[:1]))
    assert devices.strategy("auto") == "MirroredStrategy"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "gpu",
            "",
            r"Runtime.devices is 'gpu'; expected 'auto', 'one', 'mirrored', 'multi_worker', 'tpu' or 'tpu:NAME'",
        ),
        ("mirrored", "", r"'mirrored', but this machine has 0 GPUs"),
        ("multi_worker", "", r"TF_CONFIG names no workers"),
        ("one", config(), r"'one', but TF_CONFIG names 2 workers"),
        ("auto", "{", r"TF_CONFIG is '{'.*expected JSON such as"),
        ("auto", config(index=2), r"there is no worker 2"),
        ("auto", config(worker=["a:2222", "b"]), r"'b' names no port"),
        ("auto", '["worker"]', r"expected JSON such as"),
    ],
)
def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str) -> None:
    if text:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=said):
        devices.strategy(name)


def test_a_tpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(tpu: str) -> None:
        raise ValueError("Please provide a TPU Name to connect to.")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", absent)
    with pytest.raises(UserError, match="the TPU 'v4' can't be used: Please provide a TPU Name"):
        devices.strategy("tpu:v4")


def test_devices_are_not_divided_once_tensorflow_runs() -> None:
    tf.constant(1) + 1
    with pytest.raises(UserError, match="logical_devices is 1000, but TensorFlow is running already"):
        devices.strategy("mirrored", 1000)


def test_one_worker_agrees_with_itself() -> None:
    alone = workers.of(tf.distribute.get_strategy())
    assert (alone.count, alone.index, alone.is_chief, alone.local_replicas) == (1, 0, True, 1)
    assert alone.agree({"a": [1, None]}) == {"a": [1, None]}
    assert alone.any(15) == 15
    assert workers.of(tf.distribute.get_strategy()) is alone
