"""Bad images, masks, lists and label sets, each in a data set of its own; `python -m tests.bad_inputs` prints a table.

The test of `load_tf.check_dataset` goes through the same cases.
"""

import io
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from load_tf.data.folder import folder
from load_tf.data.preparation import read_all
from load_tf.errors import UserError
from load_tf.randomness import generator

NAMES = ("sky", "ground", "house")
SIZE = (20, 30)


class Case(NamedTuple):
    """A thing that can be wrong with a data set."""

    name: str
    make: Callable[[Path], None]
    """Spoils the sound data set in a folder."""
    expected: str | None
    """What one of the faults says; None: it is accepted, and read as it should be."""


def encoded(array: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def image(number: int = 0) -> np.ndarray:
    return generator(number, "image").integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def mask(number: int = 0) -> np.ndarray:
    return generator(number, "mask").integers(0, 3, SIZE, dtype=np.uint8)


def make_sound(root: Path) -> None:
    """A data set of six images with three classes, and lists."""
    (root / "classes.txt").write_text("\n".join(NAMES))
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for number, name in enumerate("abcdef"):
        (root / "images" / f"{name}.png").write_bytes(encoded(image(number)))
        (root / "masks" / f"{name}.png").write_bytes(encoded(mask(number)))
    (root / "train.txt").write_text("a\nb\nc\n")
    (root / "val.txt").write_text("d\ne\nf\n")


def _image(data: Callable[[], bytes], suffix: str = ".png") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / "images/a.png").unlink()
        (root / f"images/a{suffix}").write_bytes(data())

    return make


def _mask(data: Callable[[], bytes], suffix: str = ".png") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / "masks/a.png").unlink()
        (root / f"masks/a{suffix}").write_bytes(data())

    return make


def _both(picture: np.ndarray, label: np.ndarray) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / "images/a.png").write_bytes(encoded(picture))
        (root / "masks/a.png").write_bytes(encoded(label))

    return make


def _file(name: str, content: str | bytes) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def _folder_instead(root: Path) -> None:
    (root / "images/a.png").unlink()
    (root / "images/a.png").mkdir()


def _renamed(root: Path) -> None:
    for kind in ("images", "masks"):
        (root / kind / "a.png").rename(root / kind / "Straße_日本.png")
    (root / "train.txt").write_text("Straße_日本\nb\nc\n", encoding="utf-8")


def _turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    return encoded(image()[:, :, :].swapaxes(0, 1).copy(), "JPEG", exif=exif)


def _claims_to_be_huge() -> bytes:
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")


def _cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image()).convert("CMYK").save(buffer, "JPEG")
    return buffer.getvalue()


def _palette_bmp() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image()).quantize(16).save(buffer, "BMP")
    return buffer.getvalue()


def _without(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def _large(root: Path) -> None:
    _both(np.zeros((3000, 4000, 3), np.uint8), np.ones((3000, 4000), np.uint8))(root)


_grey = image()[..., 0]
_rgba = np.dstack([image(), np.full(SIZE, 128, np.uint8)])
_void = np.full(SIZE, 255, np.uint8)
_flip = bytearray(encoded(mask()))
_flip[60] ^= 1

CASES = (
    Case("image: 0 bytes", _image(lambda: b""), r"image .*a\.png is empty \(0 bytes\)"),
    Case("image: text", _image(lambda: b"I am no image"), r"a\.png is no image that can be read"),
    Case("image: PNG cut in half", _image(lambda: encoded(image())[:900]), r"a\.png is a damaged or truncated PNG"),
    Case(
        "image: JPEG cut in half",
        _image(lambda: encoded(image(), "JPEG")[:600], ".jpg"),
        "damaged or truncated JPEG|no image that can be read",
    ),
    Case("image: a folder of that name", _folder_instead, "without an image|can't be read"),
    Case("image: not there", _without("images/a.png"), "'a', which is without an image"),
    Case(
        "image: claims 60,000 x 60,000 pixels",
        _image(_claims_to_be_huge),
        "too large|at most 67108864 pixels|no image that can be read",
    ),
    Case("image and mask: 3,000 x 4,000", _large, None),
    Case("image and mask: 1 x 1", _both(image()[:1, :1], mask()[:1, :1]), None),
    Case("image: CMYK", _image(_cmyk, ".jpg"), None),
    Case("image: 16 bits grey", _image(lambda: encoded(_grey.astype(np.uint16) * 257)), None),
    Case("image: grey", _image(lambda: encoded(_grey)), None),
    Case("image: RGBA", _image(lambda: encoded(_rgba)), None),
    Case("image: turned by its EXIF orientation", _image(_turned, ".jpg"), None),
    Case("image: on its side", _image(lambda: encoded(image().swapaxes(0, 1).copy())), "one of them lies on its side"),
    Case("image: BMP with a palette", _image(_palette_bmp, ".bmp"), "is a BMP with a colour palette"),
    Case("mask: 0 bytes", _mask(lambda: b""), r"mask .*a\.png is empty"),
    Case("mask: cut in half", _mask(lambda: encoded(mask())[:60]), r"mask .*a\.png is (truncated|damaged)"),
    Case("mask: a flipped bit", _mask(lambda: bytes(_flip)), r"mask .*a\.png is damaged"),
    Case("mask: of another size", _mask(lambda: encoded(mask()[:10])), r"30 x 10 pixels .* its image has 30 x 20"),
    Case("mask: RGB without a colour table", _mask(lambda: encoded(image())), "is an RGB image and no colour table"),
    Case("mask: labels out of range", _mask(lambda: encoded(mask() + 1)), r"holds the label 3 .* expected 0 to 2"),
    Case("mask: void everywhere", _mask(lambda: encoded(_void)), "is void .* everywhere"),
    Case("mask: JPEG", _mask(lambda: encoded(mask(), "JPEG")), "is a JPEG, which may change labels"),
    Case("mask: 16 bits", _mask(lambda: encoded(mask().astype(np.uint16) + 300)), "uint16|int32 labels as 300|labels"),
    Case("mask: not there", _without("masks/a.png"), "'a', which is without a mask"),
    Case("list: empty", _file("train.txt", "\n \n"), r"train\.txt is empty"),
    Case("list: an id twice", _file("train.txt", "a\nb\na\n"), "names 'a' more than once"),
    Case("list: an id of the other split", _file("train.txt", "a\nd\n"), "both name 'd'"),
    Case("list: an unknown id", _file("train.txt", "a\nxyz\n"), "'xyz', which is without an image"),
    Case("list: not UTF-8", _file("train.txt", b"a\n\xff\xfe\n"), "is not UTF-8 text"),
    Case("names: not ASCII", _renamed, None),
    Case("label set: a class that occurs nowhere", _file("classes.txt", "sky\nground\nhouse\ncar"), None),
    Case("label set: too few classes", _file("classes.txt", "sky\nground"), r"holds the label 2"),
    Case("label set: one class", _file("classes.txt", "sky"), "has 1 classes; expected 2 to 255"),
    Case("label set: a name twice", _file("classes.txt", "sky\nsky\nhouse"), "names 'sky' more than once"),
    Case("folder: no classes.txt", _without("classes.txt"), "has no classes.txt"),
)


def outcome(case: Case, root: Path) -> tuple[str, ...]:
    """The faults a run with the spoilt data set is refused for; none if it is accepted."""
    make_sound(root)
    case.make(root)
    try:
        read_all(folder(str(root), name="scenes"), ("train", "validation"))
    except UserError as error:
        return error.faults
    return ()


def table() -> str:
    """All cases and what each got, in Markdown."""
    lines = ["| what is wrong | what it gets |", "|---|---|"]
    for case in CASES:
        with tempfile.TemporaryDirectory() as root:
            faults = outcome(case, Path(root))
            text = " ".join(faults).replace(f"{root}/", "").replace(root, "the folder").replace("|", "\\|")
        lines.append(f"| {case.name} | {text or 'accepted'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
