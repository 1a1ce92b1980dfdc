"""Unpacks a `.tar.gz` from anybody: all of it or nothing, inside its folder or not at all."""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self

from load_tf.downloads.locking import BusyError, exclusive
from load_tf.errors import UserError

# Written into every unpacked folder: which archive it came from.
RECORD = ".archive.json"
SUFFIXES = (".tar.gz", ".tgz")
_UNFINISHED = ".unpacking"
_CHUNK = 1 << 20
# What may stand between the contents of two members: their headers, long names included. Also the padding at the end.
_HEADERS = 1 << 18


@dataclass(frozen=True)
class Limits:
    """What an archive may grow to.

    Attributes:
        total_bytes: of all members; the largest official archive has less than half a gigabyte.
        ratio: unpacked bytes per packed byte, once over `free_bytes`. Trained weights hardly compress at all; gzip goes
            up to 1032, on constant bytes.
        free_bytes: what any archive may unpack to, so that small files of zeros are no offence.
        members: files and folders.
    """

    total_bytes: int = 4 << 30
    ratio: float = 50.0
    free_bytes: int = 16 << 20
    members: int = 1000


class _StrictMember(tarfile.TarInfo):
    """tarfile takes a damaged header in the middle of an archive for its end; we take it for damage."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except _HeaderError as error:
            if isinstance(error, _END):
                raise
            raise _ReadError(str(error)) from error


# Under names of their own, since the parameter above has to be called `tarfile`.
_HeaderError, _ReadError = tarfile.HeaderError, tarfile.ReadError
_END = (tarfile.EOFHeaderError, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]


class _BoundedReader:
    """The unpacked stream; reads past `limit` are refused, however much a header claims."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.stream = stream
        self.position = 0
        self.limit = _HEADERS

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes."""
        data = self.stream.read(size)
        self.position += len(data)
        if self.position > self.limit:
            raise tarfile.ReadError(f"has more than {_HEADERS} bytes of headers or padding in a row")
        return data


def unpack(archive: Path, folder: Path, limits: Limits = Limits()) -> Path:
    """Unpacks `folder/NAME.tar.gz` or any other to `folder/NAME`, which appears whole or not at all.

    Already unpacked from the same bytes (by checksum): nothing is written. Two processes may do this at once. What a
    killed one left behind is removed. Modes, owners and times of the archive are ignored.

    Args:
        archive: a gzip-compressed tar file, `.tar.gz` or `.tgz`.
        folder: where the unpacked folder is to appear; made if missing.
        limits: what the archive may grow to.

    Returns:
        The folder in which the checkpoint (`*.index`) lies.

    Raises:
        UserError: naming archive and member. Unreadable or damaged; a member with an absolute path or one that leaves
            the folder, a link, a device, a sparse file, a name twice; more than `limits` allow; no checkpoint inside or
            several folders with one; `folder/NAME` exists and came from elsewhere; the disk is full.
    """
    stem = archive_stem(archive.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with archive.open("rb") as file, exclusive(folder / stem):
            _sweep(folder)
            return _unpack_locked(archive, file, folder / stem, limits)
    except OSError as error:
        where = error.filename or folder
        raise UserError(f"cannot unpack {archive}: {where}: {error.strerror or error}") from error


def archive_stem(name: str) -> str:
    """Returns a file name without `.tar.gz` or `.tgz`.

    Raises:
        UserError: it ends with neither, or nothing is left.
    """
    stem = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), "")
    if not stem.strip("."):
        raise UserError(f"{name} is no archive of a checkpoint: expected NAME.tar.gz or NAME.tgz")
    return stem


def checkpoint_folders(folder: Path) -> list[Path]:
    """Returns every folder in and below `folder` that holds a `*.index` file; hidden files don't count."""
    return sorted({index.parent for index in folder.rglob("*.index") if not index.name.startswith(".")})


def _unpack_locked(archive: Path, file: IO[bytes], target: Path, limits: Limits) -> Path:
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if not target.exists():
        unfinished = target.with_name(f".{target.name}{_UNFINISHED}")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir()
        try:
            packed = file.seek(0, os.SEEK_END)
            file.seek(0)
            _extract(archive, file, packed, unfinished, limits)
            _only_checkpoint_folder(archive, unfinished)
            (unfinished / RECORD).write_text(json.dumps({"archive": archive.name, "sha256": digest}), encoding="utf-8")
            _sync(unfinished)
            unfinished.rename(target)
            _sync_one(target.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    elif _recorded_digest(target) != digest:
        raise UserError(f"{target} exists and was not unpacked from this {archive}: remove or rename it first")
    return _only_checkpoint_folder(archive, target)


def _extract(archive: Path, file: IO[bytes], packed: int, target: Path, limits: Limits) -> None:
    allowed = min(limits.total_bytes, max(limits.free_bytes, int(limits.ratio * packed)))
    with _readable(archive), gzip.GzipFile(fileobj=file, mode="rb") as stream:
        reader = _BoundedReader(stream)
        with tarfile.open(fileobj=reader, mode="r|", tarinfo=_StrictMember) as tar:  # type: ignore[call-overload]
            unpacked, seen = 0, {PurePosixPath(RECORD): "the file of this name that every unpacked folder gets"}
            for count, member in enumerate(_members(tar, reader), start=1):
                unpacked += max(member.size, 0)
                _check(archive, member, unpacked, allowed)
                if count > limits.members:
                    raise UserError(f"{archive}: member {member.name!r} is one more than the {limits.members} allowed")
                _place(archive, tar, member, reader, target, seen)
        # To the very end, because the checksum of gzip comes last.
        reader.limit = reader.position + _HEADERS
        while reader.read(_CHUNK):
            pass


def _members(tar: tarfile.TarFile, reader: _BoundedReader) -> Iterator[tarfile.TarInfo]:
    while True:
        reader.limit = reader.position + _HEADERS
        member = tar.next()
        if member is None:
            return
        # tarfile would keep all of them, for a random access that a stream doesn't have.
        tar.members = []  # type: ignore[attr-defined]
        yield member


def _check(archive: Path, member: tarfile.TarInfo, unpacked: int, allowed: int) -> None:
    path = PurePosixPath(member.name)
    fault = None
    if path.is_absolute():
        fault = "has an absolute path"
    elif ".." in path.parts:
        fault = "leaves the folder it is unpacked to"
    elif member.issym() or member.islnk():
        fault = f"is a link (to {member.linkname!r})"
    elif not (member.isreg() or member.isdir()) or member.issparse():
        fault = "is neither a plain file nor a folder"
    elif not path.parts and not member.isdir():
        fault = "has no name"
    elif not member.name.isprintable() or "\\" in member.name or any(len(os.fsencode(p)) > 255 for p in path.parts):
        fault = "has a name that no file should have"
    elif member.size < 0:
        fault = f"claims a size of {member.size} bytes"
    elif unpacked > allowed:
        fault = f"brings the unpacked size to {unpacked} bytes, more than the {allowed} allowed for an archive this big"
    if fault:
        raise UserError(f"{archive}: member {member.name!r} {fault}; nothing was unpacked")


def _place(
    archive: Path,
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    reader: _BoundedReader,
    target: Path,
    seen: dict[PurePosixPath, str],
) -> None:
    """Writes one member that has been found harmless. `seen`: what stands at each path by now."""
    path = PurePosixPath(member.name)
    for folder in (*reversed(path.parents[:-1]), *([path] if member.isdir() and path.parts else [])):
        if seen.setdefault(folder, "folder") != "folder":
            raise UserError(f"{archive}: member {member.name!r} needs the folder {folder}, which is a file there")
        (target / folder).mkdir(exist_ok=True)
    if member.isdir():
        return
    if path in seen:
        raise UserError(f"{archive}: member {member.name!r} comes twice; nothing was unpacked")
    seen[path] = "file"
    reader.limit = reader.position + member.size + _HEADERS
    # Of what the filter refuses, `_check` has refused more, by name; it stands guard should that have a gap.
    tar.extract(member, target, set_attrs=False, filter="data")


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    advice = "delete it and fetch it anew"
    try:
        yield
    except EOFError as error:
        raise UserError(f"{archive} is cut off: {advice}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{archive} is damaged or no gzip file ({error}): {advice}") from error
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        # tarfile's parsing of hostile headers knows all of these.
        raise UserError(f"{archive} is damaged or no tar archive inside ({error}): {advice}") from error


def _only_checkpoint_folder(archive: Path, folder: Path) -> Path:
    found = checkpoint_folders(folder)
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        what = f"checkpoints in {len(found)} folders ({names})" if found else "no checkpoint (no *.index file)"
        raise UserError(f"{archive} holds {what}, expected one")
    return found[0]


def _recorded_digest(folder: Path) -> str | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / RECORD).read_text(encoding="utf-8"))["sha256"])
    return None


def _sweep(folder: Path) -> None:
    """Removes what killed processes left half unpacked, apart from the archive whose lock we hold ourselves."""
    for leftover in folder.glob(f".*{_UNFINISHED}"):
        target = folder / leftover.name[1:].removesuffix(_UNFINISHED)
        with suppress(BusyError), exclusive(target, patience=0):
            shutil.rmtree(leftover)


def _sync(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
