"""Photos turned upright: a JPEG's orientation as Pillow reads it, and the same photo wherever a segmentor is used."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from load_tf.data.dataset import Split
from load_tf.data.decoding import decode_image
from load_tf.data.folder import folder
from load_tf.data.orientation import orientation_of, turned, upright_in_graph, upright_label
from load_tf.errors import UserError
from load_tf.serving import loaded
from load_tf.serving.label_files import predict
from load_tf.serving.saved_model import export
from tests import networks

pytestmark = pytest.mark.portable

PIXELS = np.random.default_rng(3).integers(0, 256, (24, 40, 3)).astype(np.uint8)


def jpeg(orientation: int | None, pixels: np.ndarray = PIXELS, little: bool = False, **options: object) -> bytes:
    """A JPEG whose EXIF segment Pillow wrote."""
    exif = Image.Exif()
    if little:
        exif.endian = "<"
    if orientation is not None:
        exif[0x010F] = "a camera"
        exif[0x0112] = orientation
        exif[0x0132] = "2020:01:01 00:00:00"
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif, **options)  # type: ignore[arg-type]
    return file.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def by_pillow(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        return int(image.getexif().get(0x0112, 1))


@pytest.mark.parametrize("orientation", [None, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize("little", [False, True])
def test_the_orientation_is_that_which_pillow_reads(orientation: int | None, little: bool) -> None:
    data = jpeg(orientation, little=little)
    expected = by_pillow(data)
    assert expected == (orientation or (1 if orientation is None else 0)), "the file is what it is meant to be"
    assert orientation_of(data) == (expected if 1 <= expected <= 8 else 1)
    # Behind other segments, with fill bytes before it, and after one of XMP, which has the same marker.
    others = segment(0xE0, b"JFIF\0" + bytes(9)) + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0Exif\0\0") + b"\xff"
    assert orientation_of(data[:2] + others + data[2:]) == orientation_of(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(PIXELS)
    image.info["exif"] = exif.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(turned(PIXELS, orientation), expected)
    np.testing.assert_array_equal(upright_in_graph(tf.constant(PIXELS), tf.constant(orientation)), expected)
    stored = tf.io.decode_image(jpeg(orientation)).numpy()
    np.testing.assert_array_equal(decode_image(jpeg(orientation), "photo"), turned(stored, orientation))


def test_damaged_and_other_files_have_none() -> None:
    data = jpeg(6)
    assert orientation_of(data) == 6
    place = data.index(b"Exif")
    for length in range(place + 48):
        assert orientation_of(data[:length]) in (1, 6)
    random = np.random.default_rng(0)
    for _ in range(60):
        spoilt = bytearray(data)
        for at in random.integers(place - 8, place + 60, 3):
            spoilt[at] = random.integers(256)
        assert 1 <= orientation_of(bytes(spoilt)) <= 8
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    assert orientation_of(file.getvalue() + data[place:]) == 1 and orientation_of(b"") == 1


def test_a_mask_of_the_stored_size_is_turned_with_its_photo() -> None:
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
    label, was = upright_label(stored, (3, 2), 6)
    assert was and label.tolist() == [[3, 0], [4, 1], [5, 2]]
    for size, orientation in (((2, 3), 6), ((2, 3), 3), ((3, 2), 1), ((9, 9), 6)):
        label, was = upright_label(stored, size, orientation)
        assert not was and label is stored


@pytest.fixture(name="photos")
def _photos(tmp_path: Path) -> Path:
    """The same scene held in four ways, each with its mask drawn upright; and once with a mask of the stored pixels."""
    for kind in ("images", "masks"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
    scene = np.kron(np.random.default_rng(5).integers(0, 256, (3, 5, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    labels = np.kron([[0, 1, 2, 0, 1], [2, 2, 0, 1, 1], [0, 0, 1, 2, 2]], np.ones((16, 16))).astype(np.uint8)
    held = {1: 1, 3: 3, 6: 8, 8: 6}  # how an upright scene has to be turned to be stored that way
    for name, orientation in (("a", 1), ("b", 3), ("c", 6), ("d", 8), ("stored", 6), ("e", 1)):
        data = jpeg(orientation, turned(scene, held[orientation]), subsampling=0)
        (tmp_path / f"photos/images/{name}.jpg").write_bytes(data)
        mask = turned(labels, held[orientation]) if name == "stored" else labels
        Image.fromarray(mask).save(tmp_path / f"photos/masks/{name}.png")
    (tmp_path / "photos/classes.txt").write_text("x\ny\nz\n")
    (tmp_path / "photos/train.txt").write_text("a\nb\nc\nd\nstored\n")
    (tmp_path / "photos/val.txt").write_text("e\n")
    return tmp_path / "photos"


def test_training_prediction_and_the_served_signature_see_the_same_photo(photos: Path, tmp_path: Path) -> None:
    """However it was held, and whichever way its mask was drawn."""
    split: Split = folder(str(photos)).split("train")
    for example in split:  # type: ignore[attr-defined]
        assert example.image.shape == (48, 80, 3) and example.label.shape == (48, 80)
        assert np.abs(example.image.astype(int) - split[0].image).max() < 12, "but for what JPEG rounds"
        np.testing.assert_array_equal(example.label, split[0].label)
    colours = [(0, 0, 0), (9, 9, 9), (200, 0, 0)]
    model = networks.one_convolution(3)
    served = loaded.load(export(model, tmp_path / "model", crop=(65, 97), class_names=["x", "y", "z"], colours=colours))
    files = [photos / f"images/{name}.jpg" for name in split.ids]
    done = predict(served, files, tmp_path / "maps")
    signature = tf.saved_model.load(str(tmp_path / "model/1")).signatures["encoded_image"]
    for index, file in enumerate(files):
        expected = served.label_maps(split[index].image[None])[0]
        assert len(np.unique(expected)) > 1 and expected.shape == (48, 80)
        np.testing.assert_array_equal(np.asarray(Image.open(done.written[file])), expected)
        found = signature(image_bytes=tf.constant(file.read_bytes()))["label_maps"].numpy()
        np.testing.assert_array_equal(found, expected)


def test_a_mask_that_fits_neither_way_is_refused(photos: Path) -> None:
    Image.fromarray(np.zeros((40, 80), np.uint8)).save(photos / "masks/c.png")
    with pytest.raises(UserError, match=r"80 x 40 pixels .* but its image has 80 x 48; expected the same size\.$"):
        folder(str(photos)).split("train")[2]
    # Without its EXIF data the photo lies on its side.
    Image.fromarray(np.zeros((48, 80), np.uint8)).save(photos / "masks/d.png")
    (photos / "images/d.jpg").write_bytes(jpeg(None, np.zeros((80, 48, 3), np.uint8)))
    with pytest.raises(UserError, match=r"has 48 x 80; expected the same size: one of them lies on its side\.$"):
        folder(str(photos)).split("train")[3]
