"""What is inside the SavedModel: padding, the segmentor and the up-sampling as one graph for images of any size.

The numerics are those of `load_tf.segmentors.labelling`; only the size arithmetic is restated on tensors, since the
size of an image is known no sooner than the graph runs.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from load_tf.data.orientation import orientation_in_graph, upright_in_graph
from load_tf.segmentors import labelling
from load_tf.segmentors.convention import OFFICIAL, Convention
from load_tf.segmentors.folding import Forward, forward

IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
IMAGE_BYTES = tf.TensorSpec(None, tf.string, name="image_bytes")
_BMP_HEAD = 2048
"""Bytes at the beginning of a BMP that hold its headers and its palette."""


def padded_size(size: tf.Tensor, crop: labelling.Size, convention: Convention = OFFICIAL) -> tf.Tensor:
    """`labelling.padded_size` on tensors.

    Args:
      size: int32 [2], height and width of an image in pixels.
      crop: (height, width) in pixels.
      convention: the segmentor's.

    Returns:
      int32 [2].
    """
    crop_size = tf.constant(crop, tf.int32)
    multiple, offset = convention.multiple, convention.offset
    steps = tf.maximum((size - offset + multiple - 1) // multiple, 1)
    return tf.where(size <= crop_size, crop_size, steps * multiple + offset)


def refusals(images: tf.Tensor, max_pixels: int, largest: labelling.Size | None = None) -> list[tf.Operation]:
    """Assertions that a batch has an image, and none is too large; messages name the sizes.

    Args:
      images: [B, H, W, 3].
      max_pixels: the limit of H * W.
      largest: the limits of H and W; None: there are none.
    """
    batch, height, width = (tf.shape(images, out_type=tf.int64)[axis] for axis in range(3))
    size = tf.strings.format(
        "the image has {} x {} = {} pixels (height x width); this model was exported for at most {} (max_pixels).",
        (height, width, height * width, tf.constant(max_pixels, tf.int64)),
    )
    found = [
        tf.debugging.Assert(batch > 0, ["the batch holds no image."]),
        tf.debugging.Assert(height * width <= max_pixels, [size]),
    ]
    if largest is not None:
        larger = tf.strings.format(
            "the image has {} x {} pixels (height x width); this model's network takes at most "
            f"{largest[0]} x {largest[1]}.",
            (height, width),
        )
        found.append(tf.debugging.Assert((height <= largest[0]) & (width <= largest[1]), [larger]))
    return found


def decode_one(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes the only image of a request.

    A JPEG is turned upright by its EXIF orientation, as by `load_tf.data.decoding.decode_image`: the label map is that
    of the photo as it is looked at.

    Args:
      image_bytes: string of shape [] or [1] (any with one element), an encoded JPEG, PNG, BMP or GIF (first frame).

    Returns:
      uint8 [1, H, W, 3].

    Raises:
      tf.errors.InvalidArgumentError: when it runs, for anything else, and for a BMP with a colour palette: TensorFlow
        would take its numbers for greys without a word. `load_tf.data.decoding.decode_image` refuses it, too.
    """
    count = tf.size(image_bytes)
    message = tf.strings.format("image_bytes takes one image a call; it was given {}.", count)
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(count, 1), [message])]):
        encoded = tf.reshape(image_bytes, [-1])[0]
    coloured = tf.debugging.Assert(
        ~_is_bmp_with_colours(encoded), ["the image is a BMP with a colour palette, which can't be decoded."]
    )
    with tf.control_dependencies([coloured]):
        encoded = tf.identity(encoded)
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image = upright_in_graph(tf.ensure_shape(image, [None, None, 3]), orientation_in_graph(encoded))
    return tf.ensure_shape(image, [None, None, 3])[tf.newaxis]


def _is_bmp_with_colours(encoded: tf.Tensor) -> tf.Tensor:
    """bool [], whether a string [] is a BMP of 8 bits a pixel whose palette is not that of a grey picture."""
    # Padded, so that there is something to look at in shorter files.
    head = tf.strings.join([tf.strings.substr(encoded, 0, _BMP_HEAD), bytes(_BMP_HEAD)])
    header = tf.io.decode_raw(tf.strings.substr(head, 14, 4), tf.int32)[0]
    bits = tf.io.decode_raw(tf.strings.substr(head, 28, 2), tf.int16)[0]
    greys = bytes(value for grey in range(256) for value in (grey, grey, grey, 0))
    # Windows' and later headers are of 40 to 124 bytes; the palette stands behind.
    palette = tf.strings.substr(head, 14 + tf.clip_by_value(header, 12, 124), len(greys))
    return (tf.strings.substr(head, 0, 2) == b"BM") & (bits == 8) & (palette != greys)


class ServedSegmentor(tf.Module):
    """A segmentor with everything between a uint8 image and its label map.

    The functions are the signatures of the SavedModel; called here, they run on the live model, which is how another
    exporter (TFLite, say) gets concrete functions of its own.
    """

    def __init__(
        self,
        segmentor: keras.Model,
        *,
        crop: labelling.Size,
        class_names: Sequence[str],
        colours: Sequence[Sequence[int]],
        max_pixels: int,
        convention: Convention = OFFICIAL,
        largest: labelling.Size | None = None,
    ) -> None:
        """See `load_tf.serving.saved_model.export` for the arguments."""
        super().__init__(name="served_segmentor")
        if not segmentor.built:
            # A model that makes its variables on the first call can't make them while it is traced.
            segmentor(tf.zeros([1, *crop, 3]), training=False)
        inference = forward(segmentor, portable=True)
        # One function that all signatures call, so that the network stands in the file once.
        self._logits = _inference(inference, largest)
        # Only variables that are read belong to what is saved: a compiled model also carries an optimizer with its
        # slots, and a folded convolution what it was folded of.
        # TensorFlow's own, not Keras' around them: of those the C++ loader, and so TensorFlow Serving, restores none.
        read = {id(variable) for variable in self._logits.get_concrete_function().variables}
        self._variables = [
            variable.value for variable in inference.variables if read & {id(part) for part in _parts(variable.value)}
        ]
        self._crop = (int(crop[0]), int(crop[1]))
        self._class_names = tuple(class_names)
        self._colours = tuple(tuple(int(value) for value in colour) for colour in colours)
        self._max_pixels = int(max_pixels)
        self._convention, self._largest = convention, largest

    @tf.function(input_signature=[IMAGES])
    def label_maps(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Label maps.

        Args:
          images: uint8 [B, H, W, 3], RGB, B > 0. All of one size, any size up to `max_pixels` (H * W).

        Returns:
          `label_maps`: uint8 [B, H, W], values in [0, K).
        """
        return {"label_maps": self._label_maps(images)}

    @tf.function(input_signature=[IMAGES])
    def probabilities(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Label maps and class probabilities.

        Args:
          images: as `label_maps`.

        Returns:
          `label_maps`: uint8 [B, H, W]; `probabilities`: float32 [B, H, W, K], the soft-max of the up-sampled logits.
        """
        logits, size, padded = self._padded_logits(images)
        maps = labelling.label_maps(logits, padded, self._convention)
        soft = tf.nn.softmax(labelling.upsample(logits, padded, self._convention))
        return {
            "label_maps": maps[:, : size[0], : size[1]],
            "probabilities": soft[:, : size[0], : size[1]],
        }

    @tf.function(input_signature=[IMAGE_BYTES])
    def encoded_image(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The label map of one encoded image.

        Args:
          image_bytes: string [] or [1]; see `decode_one`. TensorFlow Serving's REST interface makes [1] of
            `{"instances": [{"b64": ...}]}` and [] of `{"inputs": {"b64": ...}}`.

        Returns:
          `label_maps`: uint8 [*S, H, W], where S is the shape of `image_bytes`: the row format wants the batch
          dimension back that it put in.
        """
        label_map = self._label_maps(decode_one(image_bytes))[0]
        return {"label_maps": tf.reshape(label_map, tf.concat([tf.shape(image_bytes), tf.shape(label_map)], 0))}

    @tf.function(input_signature=[])
    def metadata(self) -> dict[str, tf.Tensor]:
        """What travels with the model.

        Returns:
          `class_names`: string [K], UTF-8; `colours`: uint8 [K, 3], RGB; `crop`: int32 [2], height and width;
          `max_pixels`: int64 []; `largest`: int32 [2], height and width of the largest image, 0 and 0 where only
          `max_pixels` limits it; `upsampling`: string [], and `sizes`: int32 [2], `multiple` and `offset`: the
          `Convention`.
        """
        return {
            "class_names": tf.constant(self._class_names, tf.string),
            "colours": tf.constant(self._colours, tf.uint8),
            "crop": tf.constant(self._crop, tf.int32),
            "max_pixels": tf.constant(self._max_pixels, tf.int64),
            "largest": tf.constant(self._largest or (0, 0), tf.int32),
            "upsampling": tf.constant(self._convention.upsampling, tf.string),
            "sizes": tf.constant((self._convention.multiple, self._convention.offset), tf.int32),
        }

    def _padded_logits(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The logits [B, h, w, K] of the padded images, the images' size and the padded size, both int32 [2]."""
        size = tf.shape(images)[1:3]
        with tf.control_dependencies(refusals(images, self._max_pixels, self._largest)):
            images = tf.identity(images)
        padded = padded_size(size, self._crop, self._convention)
        batch = tf.map_fn(
            lambda image: labelling.pad_image(image, padded),
            images,
            fn_output_signature=tf.TensorSpec([None, None, 3], tf.float32),
        )
        if self._largest is not None:
            batch = tf.ensure_shape(batch, [None, *self._largest, 3])
        return self._logits(batch), size, padded

    def _label_maps(self, images: tf.Tensor) -> tf.Tensor:
        """As `label_maps`."""
        logits, size, padded = self._padded_logits(images)
        # Image by image: the up-sampled logits, 4 K bytes a pixel, are by far the largest tensor of the graph.
        maps = tf.map_fn(
            lambda one: labelling.label_maps(one[tf.newaxis], padded, self._convention)[0],
            logits,
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec([None, None], tf.uint8),
        )
        return maps[:, : size[0], : size[1]]


def _parts(variable: tf.Variable) -> list[tf.Variable]:
    """The variable, and those of each replica that a strategy's consists of."""
    return [variable, *getattr(variable, "values", ())]


def _inference(segmentor: Forward, size: labelling.Size | None = None) -> tf.types.experimental.PolymorphicFunction:
    """The segmentor in inference mode as one function, float32 [B, H, W, 3] -> float32 [B, h, w, K].

    Args:
      segmentor: the network.
      size: the only (H, W) it takes; None: any.
    """

    @tf.function(input_signature=[tf.TensorSpec([None, *(size or (None, None)), 3], tf.float32)])
    def logits(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(segmentor(images, training=False), tf.float32)

    return logits
