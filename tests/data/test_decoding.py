"""Images and masks of every kind that people have, whole and damaged."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from load_tf.data.colours import voc_palette
from load_tf.data.dataset import Example
from load_tf.data.decoding import (
    MAX_PIXELS,
    check_example,
    decode_image,
    decode_labels,
    decode_mask,
    has_ignored_orientation,
)
from load_tf.errors import UserError

RANDOM = np.random.default_rng(7)
PIXELS = RANDOM.integers(0, 256, (13, 17, 3), dtype=np.uint8)
LABELS = RANDOM.integers(0, 4, (13, 17), dtype=np.uint8)


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def palette_png(labels: np.ndarray, palette: tuple[tuple[int, int, int], ...] = voc_palette(), bits: int = 8) -> bytes:
    image = Image.fromarray(labels).convert("P")
    image.putdata(labels.ravel().tolist())
    image.putpalette([value for colour in palette for value in colour])
    return encode(image, bits=bits)


@pytest.mark.parametrize("mode, form", [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("P", "PNG")])
def test_image_equals_tensorflows_decoder(mode: str, form: str) -> None:
    data = encode(Image.fromarray(PIXELS).convert(mode), form)
    image = decode_image(data, "x")
    assert image.dtype == np.uint8 and image.shape == (13, 17, 3)
    np.testing.assert_array_equal(image, tf.io.decode_image(data, channels=3, expand_animations=False))


def test_real_image_equals_the_jpeg_decoder_of_the_official_code(shared: Path) -> None:
    data = (shared / "data/VOC2012/JPEGImages/2007_000033.jpg").read_bytes()
    np.testing.assert_array_equal(decode_image(data, "x"), tf.io.decode_jpeg(data, channels=3))


def test_lossless_images_are_exact() -> None:
    image = Image.fromarray(PIXELS)
    for form in ("PNG", "BMP"):
        np.testing.assert_array_equal(decode_image(encode(image, form), "x"), PIXELS)
    opaque = Image.fromarray(np.dstack([PIXELS, LABELS * 60]))
    np.testing.assert_array_equal(decode_image(encode(opaque), "x"), PIXELS)
    grey = Image.fromarray(PIXELS[..., 0])
    np.testing.assert_array_equal(decode_image(encode(grey), "x"), np.repeat(PIXELS[..., :1], 3, axis=2))


def test_of_16_bits_the_upper_8_are_kept() -> None:
    values = RANDOM.integers(0, 2**16, (5, 6), dtype=np.uint16)
    image = decode_image(encode(Image.fromarray(values)), "x")
    np.testing.assert_array_equal(image, np.repeat((values >> 8)[..., None], 3, axis=2))


def test_what_tensorflow_does_not_read_follows_the_same_rules() -> None:
    """A TIFF as the PNG of the same picture; of an animated WebP the first frame."""
    wide = RANDOM.integers(0, 2**16, (5, 6), dtype=np.uint16)
    for picture in (
        *(Image.fromarray(PIXELS).convert(mode) for mode in ("RGB", "L", "P")),
        *(Image.fromarray(wide), Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]])), Image.fromarray(LABELS > 1)),
    ):
        expected = decode_image(encode(picture), "x")
        np.testing.assert_array_equal(decode_image(encode(picture, "TIFF"), "x"), expected)
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    animated = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(io.BytesIO(animated)) as picture:
        assert picture.n_frames == 2
    np.testing.assert_array_equal(decode_image(animated, "x"), PIXELS)
    still = encode(frames[0], "WEBP", lossless=True)
    np.testing.assert_array_equal(decode_image(still, "x"), tf.io.decode_image(still, channels=3)[0])


def test_a_photo_is_turned_upright() -> None:
    """The JPEG's pixels as stored are TensorFlow's; a TIFF is turned, too; a PNG is not, which is known of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {kind: encode(Image.fromarray(PIXELS), kind, exif=exif) for kind in ("JPEG", "TIFF", "PNG")}
    stored = tf.io.decode_image(files["JPEG"]).numpy()
    np.testing.assert_array_equal(decode_image(files["JPEG"], "x"), np.rot90(stored, -1))
    np.testing.assert_array_equal(decode_image(files["TIFF"], "x"), np.rot90(PIXELS, -1))
    np.testing.assert_array_equal(decode_image(files["PNG"], "x"), PIXELS)
    assert {kind: has_ignored_orientation(data) for kind, data in files.items()} == {
        "JPEG": False,
        "TIFF": False,
        "PNG": True,
    }


def test_one_pixel() -> None:
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(PIXELS[:1, :1])), "x"), PIXELS[:1, :1])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP"])
def test_every_truncation_of_an_image_is_refused_by_name(form: str) -> None:
    data = encode(Image.fromarray(PIXELS), form)
    decode_image(data, "whole")
    for length in range(0, len(data), 23):
        with pytest.raises(UserError, match=r"photo.jpg"):
            decode_image(data[:length], "photo.jpg")


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", r"photo is empty \(0 bytes\)"),
        (b"no image at all", "photo is no image"),
        (encode(Image.fromarray(PIXELS), "TIFF")[:-9], "photo is damaged or truncated"),
        (encode(Image.fromarray(PIXELS), "PPM"), "photo is a PPM, which is not read; save it as a PNG"),
        (encode(Image.fromarray(PIXELS), "JPEG2000"), "photo is a JPEG2000, which is not read"),
        (encode(Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF"), "photo has the colour mode F"),
        (
            encode(Image.fromarray(PIXELS), "TIFF", save_all=True, append_images=[Image.fromarray(PIXELS)]),
            "photo is a TIFF of 2 pages; expected one",
        ),
        (encode(Image.fromarray(PIXELS).convert("P"), "BMP"), "photo is a BMP with a colour palette"),
    ],
)
def test_what_is_no_image_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        decode_image(data, "photo")
    assert "{{" not in str(caught.value)


@pytest.mark.parametrize("decode", [decode_image, decode_mask])
def test_a_small_file_that_claims_to_be_huge_is_refused_undecoded(decode: object) -> None:
    data = encode(Image.new("1", (10_000, 8_000)))
    assert len(data) < 100_000 < MAX_PIXELS < 10_000 * 8_000
    with pytest.raises(UserError, match="bomb has 10000 x 8000"):
        decode(data, "bomb")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_palette_mask_gives_indices_not_colours(bits: int) -> None:
    data = palette_png(LABELS, bits=bits)
    np.testing.assert_array_equal(decode_mask(data, "x"), LABELS)
    assert not np.array_equal(decode_image(data, "x")[..., 0], LABELS)


def test_grey_masks_give_their_values_at_every_depth() -> None:
    values = np.where(LABELS == 3, 255, LABELS).astype(np.uint8)
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(values)), "x"), values)
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(values), "TIFF"), "x"), values)
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(LABELS > 1)), "x"), LABELS > 1)
    wide = values.astype(np.uint16)
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(wide)), "x"), values)


def grey_palette(greys: list[int], indices: np.ndarray, form: str = "PNG") -> bytes:
    """What a PNG optimiser makes of a grey picture."""
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette([value for grey in greys for value in (grey,) * 3])
    return encode(picture, form, **({"bits": 2} if form == "PNG" else {}))


def test_a_palette_of_greys_that_was_numbered_anew_gives_the_greys() -> None:
    order = [0, 255, 2, 1]
    meant = np.array(order, np.uint8)[LABELS]
    for form in ("PNG", "TIFF", "BMP"):
        data = grey_palette(order, LABELS, form)
        with Image.open(io.BytesIO(data)) as picture:
            assert (np.asarray(picture.convert("L")) == meant).all() and (np.asarray(picture) != meant).any()
        np.testing.assert_array_equal(decode_mask(data, "x"), meant)
    # Pillow's own GIF writer numbers greys anew, too.
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(meant), "GIF"), "x"), meant)
    # Classes that are painted in some of these colours change nothing.
    np.testing.assert_array_equal(decode_mask(grey_palette(order, LABELS), "x", {(0, 0, 0): 1, (9, 9, 9): 0}), meant)


@pytest.mark.parametrize(
    "greys",
    [[0, 1, 2, 3], [0, 85, 170, 255], list(range(256))],
    ids=["each at its own index", "evenly spread, to be seen", "all"],
)
def test_palettes_of_greys_whose_indices_are_the_labels(greys: list[int]) -> None:
    np.testing.assert_array_equal(decode_mask(palette_png(LABELS, tuple((g, g, g) for g in greys)), "x"), LABELS)


def test_a_palette_with_colours_gives_indices_though_the_mask_shows_greys_only() -> None:
    """VOC's class 7 is (128, 128, 128)."""
    labels = np.where(LABELS > 1, 7, 0).astype(np.uint8)
    np.testing.assert_array_equal(decode_mask(palette_png(labels), "x"), labels)
    assert voc_palette()[7] == (128, 128, 128)


def test_a_label_map_is_looked_up() -> None:
    values = np.array([0, 128, 255, 7], np.uint8)[LABELS]
    table = {0: 0, 128: 255, 255: 1, 7: 2}
    expected = np.array([0, 255, 1, 2], np.uint8)[LABELS]
    wide = values.astype(np.uint16)
    wide[0, 0] = 1000
    for data in (encode(Image.fromarray(values)), palette_png(values), encode(Image.fromarray(wide))):
        labels, _ = decode_labels(data, "x", label_map={**table, 1000: expected[0, 0]})
        np.testing.assert_array_equal(labels, expected)
        assert labels.dtype == np.uint8
    with pytest.raises(
        UserError, match=rf"m\.png holds 7 \({(LABELS == 3).sum()} pixels\), which the label map does not"
    ):
        decode_labels(encode(Image.fromarray(values)), "m.png", label_map={0: 0, 128: 255, 255: 1})


def test_a_label_map_of_greys_holds_in_fewer_bits() -> None:
    """Optimisers store 0 and 255 in one bit, and any greys in a palette."""
    binary = (LABELS > 1) * np.uint8(255)
    table = {0: 0, 255: 1}
    for data in (
        encode(Image.fromarray(binary)),
        encode(Image.fromarray(LABELS > 1)),
        grey_palette([255, 0], LABELS <= 1),
        grey_palette([0, 255], LABELS > 1),
    ):
        np.testing.assert_array_equal(decode_labels(data, "x", label_map=table)[0], LABELS > 1)
    np.testing.assert_array_equal(
        decode_labels(encode(Image.fromarray(LABELS > 1)), "x", label_map={0: 3, 1: 2})[0], 3 - (LABELS > 1)
    )


def test_a_palette_of_greys_that_are_the_colours_of_classes_is_not_taken_for_another() -> None:
    """Black and white are classes: white at 0 contradicts them, with a label map or without."""
    table = {(0, 0, 0): 0, (255, 255, 255): 1}
    void_elsewhere = {**dict(enumerate(range(256))), 11: 255}
    for label_map in (None, void_elsewhere):
        labels, _ = decode_labels(grey_palette([0, 255], LABELS > 1), "x", table, label_map)
        np.testing.assert_array_equal(labels, LABELS > 1)
        with pytest.raises(UserError, match=r"index 0 for \(255, 255, 255\), which is class 1"):
            decode_labels(grey_palette([255, 0], LABELS > 1), "x", table, label_map)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_png_of_few_bits_is_not_stretched(bits: int) -> None:
    # Pillow can't write such files: the image is packed here, the rest is that of a PNG.
    import struct
    import zlib

    labels = RANDOM.integers(0, 2**bits, (3, 4), dtype=np.uint8)
    rows = b""
    for row in labels:
        packed = 0
        for value in row:
            packed = packed << bits | int(value)
        rows += b"\0" + packed.to_bytes(4 * bits // 8, "big")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 3, bits, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.asarray(Image.open(io.BytesIO(data))).max() > labels.max()
    np.testing.assert_array_equal(decode_mask(data, "x"), labels)


def test_grey_tiff_of_few_bits_is_not_stretched() -> None:
    # As above: packed by hand.
    import struct

    labels = RANDOM.integers(0, 16, (3, 4), dtype=np.uint8)
    pixels = bytes(
        int(left) << 4 | int(right) for row in labels for left, right in zip(row[::2], row[1::2], strict=True)
    )
    tags = {256: 4, 257: 3, 258: 4, 259: 1, 262: 1, 273: 8, 277: 1, 278: 3, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag == 273 else 3, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<I", 14) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert np.asarray(Image.open(io.BytesIO(data))).max() > 15
    np.testing.assert_array_equal(decode_mask(data, "x"), labels)


def test_painted_mask_is_looked_up() -> None:
    table = {(0, 0, 0): 3, (255, 0, 1): 0, (255, 0, 2): 255, (9, 200, 7): 1}
    colours = np.array(list(table), np.uint8)
    expected = np.array(list(table.values()), np.uint8)[LABELS]
    data = encode(Image.fromarray(colours[LABELS]))
    np.testing.assert_array_equal(decode_mask(data, "x", table), expected)
    del table[(255, 0, 2)]
    count = int((LABELS == 2).sum())
    with pytest.raises(UserError, match=rf"m\.png holds the colour \(255, 0, 2\) \({count} pixels\)"):
        decode_mask(data, "m.png", table)
    with pytest.raises(UserError, match=r"m\.png is an RGB image and no colour table"):
        decode_mask(data, "m.png")
    with pytest.raises(UserError, match=r"m\.png is an RGB image and no colour table"):
        decode_mask(data, "m.png", {})


def test_palette_that_contradicts_the_colour_table_is_refused() -> None:
    palette = voc_palette(4)
    table = {colour: label for label, colour in enumerate(palette)}
    np.testing.assert_array_equal(decode_mask(palette_png(LABELS, palette), "x", table), LABELS)
    with pytest.raises(UserError, match=r"index 0 for \(128, 128, 0\), which is class 3"):
        decode_mask(palette_png(LABELS, palette[::-1]), "x", table)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "m.png is empty"),
        (b"what", "m.png is damaged, truncated or no image"),
        (encode(Image.fromarray(LABELS), "BMP")[:-9], "m.png is damaged, truncated or no image"),
        (encode(Image.fromarray(LABELS), "JPEG"), "m.png is a JPEG"),
        (
            encode(Image.fromarray(LABELS), "TIFF", save_all=True, append_images=[Image.fromarray(LABELS)]),
            "m.png holds 2 pictures; expected one",
        ),
        (encode(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"), "m.png holds float32 labels as nan"),
        (encode(Image.fromarray(LABELS.astype(np.uint16) * 200)), "m.png holds .* labels as 400, 600;"),
        (encode(Image.fromarray(np.dstack([PIXELS, LABELS]))), "m.png is an RGB image"),
    ],
)
def test_what_is_no_mask_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode_mask(data, "m.png")


def test_transparent_mask_is_refused() -> None:
    with pytest.raises(UserError, match="partly transparent"):
        decode_mask(encode(Image.fromarray(np.dstack([PIXELS, LABELS]))), "m.png", {(0, 0, 0): 0})


def test_every_truncation_of_a_mask_is_refused_by_name() -> None:
    data = palette_png(LABELS)
    for length in range(len(data)):
        with pytest.raises(UserError, match=r"m\.png"):
            decode_mask(data[:length], "m.png")


def test_no_flipped_bit_of_a_mask_passes() -> None:
    data = palette_png(LABELS)
    accepted_by_pillow = 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises(UserError, match=r"m\.png"):
            decode_mask(bytes(damaged), "m.png")
        if data.index(b"IDAT") < place < data.index(b"IEND"):
            with contextlib.suppress(OSError, SyntaxError, ValueError):
                accepted_by_pillow += not np.array_equal(np.asarray(Image.open(io.BytesIO(damaged))), LABELS)
    assert accepted_by_pillow > 0


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "WEBP"])
def test_flipped_bytes_of_an_image_never_give_another_error(form: str) -> None:
    data = encode(Image.fromarray(PIXELS), form)
    for place in range(0, len(data), 9):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        with contextlib.suppress(UserError):
            assert decode_image(bytes(damaged), "x").ndim == 3


def test_check_accepts_what_is_right() -> None:
    check_example(Example(PIXELS, np.where(LABELS == 0, 255, LABELS).astype(np.uint8), "a"), 4, "m.png")


@pytest.mark.parametrize(
    "label, message",
    [
        (LABELS[:, :-1], r"m\.png has 16 x 13 pixels \(width x height\), but its image has 17 x 13"),
        (np.where(LABELS == 1, 9, LABELS), rf"holds the label 9 \({(LABELS == 1).sum()} pixels\); expected 0 to 3"),
        (np.arange(221).reshape(13, 17), r"the labels 4 \(1 pixels\), 5 .*, 11 \(1 pixels\) and 209 more"),
        (np.full((13, 17), 255), r"m\.png is void \(255\) everywhere"),
    ],
)
def test_check_names_file_and_values(label: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_example(Example(PIXELS, label.astype(np.uint8), "a"), 4, "m.png")


def test_check_refuses_other_types() -> None:
    with pytest.raises(UserError, match="float32"):
        check_example(Example(PIXELS.astype(np.float32), LABELS, "a"), 4, "m.png")
    with pytest.raises(UserError, match="int64"):
        check_example(Example(PIXELS, LABELS.astype(np.int64), "a"), 4, "m.png")
