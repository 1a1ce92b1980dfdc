"""How a photo is held: the EXIF orientation that a camera writes beside the pixels, and turning them upright by it.

Viewers, browsers and labelling tools turn a photo by it, so masks are drawn and label maps are looked at on the upright
one. Cameras write it into JPEGs. It is read in a graph, by the same lines for training, `predict` and the SavedModel's
`encoded_image`. (A TIFF is turned by Pillow. In other formats it is not applied, anywhere.)
"""

import numpy as np
import tensorflow as tf

UPRIGHT = 1
"""The orientation of pixels that lie as they are looked at."""

_LYING = 5
"""From this orientation on height and width change places."""

_EXIF = b"Exif\0\0"
_TAG = 0x0112
_START_OF_SCAN, _END, _APP1, _FILL = 0xDA, 0xD9, 0xE1, 0xFF
"""Markers of a JPEG."""


def orientation_of(data: bytes) -> int:
    """The EXIF orientation of an image file, 1 to 8; 1 where it says nothing, is damaged, or is no JPEG."""
    # Nearly all files are told apart here, without a graph.
    if not data.startswith(b"\xff\xd8") or _EXIF not in data:
        return UPRIGHT
    with tf.device("CPU"):
        return int(_traced_orientation(tf.constant(data)))


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [H, W, ...] turned and mirrored as an orientation says: upright."""
    if orientation >= _LYING:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def upright_label(label: np.ndarray, size: tuple[int, ...], orientation: int) -> tuple[np.ndarray, bool]:
    """A photo's label map, upright.

    A label map whose size is that of the pixels as they are stored was made by a program that ignores orientations, and
    is turned with them. Any other is taken to be drawn on the upright photo; where the photo is square, or was only
    turned by 180 degrees or mirrored, nothing else can be told.

    Args:
      label: uint8 [h, w].
      size: (height, width) of the upright photo.
      orientation: the photo's.

    Returns:
      uint8, and whether it was turned.
    """
    stored = size[::-1] if orientation >= _LYING else size
    if orientation >= _LYING and label.shape == stored and stored != size:
        return turned(label, orientation), True
    return label, False


def orientation_in_graph(encoded: tf.Tensor) -> tf.Tensor:
    """As `orientation_of`, in a graph.

    Args:
      encoded: string [], an image file.

    Returns:
      int32 [], 1 to 8.
    """
    data = tf.io.decode_raw(encoded, tf.uint8)
    is_jpeg = tf.strings.substr(tf.strings.join([encoded, b"\0\0"]), 0, 2) == b"\xff\xd8"
    return tf.cond(is_jpeg, lambda: _of_jpeg(data), lambda: tf.constant(UPRIGHT))


def upright_in_graph(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """As `turned`, in a graph: image [H, W, C], orientation int32 []."""
    lying = orientation >= _LYING
    image = tf.cond(lying, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    for axis, mirrored in ((1, (2, 3, 6, 7)), (0, (3, 4, 7, 8))):
        is_mirrored = tf.reduce_any(orientation == tf.constant(mirrored))
        image = tf.cond(is_mirrored, lambda i=image, a=axis: tf.reverse(i, [a]), lambda i=image: i)
    return image


def _of_jpeg(data: tf.Tensor) -> tf.Tensor:
    """The orientation in the first EXIF segment of a JPEG, uint8 [N]: int32 []."""
    size = tf.size(data)

    def byte(place: tf.Tensor) -> tf.Tensor:
        """What stands there; 0 behind the end."""
        inside = (place >= 0) & (place < size)
        return tf.where(inside, tf.cast(tf.gather(data, tf.clip_by_value(place, 0, size - 1)), tf.int32), 0)

    def is_exif(place: tf.Tensor) -> tf.Tensor:
        here = byte(place + 4 + tf.range(len(_EXIF)))
        return (byte(place + 1) == _APP1) & tf.reduce_all(here == tf.constant(list(_EXIF)))

    def goes_on(place: tf.Tensor) -> tf.Tensor:
        marker = byte(place + 1)
        more = (byte(place) == _FILL) & (marker != _START_OF_SCAN) & (marker != _END) & (place + 4 < size)
        return more & ~is_exif(place)

    def following(place: tf.Tensor) -> tf.Tensor:
        length = byte(place + 2) * 256 + byte(place + 3)
        # A marker may have fill bytes in front of it.
        return tf.where(byte(place + 1) == _FILL, place + 1, place + 2 + tf.maximum(length, 2))

    (place,) = tf.while_loop(goes_on, lambda place: (following(place),), (tf.constant(2),))
    start = place + 4 + len(_EXIF)
    little = byte(start) == ord("I")

    def number(place: tf.Tensor, count: int) -> tf.Tensor:
        """A whole number of so many bytes."""
        parts = [byte(place + offset) for offset in range(count)]
        up = sum(part * 256**power for power, part in enumerate(parts[:3]))
        down = sum(part * 256**power for power, part in enumerate(parts[::-1][:3]))
        # A fourth byte would be an offset beyond 16 MB: no segment is as long.
        return tf.where(little, up, down)

    directory = start + number(start + 4, 4)
    entries = directory + 2 + 12 * tf.range(number(directory, 2))
    found = tf.boolean_mask(entries, (number(entries, 2) == _TAG) & (number(entries + 2, 2) == 3))
    value = tf.reduce_max(tf.concat([[0], number(found[:1] + 8, 2)], 0))
    valid = is_exif(place) & (value >= 1) & (value <= 8)
    return tf.where(valid, value, UPRIGHT)


_traced_orientation = tf.function(orientation_in_graph, input_signature=[tf.TensorSpec([], tf.string)])
