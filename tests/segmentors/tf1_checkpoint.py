"""Writes checkpoints as official DeepLab training left them."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from load_tf.segmentors.deeplab import Architecture, deeplab
from load_tf.segmentors.layers import official_variables


def random_weights(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    """Values for every variable of a network that keep its activations in a sane range."""
    generator = np.random.default_rng(seed)
    weights = {}
    for name, variable in official_variables(deeplab(architecture)).items():
        shape, leaf = tuple(variable.shape), name.rpartition("/")[2]
        if leaf in ("gamma", "moving_variance"):
            value = generator.uniform(0.5, 1.5, shape)
        elif leaf in ("beta", "moving_mean", "biases"):
            value = generator.normal(0.0, 0.1, shape)
        else:
            fan_in = np.prod(shape[:2]) if leaf == "depthwise_weights" else np.prod(shape[:3])
            value = generator.normal(0.0, np.sqrt(2.0 / fan_in), shape)
        weights[name] = value.astype(np.float32)
    return weights


def training_state(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What training keeps beside the variables: momentum slots of the trainable ones, averages, the step."""
    slots = {
        f"{name}/Momentum": np.full_like(value, 7.0)
        for name, value in weights.items()
        if not name.endswith(("moving_mean", "moving_variance"))
    }
    averages = {f"{name}/ExponentialMovingAverage": value + 9 for name, value in weights.items() if "logits" in name}
    return {**slots, **averages, "global_step": np.int64(30000)}


def write(prefix: Path, weights: dict[str, np.ndarray], state: bool = True) -> Path:
    """Writes `prefix`.index and its data file, and neither `.meta` nor `checkpoint`, as in the official archives."""
    tensors = {**weights, **(training_state(weights) if state else {})}
    prefix.parent.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(value) for value in tensors.values()],
    )
    assert {path.name for path in prefix.parent.glob(f"{prefix.name}*")} == {
        f"{prefix.name}.index",
        f"{prefix.name}.data-00000-of-00001",
    }
    return prefix
