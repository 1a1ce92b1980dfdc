"""A user's own Keras model as a segmentor: what it takes, and how its logits lie, found by trying it.

Both ways in use this: `load_tf.run` and the gin configurable `keras_model`.
"""

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from load_tf.errors import UserError, reason
from load_tf.segmentors import contract
from load_tf.segmentors.any_shape import flat_layers, for_any_size
from load_tf.segmentors.any_size import CutToImages, PadToMultiple
from load_tf.segmentors.convention import OFFICIAL, UPSAMPLINGS, Convention
from load_tf.segmentors.labelling import PADDING_VALUE, Size
from load_tf.segmentors.layers import AlignedResize, DepthwiseConv
from load_tf.segmentors.segmentor import Segmentor

_MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)
_PROBE = (256, 384)
"""A size that all of these divide."""


class OwnModel:
    """A user's model, tried on grey images.

    Attributes:
      network: what runs: the model, or its graph of layers without what binds it to a size; all weights are shared.
      largest: the only (height, width) it takes; None: any.
      num_classes: K.
    """

    def __init__(self, model: keras.Model, holds: Size | None = None) -> None:
        """Tries it.

        Args:
          model: RGB [B, H, W, 3] in [0, 255] -> logits [B, h, w, K].
          holds: (height, width) that a network which takes one size only has to take at least; None: nobody knows.

        Raises:
          UserError: it is no segmentor, gives probabilities, or its weights are not finite.
        """
        model = contract.single(model)
        contract.refuse_not_finite(model)
        self._official = is_official(model)
        self.network, run = _for_any_size(model)
        sizes = _sizes(run) if run is not None else None
        if run is not None and sizes is not None:
            self.largest, (size, logits) = None, (_PROBE, run(_PROBE))
        else:
            self.network, size, logits = _one_size(model, holds)
            self.largest = size
        contract.check_logits(self.network, logits)
        self._sizes = sizes or _Sizes()
        self._stride = max(1, round(size[0] / logits.shape[1]))
        self._full_resolution = logits.shape[1:3] == size
        self.num_classes = int(logits.shape[-1])

    def segmentor(self, pretrained: bool, description: str, convention: Convention | str | None = None) -> Segmentor:
        """The model as LoAd needs it.

        Args:
          pretrained: False to train it in stage 1 first.
          description: one line for people.
          convention: the model's; only its `upsampling`, "aligned" or "half_pixel", to have the sizes found; None: all
            is found: networks of load_tf's own layers are official ones, all others have half-pixel centres.

        Raises:
          UserError: the network does not take the convention's sizes.
        """
        official = convention is None and self._official
        chosen = OFFICIAL if official else _convention(convention, self._sizes)
        return Segmentor(
            self.network,
            pretrained,
            description,
            self._stride,
            convention=chosen,
            largest=self.largest,
            full_resolution=self._full_resolution,
            doubt=None if official or self.largest is not None else _doubt(chosen, self._sizes),
        )


def is_official(model: keras.Model) -> bool:
    """Whether a model is made of load_tf's own layers, and so takes 16 k + 1 pixels and has aligned corners."""
    if any(isinstance(layer, CutToImages) for layer in model.layers):
        return False  # `any_size` around it has brought its logits to the images' size already.
    return any(isinstance(layer, AlignedResize | DepthwiseConv) for layer in flat_layers(model))


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """What sizes a network takes.

    Attributes:
      needed: it takes multiples of so many pixels only.
      exact: at multiples of so many pixels each logit stands for a whole number of them.
    """

    needed: int = 1
    exact: int = 1


def _for_any_size(model: keras.Model) -> tuple[keras.Model, Callable[[Size], np.ndarray] | None]:
    """The network that takes any size, and what runs it on a grey image; None if it takes one size only."""
    if any(isinstance(layer, PadToMultiple) and layer.size is not None for layer in model.layers):
        return model, None
    try:
        return _on_grey(for_any_size(model))
    except UserError:
        raise
    except Exception:  # Keras, TensorFlow and the user's own `call` raise nearly anything where shapes don't fit.
        return model, None


def _sizes(run: Callable[[Size], np.ndarray]) -> _Sizes | None:
    """Tries sizes; None if the network takes none of them."""
    needed = 0
    for multiple in _MULTIPLES:
        # Odd multiples, so that a network that needs larger ones refuses them.
        size = (_PROBE[0] // 2 + multiple, _PROBE[0] // 2 + 3 * multiple)
        try:
            logits = run(size)
        except Exception:
            continue
        needed = needed or multiple
        if logits.ndim != 4 or not any(side % have for side, have in zip(size, logits.shape[1:3], strict=True)):
            return _Sizes(needed, multiple)
    return _Sizes(needed, needed) if needed else None


def _on_grey(network: keras.Model, size: Size | None = None) -> tuple[keras.Model, Callable[[Size], np.ndarray]]:
    """The network with one tensor for an output, and a function from a size to its logits [1, h, w, K] of a grey image.

    It is traced for that size, or for any.
    """
    traced = _traced(network, size)
    single = contract.only_output(network, traced.get_concrete_function().structured_outputs)
    if single is not network:
        network, traced = single, _traced(single, size)
    return network, lambda grey: traced(tf.fill([1, *grey, 3], PADDING_VALUE)).numpy()


def _traced(network: keras.Model, size: Size | None) -> tf.types.experimental.PolymorphicFunction:
    @tf.function(input_signature=[tf.TensorSpec([None, *(size or (None, None)), 3], tf.float32)])
    def traced(images: tf.Tensor) -> tf.Tensor:
        return network(images, training=False)

    return traced


def _one_size(model: keras.Model, holds: Size | None) -> tuple[keras.Model, Size, np.ndarray]:
    """The network that takes one size only, that size, and its logits for a grey image of it."""
    fixed = _fixed_size(model)
    if fixed is None and holds is None:
        raise UserError(
            f"the model {model.name!r} takes no images of unknown size; expected one with an Input of a fixed size."
        )
    candidates = [fixed] if fixed else []
    if holds is not None and not fixed:
        candidates = [
            (conv.next(holds[0]), conv.next(holds[1])) for conv in (Convention(multiple=m) for m in _MULTIPLES)
        ]
    failure: Exception | None = None
    for size in dict.fromkeys(candidates):
        try:
            network, run = _on_grey(model, size)
            return network, size, run(size)
        except UserError:
            raise
        except Exception as error:
            failure = failure or error
    raise UserError(
        f"the model {model.name!r} can't label an image of {candidates[0][0]} x {candidates[0][1]} pixels "
        f"(height x width): {reason(failure).rstrip('.')}; {contract.EXPECTED}."
    ) from failure


def _fixed_size(model: keras.Model) -> Size | None:
    for layer in model.layers:
        if isinstance(layer, PadToMultiple) and layer.size is not None:
            return layer.size[0], layer.size[1]
    inputs = getattr(model, "inputs", None)
    if inputs and len(inputs[0].shape) == 4 and None not in inputs[0].shape[1:3]:
        return tuple(inputs[0].shape[1:3])
    return None


def _convention(wish: Convention | str | None, sizes: _Sizes) -> Convention:
    if wish is None or wish == "half_pixel":
        return _half_pixel(sizes)
    if wish == "aligned":
        wish = _aligned(sizes)
    if isinstance(wish, str):
        raise UserError(f"the up-sampling is {wish!r}; expected one of {', '.join(map(repr, UPSAMPLINGS))}.")
    if sizes.needed == 1:
        return wish
    if wish.offset % sizes.needed:
        raise UserError(
            f"the model takes multiples of {sizes.needed} pixels only, but its convention's sizes are {wish.sizes}."
        )
    return Convention(wish.upsampling, math.lcm(wish.multiple, sizes.needed), wish.offset, any_crop=False)


def _half_pixel(sizes: _Sizes) -> Convention:
    """Keras' own: with SAME padding any crop can be taken as it is, unless the network needs multiples."""
    return Convention("half_pixel", sizes.exact, any_crop=sizes.needed == 1)


def _aligned(sizes: _Sizes) -> Convention:
    return Convention("aligned", max(OFFICIAL.multiple, sizes.exact), 1)


def _doubt(chosen: Convention, sizes: _Sizes) -> Convention | None:
    """The other convention, where the network takes its sizes."""
    if chosen.upsampling == "aligned":
        return _half_pixel(sizes)
    return _aligned(sizes) if sizes.needed == 1 else None
