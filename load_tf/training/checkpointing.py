"""Gradient checkpointing (Chen et al. 2016): a network's backward pass in the memory of a part of it.

A plain backward pass holds every layer's output. Here the forward pass keeps what goes from one segment of the network
to the next, and each segment is computed once more when its gradient is wanted: one more forward pass for a memory of
about the square root. What is computed is the same, so the gradients are, too.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from load_tf.discriminator.grid import Size
from load_tf.errors import UserError
from load_tf.segmentors.any_shape import graph_of

_LIMITS = 24
"""How many bounds on a segment's memory are tried between the largest layer's and the whole network's."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """One call of a layer: places of its tensors in the network, in the order they were made."""

    layer: Any
    arguments: Any
    """As the layer takes them, with `_Place` for a tensor."""
    inputs: tuple[int, ...]
    output: int


@dataclasses.dataclass(frozen=True)
class _Place:
    number: int


@dataclasses.dataclass(frozen=True)
class _Segment:
    steps: tuple[_Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    """What later segments, or the caller, take from it."""


class CheckpointedNetwork:
    """A functional model cut into segments whose forward pass is done again in the backward pass.

    A nested model is one step and is not cut.
    """

    def __init__(self, model: keras.Model, size: Size) -> None:
        """Finds the cuts that take the least memory for images of that size.

        Args:
          model: a functional model [B, H, W, 3] -> logits [B, h, w, K].
          size: (height, width) of the images.

        Raises:
          UserError: if the model is not functional.
        """
        try:
            steps, sizes = _record(model, size)
        except TypeError as error:
            raise UserError(
                f"AdversarialTraining.checkpointing is True, but the segmentor {model.name!r} can't be cut "
                f"into segments ({error}); expected a functional Keras model, or False."
            ) from None
        self._model = model
        self._segments = [_segment(steps, first, end) for first, end in _cuts(steps, sizes)]

    def __len__(self) -> int:
        """How many segments there are."""
        return len(self._segments)

    def gradients(
        self,
        images: tf.Tensor,
        objective: Callable[[tf.Tensor], tuple[tf.Tensor, Any]],
        variables: Sequence[tf.Variable],
    ) -> tuple[tf.Tensor, Any, list[tf.Tensor | None]]:
        """The loss and its gradients; the network runs in inference mode.

        Args:
          images: [B, H, W, 3] float.
          objective: from logits to the loss and whatever goes with it.
          variables: what to differentiate by.

        Returns:
          The loss, what goes with it, and a gradient for each variable, None where the loss does not depend on it.
        """
        kept: dict[int, tf.Tensor] = {0: images}
        for segment in self._segments:
            kept.update(_run(segment, kept))
        logits = kept[self._segments[-1].outputs[0]]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(logits)
            loss, measured = objective(logits)
        upstream = {self._segments[-1].outputs[0]: tape.gradient(loss, logits)}
        gradients: list[tf.Tensor | None] = [None] * len(variables)
        for segment in reversed(self._segments):
            self._backward(segment, kept, upstream, variables, gradients)
        return loss, measured, gradients

    def _backward(
        self,
        segment: _Segment,
        kept: Mapping[int, tf.Tensor],
        upstream: dict[int, tf.Tensor],
        variables: Sequence[tf.Variable],
        gradients: list[tf.Tensor | None],
    ) -> None:
        """Adds a segment's gradients, and those of its inputs to `upstream`."""
        outputs = [number for number in segment.outputs if number in upstream]
        arriving = [upstream[number] for number in outputs]
        # Not before its gradient is there, or TensorFlow would run it early, or take the forward pass' results for it.
        with tf.control_dependencies(arriving):
            again = {number: tf.identity(kept[number]) for number in segment.inputs}
        inputs = [number for number in segment.inputs if number != 0]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*(again[number] for number in inputs), *variables])
            computed = _run(segment, again)
        found = tape.gradient(
            [computed[number] for number in outputs], [*(again[number] for number in inputs), *variables], arriving
        )
        for number, gradient in zip(inputs, found, strict=False):
            if gradient is not None:
                upstream[number] = upstream[number] + gradient if number in upstream else gradient
        for place, gradient in enumerate(found[len(inputs) :]):
            if gradient is not None:
                present = gradients[place]
                gradients[place] = gradient if present is None else present + gradient


def _record(model: keras.Model, size: Size) -> tuple[list[_Step], list[int]]:
    """The calls of a model's layers in order, and the bytes of every tensor of one image."""
    images = keras.Input((*size, 3))
    places, tensors, steps = {id(images): 0}, [images], []

    def number_of(tensor: keras.KerasTensor) -> int:
        return places[id(tensor)]

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        if not isinstance(output, keras.KerasTensor):
            raise TypeError(f"its layer {layer.name!r} has several outputs")
        taken = [value for value in keras.tree.flatten((args, kwargs)) if isinstance(value, keras.KerasTensor)]
        arguments = keras.tree.map_structure(
            lambda value: _Place(number_of(value)) if isinstance(value, keras.KerasTensor) else value, (args, kwargs)
        )
        places[id(output)] = len(tensors)
        tensors.append(output)
        steps.append(_Step(layer, arguments, tuple(map(number_of, taken)), len(tensors) - 1))
        return output

    keras.models.clone_model(graph_of(model), [images], clone_function=lambda layer: layer, call_function=call)
    return steps, [4 * int(np.prod([side or 1 for side in tensor.shape[1:]])) for tensor in tensors]


def _cuts(steps: Sequence[_Step], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Where each segment begins and ends: the least of what is kept between segments and the largest one's outputs."""
    last_use = {number: place for place, step in enumerate(steps) for number in step.inputs}
    crossing = [
        sum(sizes[step.output] for step in steps[:end] if last_use.get(step.output, -1) >= end)
        for end in range(len(steps) + 1)
    ]
    made = np.cumsum([0, *(sizes[step.output] for step in steps)])
    # Only where less crosses than on either side.
    inner = [e for e in range(1, len(steps)) if crossing[e] <= min(crossing[e - 1], crossing[e + 1])]
    ends = [0, *inner, len(steps)]
    least, whole = max(np.diff(made[ends])), made[-1]
    best, best_cost = [(0, len(steps))], float(whole)
    for limit in np.geomspace(least, whole, _LIMITS):
        kept, before = [0.0] + [np.inf] * (len(ends) - 1), [0] * len(ends)
        for j in range(1, len(ends)):
            for i in range(j - 1, -1, -1):
                if made[ends[j]] - made[ends[i]] > limit:
                    break
                if kept[i] + crossing[ends[j]] < kept[j]:
                    kept[j], before[j] = kept[i] + crossing[ends[j]], i
        if kept[-1] + limit < best_cost:
            best_cost, best, j = kept[-1] + limit, [], len(ends) - 1
            while j:
                best.insert(0, (ends[before[j]], ends[j]))
                j = before[j]
    return best


def _segment(steps: Sequence[_Step], first: int, end: int) -> _Segment:
    own = steps[first:end]
    made = {step.output for step in own}
    inputs = sorted({number for step in own for number in step.inputs} - made)
    later = {number for step in steps[end:] for number in step.inputs}
    outputs = sorted(made & later) if end < len(steps) else [own[-1].output]
    return _Segment(tuple(own), tuple(inputs), tuple(outputs))


def _run(segment: _Segment, given: Mapping[int, tf.Tensor]) -> dict[int, tf.Tensor]:
    """A segment's outputs from its inputs."""
    values = {number: given[number] for number in segment.inputs}
    for step in segment.steps:
        args, kwargs = keras.tree.map_structure(
            lambda value: values[value.number] if isinstance(value, _Place) else value, step.arguments
        )
        if isinstance(step.layer, keras.layers.Layer) and "training" in inspect.signature(step.layer.call).parameters:
            kwargs = {**kwargs, "training": False}
        values[step.output] = step.layer(*args, **kwargs)
    return {number: values[number] for number in segment.outputs}
