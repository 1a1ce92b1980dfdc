"""From the bytes of image and mask files to arrays, and what is checked on the way.

Images go through TensorFlow's decoder at its defaults, as in the official evaluation and in the SavedModel: another
JPEG decoder gives other pixels. Masks go through Pillow, since TensorFlow turns the palette of a PNG into colours and
loses the labels.
"""

import io
import warnings
import zlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from PIL import Image

from load_tf.data.colours import Colour
from load_tf.data.dataset import IGNORE_LABEL, Example
from load_tf.data.orientation import UPRIGHT, orientation_of, turned
from load_tf.data.palettes import GREYS, Numbers, greys_of_bits, mapped, taken_as_greys
from load_tf.data.text import some
from load_tf.errors import UserError

# Pillow otherwise loads its formats at its first unknown file, without a lock: here files are read by several threads.
Image.init()
# It warns of every tag it does not know in a photo or a TIFF, on the standard error; what can't be read is said below.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")

MAX_PIXELS = 2**26
"""The largest image or mask that is decoded: 67 megapixels. Beyond it a small file can claim gigabytes of memory."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IMAGE_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF", "WEBP", "TIFF")
_MASK_FORMATS = ("PNG", "BMP", "GIF", "TIFF")
_BITS_PER_SAMPLE, _ORIENTATION = 258, 274
"""Tags of TIFF and EXIF."""


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes a JPEG, PNG, BMP, GIF or WebP image with `tf.io.decode_image` at its defaults, a TIFF with Pillow.

    Grey images are repeated in three channels, CMYK is converted, alpha is dropped, of 16 bits the upper 8 are kept, of
    an animation the first frame. A JPEG is turned upright by its EXIF orientation (`load_tf.data.orientation`), as
    every viewer does; Pillow does the same to a TIFF. The official data sets have none.

    Args:
      data: the file's content.
      name: the file, for messages.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      UserError: if the data are empty, truncated, of another format, larger than `MAX_PIXELS`, a BMP with a palette
        (whose colours TensorFlow gets wrong without a word), or a TIFF of several pages or of floating point.
    """
    if not data:
        raise UserError(f"image {name} is empty (0 bytes); expected a JPEG or PNG image.")
    header = _header(data, name)
    if header is not None:
        if header.format == "BMP" and header.mode in ("P", "1"):
            raise UserError(f"image {name} is a BMP with a colour palette, which can't be decoded; save it as a PNG.")
        if header.format not in _IMAGE_FORMATS:
            raise UserError(f"image {name} is a {header.format}, which is not read; save it as a PNG.")
        # TensorFlow reads no TIFF, and of WebP no animation.
        if header.format == "TIFF" or (header.format == "WEBP" and getattr(header, "is_animated", False)):
            return _by_pillow(data, name)
    try:
        with tf.device("CPU"):
            image = tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
    except tf.errors.OpError as error:
        found = f"a damaged or truncated {header.format}" if header is not None else "no image that can be read"
        reason = error.message.removesuffix(" [Op:DecodeImage]").rpartition("}} ")[2].rstrip(". ")
        raise UserError(f"image {name} is {found} ({reason}); expected a whole JPEG or PNG image.") from None
    orientation = orientation_of(data)
    return image if orientation == UPRIGHT else turned(image, orientation)


def has_ignored_orientation(data: bytes) -> bool:
    """Whether an image of a format whose EXIF orientation is not applied has one that is not upright."""
    if data.startswith(b"\xff\xd8"):
        return False
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.format != "TIFF" and image.getexif().get(_ORIENTATION, UPRIGHT) in range(2, 9)
    except Exception:  # As in `_header`: whoever decodes it says what is wrong.
        return False


def decode_mask(data: bytes, name: str, colour_table: Mapping[Colour, int] | None = None) -> np.ndarray:
    """Decodes a label map without loss.

    A palette image gives its indices, not its colours; a grey image its values (of any bit depth, as written, not
    scaled to 255); an RGB image is looked up in `colour_table`. A palette of greys that do not stand at their own
    indices gives the greys: a program has made a palette of a grey image.

    Args:
      data: the content of a PNG, BMP, GIF or TIFF file.
      name: the file, for messages.
      colour_table: RGB -> label, for masks that are painted. A palette image whose indices contradict it is refused: a
        paint program has numbered its colours anew.

    Returns:
      uint8 [H, W].

    Raises:
      UserError: if the data are empty, truncated, larger than `MAX_PIXELS`, of several pages, a JPEG (whose compression
        changes labels), partly transparent, hold a value above 255 or a colour that isn't in the table.
    """
    return decode_labels(data, name, colour_table)[0]


def decode_labels(
    data: bytes,
    name: str,
    colour_table: Mapping[Colour, int] | None = None,
    label_map: Mapping[int, int] | None = None,
) -> tuple[np.ndarray, Numbers | None]:
    """As `decode_mask`, with what its numbers are shown as.

    Args:
      data: the content of the file.
      name: the file, for messages.
      colour_table: RGB -> label, for masks that are painted.
      label_map: number -> label, for grey and palette masks; None: the number is the label.

    Returns:
      uint8 [H, W]; the numbers that were taken for labels, or looked up, None for a painted mask.

    Raises:
      UserError: as `decode_mask`, and for a number that the label map lacks.
    """
    image = _opened_mask(data, name)
    if image.mode in ("RGB", "RGBA", "LA"):
        return _from_colours(np.asarray(image.convert("RGBA")), name, colour_table), None
    if image.mode == "P":
        values, colours = np.asarray(image), _palette(image)
    elif image.mode == "1":
        values, colours = np.asarray(image).astype(np.uint8), greys_of_bits(1)
    elif image.mode == "L":
        bits = _bits(image, data)
        values, colours = np.asarray(image) // (255 // (2**bits - 1)), greys_of_bits(bits)
    elif image.mode.startswith(("I", "F")):
        values, colours = _from_wide(np.asarray(image), name, label_map is not None), GREYS
    else:
        raise UserError(f"mask {name} has the colour mode {image.mode}; expected a palette, grey or RGB image.")
    numbers = Numbers.of(values, colours)
    # Where somebody has said what all its colours are, a palette that contradicts them is refused.
    known = colour_table is not None and all(numbers.shown(number) in colour_table for number in numbers.used)
    as_greys = image.mode == "P" and not known and numbers.greys_instead()
    if label_map is not None:
        labels, looked_up = mapped(values, numbers, label_map, name, as_greys)
    elif as_greys:
        labels = taken_as_greys(values, numbers)
        looked_up = Numbers.of(labels, GREYS)
    else:
        labels, looked_up = values, numbers
    if image.mode == "P" and colour_table is not None and looked_up is numbers:
        _check_palette(numbers, name, colour_table, label_map or {})
    return labels, looked_up


def check_example(example: Example, num_classes: int, path: str, advice: str = "") -> None:
    """Refuses an example that can't be trained on or evaluated.

    Args:
      example: image and label map.
      num_classes: K.
      path: the label map's file, or whatever names the example to the user.
      advice: what to do about a label that is none, the end of the sentence.

    Raises:
      UserError: if the sizes differ, a label is neither in {0..K-1} nor 255, or every pixel is void.
    """
    image, label = example.image, example.label
    check_image(image, path)
    if label.dtype != np.uint8 or label.ndim != 2:
        raise UserError(f"the label map of {path} is {label.dtype} {list(label.shape)}; expected uint8 [H, W].")
    if label.shape != image.shape[:2]:
        raise UserError(
            f"mask {path} has {label.shape[1]} x {label.shape[0]} pixels (width x height), "
            f"but its image has {image.shape[1]} x {image.shape[0]}; expected the same size"
            + (": one of them lies on its side." if label.shape[::-1] == image.shape[:2] else ".")
        )
    counts = np.bincount(label.ravel(), minlength=256)
    found = np.flatnonzero(counts)
    wrong = found[(found >= num_classes) & (found != IGNORE_LABEL)]
    if wrong.size:
        values = some([f"{value} ({counts[value]} pixels)" for value in wrong])
        raise UserError(
            f"mask {path} holds the label{'s' if wrong.size > 1 else ''} {values}; "
            f"expected 0 to {num_classes - 1}, or {IGNORE_LABEL} for void{advice}."
        )
    if counts[IGNORE_LABEL] == label.size:
        raise UserError(f"mask {path} is void ({IGNORE_LABEL}) everywhere; expected labelled pixels.")


def check_image(image: np.ndarray, path: str) -> None:
    """Refuses what is no RGB image of bytes, [H, W, 3]; `path` names it to the user."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"the image of {path} is {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3].")


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


def _by_pillow(data: bytes, name: str) -> np.ndarray:
    """uint8 [H, W, 3] of a file that TensorFlow does not read, by the same rules."""
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF", "WEBP")) as image:
            pages, form = getattr(image, "n_frames", 1), image.format
            image.load()
    except Exception as error:  # As above.
        raise UserError(f"image {name} is damaged or truncated ({error}); expected a whole image.") from None
    if form == "TIFF" and pages > 1:
        raise UserError(f"image {name} is a TIFF of {pages} pages; expected one.")
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode.startswith(("I", "F")):
        raise UserError(f"image {name} has the colour mode {image.mode}; expected 8 or 16 bits a channel.")
    return np.asarray(image.convert("RGB"))


def _opened_mask(data: bytes, name: str) -> Image.Image:
    """A mask's picture, read to its end."""
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
            pages = getattr(image, "n_frames", 1)
            image.load()
    except Exception as error:  # Pillow raises nearly anything on damaged data; whatever it is, the file can't be used.
        raise UserError(f"mask {name} is damaged, truncated or no image ({error}); expected a PNG.") from None
    if pages > 1:
        raise UserError(f"mask {name} holds {pages} pictures; expected one.")
    return image


def _palette(image: Image.Image) -> tuple[Colour, ...]:
    flat = [int(value) for value in image.getpalette("RGB") or []]
    return tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True))


def _bits(image: Image.Image, data: bytes) -> int:
    """The depth of a grey picture of up to 8 bits; Pillow stretches the values of 2 and 4 bits to 0..255."""
    if data.startswith(_PNG_SIGNATURE):
        bits = data[24]
    elif image.format == "TIFF":
        bits = int(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))[0])
    else:
        bits = 8
    return bits if bits in (1, 2, 4) else 8


def _from_wide(values: np.ndarray, name: str, any_value: bool) -> np.ndarray:
    """Whole numbers of more than 8 bits; labels must fit into 8."""
    found = np.unique(values)
    fits = (np.abs(found) < 2**31) if any_value else (found >= 0) & (found <= 255)
    wrong = found[~fits | (found != np.round(found))]
    if wrong.size:
        expected = "whole numbers" if any_value else "0 to 255"
        raise UserError(f"mask {name} holds {values.dtype} labels as {some(wrong)}; expected {expected}.")
    return values.astype(np.int64 if any_value else np.uint8)


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
            f"mask {name} holds the colour{'s' if len(colours) > 1 else ''} {some(colours)}; "
            "expected colours of the colour table."
        )
    return np.array(list(colour_table.values()), np.uint8)[order][places]


def _check_palette(
    numbers: Numbers, name: str, colour_table: Mapping[Colour, int], label_map: Mapping[int, int]
) -> None:
    """Refuses a palette that numbers the colours otherwise than the table."""
    for index in numbers.used:
        colour = numbers.shown(index)
        label = colour_table.get(colour) if colour is not None else None
        if label is not None and label != label_map.get(index, index):
            raise UserError(
                f"mask {name} has the palette index {index} for {colour}, which is class {label} in the colour table; "
                "expected indices that are labels, or an RGB image."
            )
