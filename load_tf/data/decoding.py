"""From the bytes of image and mask files to arrays, and what is checked on the way.

Images go through TensorFlow's decoder at its defaults, as in the official evaluation and in the SavedModel: another
JPEG decoder gives other pixels. Masks go through Pillow, since TensorFlow turns the palette of a PNG into colours and
loses the labels.
"""

import io
import zlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from PIL import Image

from load_tf.data.colours import Colour
from load_tf.data.dataset import IGNORE_LABEL, Example
from load_tf.errors import UserError

# Pillow otherwise loads its formats at its first unknown file, without a lock: here files are read by several threads.
Image.init()

MAX_PIXELS = 2**26
"""The largest image or mask that is decoded: 67 megapixels. Beyond it a small file can claim gigabytes of memory."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MASK_FORMATS = ("PNG", "BMP", "GIF", "TIFF")
_LISTED = 8


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes a JPEG, PNG, BMP, GIF or WebP image with `tf.io.decode_image` at its defaults.

    Grey images are repeated in three channels, CMYK is converted, alpha is dropped, of 16 bits the upper 8 are kept, of
    an animation the first frame. EXIF orientation is ignored, as by the official code: label maps are drawn on the
    pixels as stored.

    Args:
      data: the file's content.
      name: the file, for messages.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      UserError: if the data are empty, truncated, of another format, larger than `MAX_PIXELS`, or a BMP with a palette
        (whose colours TensorFlow gets wrong without a word).
    """
    if not data:
        raise UserError(f"image {name} is empty (0 bytes); expected a JPEG or PNG image.")
    header = _header(data, name)
    if header is not None and header.format == "BMP" and header.mode in ("P", "1"):
        raise UserError(f"image {name} is a BMP with a colour palette, which can't be decoded; save it as a PNG.")
    try:
        with tf.device("CPU"):
            image = tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
    except tf.errors.OpError as error:
        found = f"a damaged or truncated {header.format}" if header is not None else "no image that can be read"
        reason = error.message.removesuffix(" [Op:DecodeImage]").rpartition("}} ")[2].rstrip(". ")
        raise UserError(f"image {name} is {found} ({reason}); expected a whole JPEG or PNG image.") from None
    return image


def decode_mask(data: bytes, name: str, colour_table: Mapping[Colour, int] | None = None) -> np.ndarray:
    """Decodes a label map without loss.

    A palette image gives its indices, not its colours; a grey image its values (of any bit depth, as written, not
    scaled to 255); an RGB image is looked up in `colour_table`.

    Args:
      data: the content of a PNG, BMP, GIF or TIFF file.
      name: the file, for messages.
      colour_table: RGB -> label, for masks that are painted. A palette image whose indices contradict it is refused: a
        paint program has numbered its colours anew.

    Returns:
      uint8 [H, W].

    Raises:
      UserError: if the data are empty, truncated, larger than `MAX_PIXELS`, a JPEG (whose compression changes labels),
        partly transparent, hold a value above 255 or a colour that isn't in the table.
    """
    if not data:
        raise UserError(f"mask {name} is empty (0 bytes); expected a PNG.")
    header = _header(data, name)
    if header is not None and header.format not in _MASK_FORMATS:
        raise UserError(
            f"mask {name} is a {header.format}, which may change labels by compressing them; expected a PNG."
        )
    if data.startswith(_PNG_SIGNATURE):
        _check_png(data, name)
    try:
        with Image.open(io.BytesIO(data), formats=_MASK_FORMATS) as image:
            image.load()
    except Exception as error:  # Pillow raises nearly anything on damaged data; whatever it is, the file can't be used.
        raise UserError(f"mask {name} is damaged, truncated or no image ({error}); expected a PNG.") from None
    if image.mode == "P":
        mask = np.asarray(image)
        if colour_table is not None:
            _check_palette(image, mask, name, colour_table)
        return mask
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode == "L":
        return np.asarray(image) // _grey_scale(data)
    if image.mode in ("RGB", "RGBA", "LA"):
        return _from_colours(np.asarray(image.convert("RGBA")), name, colour_table)
    if image.mode.startswith(("I", "F")):
        return _from_wide(np.asarray(image), name)
    raise UserError(f"mask {name} has the colour mode {image.mode}; expected a palette, grey or RGB image.")


def check_example(example: Example, num_classes: int, path: str) -> None:
    """Refuses an example that can't be trained on or evaluated.

    Args:
      example: image and label map.
      num_classes: K.
      path: the label map's file, or whatever names the example to the user.

    Raises:
      UserError: if the sizes differ, a label is neither in {0..K-1} nor 255, or every pixel is void.
    """
    image, label = example.image, example.label
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"the image of {path} is {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3].")
    if label.dtype != np.uint8 or label.ndim != 2:
        raise UserError(f"the label map of {path} is {label.dtype} {list(label.shape)}; expected uint8 [H, W].")
    if label.shape != image.shape[:2]:
        raise UserError(
            f"mask {path} has {label.shape[1]} x {label.shape[0]} pixels (width x height), "
            f"but its image has {image.shape[1]} x {image.shape[0]}; expected the same size"
            + (", as stored: EXIF orientations are not applied." if label.shape[::-1] == image.shape[:2] else ".")
        )
    counts = np.bincount(label.ravel(), minlength=256)
    found = np.flatnonzero(counts)
    wrong = found[(found >= num_classes) & (found != IGNORE_LABEL)]
    if wrong.size:
        values = _listing([f"{value} ({counts[value]} pixels)" for value in wrong])
        raise UserError(
            f"mask {path} holds the label{'s' if wrong.size > 1 else ''} {values}; "
            f"expected 0 to {num_classes - 1}, or {IGNORE_LABEL} for void."
        )
    if counts[IGNORE_LABEL] == label.size:
        raise UserError(f"mask {path} is void ({IGNORE_LABEL}) everywhere; expected labelled pixels.")


def _header(data: bytes, name: str) -> Image.Image | None:
    """The image's format, mode and size, undecoded; None where Pillow can't tell.

    Raises:
      UserError: if it is too large.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{name} is too large ({error}); expected at most {MAX_PIXELS} pixels.") from None
    except Exception:  # As above. The decoder itself has the last word, and the better message.
        return None
    if width * height > MAX_PIXELS:
        raise UserError(f"{name} has {width} x {height} pixels; expected at most {MAX_PIXELS} pixels.")
    return image


def _check_png(data: bytes, name: str) -> None:
    """Refuses a PNG with a wrong checksum or without end; Pillow reads the pixels of both, flipped bits included."""
    start, kind = len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        kind, checksum = data[start + 4 : start + 8], data[end : end + 4]
        if len(checksum) < 4:
            raise UserError(f"mask {name} is truncated at {len(data)} bytes; expected a whole PNG.")
        if zlib.crc32(data[start + 4 : end]) != int.from_bytes(checksum, "big"):
            raise UserError(f"mask {name} is damaged: bytes {start} to {end} don't have their checksum.")
        start = end + 4


def _grey_scale(data: bytes) -> int:
    """What Pillow multiplies the values of a grey image with: it stretches PNG's depths of 2 and 4 bits to 0..255."""
    bit_depth = data[24] if data.startswith(_PNG_SIGNATURE) else 8
    return {2: 85, 4: 17}.get(bit_depth, 1)


def _from_wide(values: np.ndarray, name: str) -> np.ndarray:
    """Labels of more than 8 bits, where they fit into 8."""
    found = np.unique(values)
    wrong = found[(found < 0) | (found > 255) | (found != np.round(found))]
    if wrong.size:
        raise UserError(f"mask {name} holds {values.dtype} labels as {_listing(wrong)}; expected 0 to 255.")
    return values.astype(np.uint8)


def _from_colours(pixels: np.ndarray, name: str, colour_table: Mapping[Colour, int] | None) -> np.ndarray:
    """Labels of RGBA [H, W, 4] pixels."""
    if not colour_table:
        raise UserError(
            f"mask {name} is an RGB image and no colour table is given; expected a palette or grey PNG of labels, "
            "or a colour table."
        )
    if (pixels[..., 3] != 255).any():
        raise UserError(f"mask {name} is partly transparent; expected opaque colours.")
    codes = pixels[..., :3].astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    known = np.array([red << 16 | green << 8 | blue for red, green, blue in colour_table], np.int32)
    order = np.argsort(known)
    places = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    unknown = known[order][places] != codes
    if unknown.any():
        found, counts = np.unique(codes[unknown], return_counts=True)
        colours = [f"({c >> 16}, {c >> 8 & 255}, {c & 255}) ({n} pixels)" for c, n in zip(found, counts, strict=True)]
        raise UserError(
            f"mask {name} holds the colour{'s' if len(colours) > 1 else ''} {_listing(colours)}; "
            "expected colours of the colour table."
        )
    return np.array(list(colour_table.values()), np.uint8)[order][places]


def _check_palette(image: Image.Image, mask: np.ndarray, name: str, colour_table: Mapping[Colour, int]) -> None:
    """Refuses a palette that numbers the colours otherwise than the table."""
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    for index in np.unique(mask):
        colour = tuple(int(v) for v in palette[index]) if index < len(palette) else None
        label = colour_table.get(colour) if colour is not None else None  # type: ignore[arg-type]
        if label is not None and label != index:
            raise UserError(
                f"mask {name} has the palette index {index} for {colour}, which is class {label} in the colour table; "
                "expected indices that are labels, or an RGB image."
            )


def _listing(items: list[str] | np.ndarray) -> str:
    """ "a, b, c and 12 more"."""
    shown = ", ".join(str(item) for item in items[:_LISTED])
    return shown if len(items) <= _LISTED else f"{shown} and {len(items) - _LISTED} more"
