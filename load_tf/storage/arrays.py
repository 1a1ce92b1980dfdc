"""Named arrays in one file, with a checksum: how weights, optimizer slots and label maps are kept.

Layout: the magic bytes, the length of the header (8 bytes, little endian), the header (JSON: name, dtype and shape of
every array, in order), the arrays' bytes one after the other. The checksum over the whole file stands outside, in the
state that names the file. Nothing in it is code, so that reading a file can run none.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np

from load_tf.errors import UserError

MAGIC = b"load_tf arrays 1\n"
_KINDS = "biufc"
"""Booleans, integers, floating point and complex numbers: what no code is needed to read."""


class Entry(TypedDict):
    """What a state remembers of a file."""

    path: str
    bytes: int
    sha256: str


def write_atomically(path: Path, *parts: bytes | memoryview) -> str:
    """Writes a file so that it is either wholly there, on the disk, or not at all.

    Returns:
      The SHA-256 of what was written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                digest.update(part)
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            refuse_short(file.fileno(), sum(map(len, parts)))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return digest.hexdigest()


def refuse_short(descriptor: int, expected: int) -> None:
    """Raises OSError if a file that was just written has another length: some file systems drop bytes silently."""
    size = os.fstat(descriptor).st_size
    if size != expected:
        raise OSError(errno.EIO, f"{size} of {expected} bytes were written")


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder as lasting as the files' contents."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], root: Path) -> Entry:
    """Writes named arrays; the entry's path is relative to `root`.

    Raises:
      TypeError: if an array holds anything but numbers or booleans.
    """
    # np.ascontiguousarray would make [1] of a scalar.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in contiguous.items():
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"array {name!r} is of dtype {array.dtype}; only numbers and booleans can be read back.")
    header = json.dumps([[name, a.dtype.str, a.shape] for name, a in contiguous.items()]).encode()
    views = [a.reshape(-1).data.cast("B") for a in contiguous.values() if a.size]
    digest = write_atomically(path, MAGIC, len(header).to_bytes(8, "little"), header, *views)
    return Entry(path=str(path.relative_to(root)), bytes=path.stat().st_size, sha256=digest)


def read_arrays(entry: Entry, root: Path) -> dict[str, np.ndarray]:
    """Reads what `write_arrays` wrote.

    Raises:
      UserError: naming the file, if it is gone, cut short or not what was written.
    """
    path = root / entry["path"]
    data = check_file(entry, root)
    if not data.startswith(MAGIC):
        raise UserError(f"{path} does not begin as a file of arrays does; it was written by something else.")
    start = len(MAGIC) + 8
    length = int.from_bytes(data[len(MAGIC) : start], "little")
    offset = start + length
    arrays = {}
    try:
        for name, dtype, shape in json.loads(data[start:offset]):
            if np.dtype(dtype).kind not in _KINDS:
                raise ValueError(f"array {name!r} is of dtype {dtype}")
            if any(side < 0 for side in shape):
                raise ValueError(f"array {name!r} is of shape {shape}")
            count = int(np.prod(shape, dtype=np.int64))
            arrays[str(name)] = np.frombuffer(data, np.dtype(dtype), count, offset).reshape(shape)
            offset += arrays[str(name)].nbytes
    except (ValueError, TypeError, SyntaxError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is no file of arrays: its header is not what is written ({error}).") from None
    return arrays


def find_damage(entry: Entry, root: Path) -> str | None:
    """What is wrong with a file, in a sentence without full stop; None if it is what its entry says.

    It is read in parts, so that it may be larger than the memory.

    Raises:
      UserError: if it is there but may not be read.
    """
    path = root / entry["path"]
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while part := file.read(2**22):
                digest.update(part)
                size += len(part)
    except FileNotFoundError:
        return f"{path} is gone"
    except OSError as error:
        if error.errno == errno.EIO:
            return f"{path} can't be read ({error.strerror})"
        raise UserError(f"{path} can't be read: {error.strerror}.") from None
    if size != entry["bytes"]:
        return f"{path} has {size} bytes, but {entry['bytes']} were written"
    return None if digest.hexdigest() == entry["sha256"] else f"{path} does not have the checksum it was written with"


def check_file(entry: Entry, root: Path) -> bytes:
    """The content of a file, if it is what its entry says.

    Raises:
      UserError: naming the file, if it is gone, cut short or changed.
    """
    path = root / entry["path"]
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path} is gone, but the run's state needs it; put it back or start a new run directory."
        ) from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from None
    if len(data) != entry["bytes"]:
        raise UserError(f"{path} has {len(data)} bytes, but {entry['bytes']} were written; it is damaged.")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise UserError(f"{path} does not have the checksum it was written with; it is damaged.")
    return data
