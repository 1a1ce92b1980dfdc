"""On which devices, and machines, a run computes: the strategy of `tf.distribute`, named in gin or found.

Several workers are told of each other by TF_CONFIG, as TensorFlow documents it: `{"cluster": {"worker": ["host:port",
...]}, "task": {"type": "worker", "index": 0}}`, on each machine with its own index. Worker 0 is the chief.
"""

import json
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

from load_tf import interruption
from load_tf.devices import presence, workers
from load_tf.errors import UserError, reason

EXPECTED = "'auto', 'one', 'mirrored', 'multi_worker', 'tpu' or 'tpu:NAME'"


def strategy(devices: str = "auto", logical_devices: int = 0) -> tf.distribute.Strategy:
    """Chooses the strategy; with several workers this waits until all are there. Must come before any operation runs.

    Args:
      devices: "one", the first GPU or the CPU; "mirrored", all GPUs of this machine; "multi_worker", all GPUs (or the
        CPU) of each machine of TF_CONFIG; "tpu", the TPU of the environment, or "tpu:NAME"; "auto": "multi_worker" if
        TF_CONFIG names several, else "mirrored" if there are several GPUs, else "one". A TPU is used by name only.
      logical_devices: divides the CPU into so many devices, to try "mirrored" without GPUs; 0: it stays one.

    Raises:
      UserError: if the name is none of these, or the devices are not there.
      WorkerAbsentError: if a worker of TF_CONFIG does not start.
    """
    if devices not in ("auto", "one", "mirrored", "multi_worker", "tpu") and not devices.startswith("tpu:"):
        raise UserError(f"Runtime.devices is {devices!r}; expected {EXPECTED}.")
    if devices.startswith("tpu"):
        return _tpu(devices.partition(":")[2])
    addresses, index = _cluster()
    if devices == "multi_worker" or (devices == "auto" and len(addresses) > 1):
        return _multi_worker(addresses, index)
    if addresses[1:]:
        raise UserError(
            f"Runtime.devices is {devices!r}, but TF_CONFIG names {len(addresses)} workers, which would all do the "
            "same; choose 'multi_worker', or unset TF_CONFIG."
        )
    available = tf.config.list_physical_devices("GPU")
    if logical_devices:
        _divide_cpu(logical_devices)
    if devices == "one" or (devices == "auto" and len(available) < 2 and logical_devices < 2):
        return tf.distribute.get_strategy()
    if logical_devices:
        return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(logical_devices)])
    if len(available) < 2:
        raise UserError(f"Runtime.devices is 'mirrored', but this machine has {len(available)} GPUs; expected several.")
    return tf.distribute.MirroredStrategy()


def describe(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """What `environment.json` says of a strategy: its class and how many replicas share a batch."""
    one = strategy.num_replicas_in_sync == 1
    return {"strategy": "one device" if one else type(strategy).__name__, "replicas": strategy.num_replicas_in_sync}


def _cluster() -> tuple[list[str], int]:
    """The addresses of the workers, the chief's first, and which of them this process is; none without TF_CONFIG.

    Raises:
      UserError: if TF_CONFIG is not what TensorFlow documents.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return [], 0
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        jobs = [(job, n, str(host)) for job in ("chief", "worker") for n, host in enumerate(cluster.get(job, ()))]
        own = (task["type"], int(task["index"])) if cluster else None
        if own is not None and own not in [job[:2] for job in jobs]:
            raise ValueError(f"there is no {own[0]} {own[1]}")
        if wrong := [host for *_, host in jobs if not host.rpartition(":")[2].isdecimal()]:
            raise ValueError(f"{wrong[0]!r} names no port")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(
            f"TF_CONFIG is {text!r} ({error}); expected JSON such as "
            '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}.'
        ) from None
    return [host for *_, host in jobs], [job[:2] for job in jobs].index(own) if own is not None else 0


def _multi_worker(addresses: list[str], index: int) -> tf.distribute.Strategy:
    if not addresses:
        raise UserError(
            "Runtime.devices is 'multi_worker', but TF_CONFIG names no workers; set it on every machine, or choose "
            "'auto'."
        )
    if addresses[1:]:
        presence.wait_for_all(addresses, index)
        _lengthen_heartbeat_timeout(json.loads(os.environ["TF_CONFIG"])["cluster"])
    with interruption.left_to_the_system(presence.START_SECONDS):
        return _made(tf.distribute.MultiWorkerMirroredStrategy, "the workers of TF_CONFIG")


def _lengthen_heartbeat_timeout(cluster: dict[str, list[str]]) -> None:
    """Makes TensorFlow's own heartbeat timeout longer than that of `Workers.watched`, which says who is missing."""
    if context.context().coordination_service is not None:
        return
    jobs = [job for job in ("chief", "worker") if cluster.get(job)]
    context.context().configure_coordination_service(
        "standalone",
        service_leader=f"/job:{jobs[0]}/replica:0/task:0",
        heartbeat_timeout_in_ms=int(10_000 * workers.SILENT_SECONDS),
    )
    for job in jobs:
        context.context().coordination_service.coordinated_job_list.add(name=job, num_tasks=len(cluster[job]))


def _tpu(name: str) -> tf.distribute.Strategy:
    def make() -> tf.distribute.Strategy:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)

    return _made(make, f"the TPU {name!r}" if name else "a TPU")


def _made(make: Callable[[], tf.distribute.Strategy], what: str) -> tf.distribute.Strategy:
    try:
        return make()
    except (RuntimeError, ValueError, OSError, tf.errors.OpError) as error:
        raise UserError(f"{what} can't be used: {reason(error)}") from error


def _divide_cpu(number: int) -> None:
    if number < 1:
        raise UserError(f"Runtime.logical_devices is {number}; expected a whole number of at least 0.")
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * number)
    except RuntimeError:
        if len(tf.config.list_logical_devices("CPU")) < number:
            raise UserError(
                f"Runtime.logical_devices is {number}, but TensorFlow is running already with "
                f"{len(tf.config.list_logical_devices('CPU'))}; set it before anything runs."
            ) from None
