"""Files of arrays: what goes in comes out, damage is named, and a write that fails leaves the old file whole."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from load_tf.errors import UserError
from load_tf.randomness import generator
from load_tf.storage import arrays

pytestmark = pytest.mark.portable

DTYPES = ("u1", "i1", "u2", "<i4", ">i4", "i8", "f2", "f4", ">f8", "c8", "?")
SHAPES = ((), (1,), (0,), (3, 0, 2), (5,), (2, 3, 4))


def draws() -> dict[str, np.ndarray]:
    random = generator(1, "arrays")
    found = {}
    for dtype in DTYPES:
        for shape in SHAPES:
            found[f"{dtype} {shape}"] = np.asarray(random.integers(0, 120, shape)).astype(dtype)
    found["specials"] = np.array([np.nan, -np.inf, -0.0, 5e-324, 1 / 3])
    found["not contiguous"] = random.normal(size=(6, 4))[::2, ::-1]
    found["fortran"] = np.asfortranarray(random.normal(size=(3, 5)))
    found["naïve / name:0"] = np.arange(3)
    return found


@pytest.fixture(name="stored")
def _stored(tmp_path: Path) -> arrays.Entry:
    return arrays.write_arrays(tmp_path / "a.arrays", {"x": np.arange(7.0), "y": np.array(3)}, tmp_path)


def test_every_dtype_and_shape_comes_back_bit_for_bit(tmp_path: Path) -> None:
    written = draws()
    entry = arrays.write_arrays(tmp_path / "a.arrays", written, tmp_path)
    read = arrays.read_arrays(entry, tmp_path)
    assert list(read) == list(written)
    for name, array in written.items():
        assert (read[name].shape, read[name].dtype) == (array.shape, array.dtype), name
        assert read[name].tobytes() == array.tobytes(), name
    assert entry["path"] == "a.arrays"
    assert entry["bytes"] == (tmp_path / "a.arrays").stat().st_size


def test_layout_is_as_documented(tmp_path: Path) -> None:
    arrays.write_arrays(tmp_path / "a", {"x": np.array([[1, 2]], "<i2"), "y": np.array(258, "<u2")}, tmp_path)
    data = (tmp_path / "a").read_bytes()
    header = json.dumps([["x", "<i2", [1, 2]], ["y", "<u2", []]]).encode()
    assert data == b"load_tf arrays 1\n" + bytes([len(header), *[0] * 7]) + header + b"\1\0\2\0\2\1"


def test_no_arrays_is_a_file_too(tmp_path: Path) -> None:
    assert arrays.read_arrays(arrays.write_arrays(tmp_path / "a", {}, tmp_path), tmp_path) == {}


@pytest.mark.parametrize("array", [np.array([{}]), np.array(["text"]), np.array(["2020-01-01"], "M8[D]")])
def test_what_could_not_be_read_back_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="'x'"):
        arrays.write_arrays(tmp_path / "a", {"x": array}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [0, 17, 40, -1])
def test_a_flipped_bit_is_named(tmp_path: Path, stored: arrays.Entry, place: int) -> None:
    data = bytearray((tmp_path / "a.arrays").read_bytes())
    data[place] ^= 4
    (tmp_path / "a.arrays").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.arrays does not have the checksum"):
        arrays.read_arrays(stored, tmp_path)


@pytest.mark.parametrize("length", [0, 1, 16, 24, 60, -1])
def test_a_cut_file_is_named(tmp_path: Path, stored: arrays.Entry, length: int) -> None:
    data = (tmp_path / "a.arrays").read_bytes()
    (tmp_path / "a.arrays").write_bytes(data[:length])
    with pytest.raises(UserError, match=rf"a\.arrays has {len(data[:length])} bytes, but {len(data)}"):
        arrays.read_arrays(stored, tmp_path)


def test_a_longer_file_is_named(tmp_path: Path, stored: arrays.Entry) -> None:
    with open(tmp_path / "a.arrays", "ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"a\.arrays has"):
        arrays.read_arrays(stored, tmp_path)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path, stored: arrays.Entry) -> None:
    (tmp_path / "a.arrays").unlink()
    with pytest.raises(UserError, match=r"a\.arrays is gone"):
        arrays.read_arrays(stored, tmp_path)
    (tmp_path / "a.arrays").mkdir()
    with pytest.raises(UserError, match=r"a\.arrays can't be read"):
        arrays.read_arrays(stored, tmp_path)


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    digest = arrays.write_atomically(tmp_path / "b", b"PK\x03\x04 an archive")
    entry = arrays.Entry(path="b", bytes=15, sha256=digest)
    with pytest.raises(UserError, match="does not begin as a file of arrays"):
        arrays.read_arrays(entry, tmp_path)


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("old", [None, b"the old content"])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            arrays.write_atomically(path, b"the new ", b"content")
    assert [file.name for file in tmp_path.iterdir()] == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old
    arrays.write_atomically(path, b"the new ", b"content")
    assert path.read_bytes() == b"the new content"


def test_a_fault_after_the_rename_leaves_the_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"the old content")

    def broken(_: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(arrays, "sync_folder", broken)
    with pytest.raises(OSError, match="Input/output error"):
        arrays.write_atomically(path, b"the new content")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"the new content"


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda d: (calls.append("folder" if os.path.isdir(f"/proc/self/fd/{d}") else "file"), fsync(d))
    )
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("rename"), replace(*a)))
    arrays.write_atomically(tmp_path / "file", b"content")
    assert calls == ["file", "rename", "folder"]
