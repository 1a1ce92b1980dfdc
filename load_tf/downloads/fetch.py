"""From a name, an address, an archive or a folder to a checkpoint that can be read.

The official archives come over plain HTTP and without published checksums, so the first download is taken on trust:
its SHA-256 is written beside it and every later use, and every later download, is held against that.
"""

import difflib
import gzip
import hashlib
import os
import re
import urllib.parse
import zlib
from contextlib import suppress
from pathlib import Path

from load_tf.downloads.archives import ARCHIVES, Archive, find_archive
from load_tf.downloads.download import MAX_BYTES, DownloadError, Patience, download, forget
from load_tf.downloads.locking import exclusive
from load_tf.downloads.unpack import RECORD, SUFFIXES, archive_stem, checkpoint_folders, unpack
from load_tf.errors import UserError

__all__ = ["Patience", "checkpoint_path", "fetch", "unpack"]

_CHUNK = 1 << 20
_DEFAULT_PATIENCE = Patience()


def fetch(
    name_or_url: str,
    folder: Path,
    checksum: str | None = None,
    patience: Patience = _DEFAULT_PATIENCE,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Returns the archive in `folder`, downloading it if it isn't there.

    A file under its final name is always whole: it is renamed to that after its length, its checksum and, for a
    `.tar.gz`, gzip's own checksum were found right. Until then it is `NAME.part`, from which a later call goes on.
    Several processes may call this at once; one downloads, the others wait.

    Args:
        name_or_url: a name of `archives.ARCHIVES` (or the file name there), or an http or https address.
        folder: where archives are kept; made if missing.
        checksum: "algorithm:hexadecimal digest" the file must have; overrides the published one.
        patience: timeouts and retries.
        max_bytes: anything larger is refused.

    Returns:
        The archive's path. `NAME.sha256` beside it holds its checksum, in the format of `sha256sum`.

    Raises:
        UserError: unknown name, no network (says where to place the file by hand), a server that refuses or lies about
            lengths, a wrong size or checksum, a full disk.
    """
    url, name, size, published = _source(name_or_url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder} for {name}: {error.strerror}") from error
    target = folder / name
    with exclusive(target):
        try:
            if not target.exists():
                _download_whole(url, target, size, checksum or published, patience, max_bytes)
            elif fault := _fault(target, size, checksum or published, target):
                raise UserError(f"{target} {fault}: delete it to fetch it anew")
            _record(target)
        except DownloadError as error:
            raise UserError(
                f"cannot download {url} ({error}): place the file {name} at {target}, or pass --checkpoint"
            ) from error
        except OSError as error:
            raise UserError(f"cannot keep {name} in {folder}: {error.strerror or error}") from error
    return target


def checkpoint_path(path_or_name: str | Path, checkpoints_dir: Path, patience: Patience = _DEFAULT_PATIENCE) -> Path:
    """Returns the checkpoint that a path, an address or an official name stands for.

    Args:
        path_or_name: a prefix (`model.ckpt-30000`; one of its files will do), a folder with one checkpoint or with
            TensorFlow's `checkpoint` file naming the newest, a frozen graph (`.pb`), a `.tar.gz` or `.tgz`, an http
            address of such, or a name of `archives.ARCHIVES`. Paths come first.
        checkpoints_dir: archives are kept here and unpacked to `checkpoints_dir/NAME`. What is there already is used:
            nothing is downloaded or unpacked twice.
        patience: timeouts and retries of a download.

    Returns:
        The prefix of an existing `.index` and its `.data` files, or the frozen graph.

    Raises:
        UserError: nothing of the kind exists; what was found instead, and what `fetch` and `unpack` raise.
    """
    text = str(path_or_name)
    path = Path(text).expanduser()
    if path.is_dir():
        return _prefix_in(path)
    if path.is_file() and path.name.endswith(SUFFIXES):
        return _prefix_in(unpack(path, checkpoints_dir))
    prefix = path.with_name(re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", path.name)) if path.name else path
    if Path(f"{prefix}.index").is_file():
        return _with_data(prefix)
    if path.is_file():
        if path.suffix == ".pb":
            return path
        raise UserError(f"{path} is no checkpoint: expected a prefix, a folder, a .tar.gz, a .tgz or a .pb")
    if not _is_address(text) and find_archive(text) is None:
        names = [archive.name for archive in ARCHIVES]
        close = difflib.get_close_matches(text, names, n=1, cutoff=0.6)
        known = f"did you mean {close[0]}?" if close else f"and no official name, which are {', '.join(names)}"
        raise UserError(f"{text} is no checkpoint, folder or archive that exists here; {known}")
    _, name, _, _ = _source(text)
    unpacked = checkpoints_dir / archive_stem(name)
    if unpacked.is_dir() and ((unpacked / RECORD).exists() or checkpoint_folders(unpacked)):
        return _prefix_in(unpacked)
    return _prefix_in(unpack(fetch(text, checkpoints_dir, patience=patience), checkpoints_dir))


def _is_address(text: str) -> bool:
    return re.match(r"https?://", text, re.IGNORECASE) is not None


def _source(name_or_url: str) -> tuple[str, str, int | None, str | None]:
    """Returns (address, file name, size, checksum)."""
    archive: Archive | None = find_archive(name_or_url)
    if archive is not None:
        return archive.url, archive.file_name, archive.size, archive.checksum
    if not _is_address(name_or_url):
        names = ", ".join(archive.name for archive in ARCHIVES)
        raise UserError(f"{name_or_url!r} is neither an http(s) address nor an official name, which are {names}")
    try:
        parts = urllib.parse.urlsplit(name_or_url)
    except ValueError as error:
        raise UserError(f"{name_or_url} is no valid address ({error})") from error
    name = urllib.parse.unquote(parts.path).rsplit("/", 1)[-1]
    # It becomes a file of this name: nothing hidden, nothing odd, room for our own endings.
    if not parts.hostname or not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,199}", name, re.ASCII):
        raise UserError(f"{name_or_url} does not end in a plain file name such as model.tar.gz")
    return name_or_url, name, None, None


def _download_whole(
    url: str, target: Path, size: int | None, checksum: str | None, patience: Patience, max_bytes: int
) -> None:
    part = target.with_name(target.name + ".part")
    while True:
        resumed = download(url, part, patience, size, max_bytes)
        fault = _fault(part, size, checksum, target) or _gzip_fault(part, target.name)
        if not fault:
            break
        forget(part)
        # Two halves that don't fit together, or a power cut: once more, from nothing.
        if not resumed:
            raise DownloadError(f"what the server sent {fault}")
    part.rename(target)
    forget(part)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fault(file: Path, size: int | None, checksum: str | None, target: Path) -> str | None:
    """Returns what is wrong with a file that is, or is to become, `target`; None if nothing is."""
    if not file.is_file():
        return "is not a plain file"
    found = file.stat().st_size
    if size is not None and found != size:
        return f"has {found} bytes, but the published file has {size}"
    recorded = f"recorded in {_record_file(target).name}"
    for source, expected in (("given or published", checksum), (recorded, _recorded(target))):
        if expected is None:
            continue
        algorithm, _, digest = expected.partition(":")
        if algorithm not in hashlib.algorithms_guaranteed or not digest:
            raise UserError(f"the checksum {expected!r} is not of the form algorithm:digest, such as sha256:0f3a...")
        actual = _digest(file, algorithm)
        if actual != digest.lower():
            return f"has the {algorithm} {actual}, but the one {source} is {digest}"
    return None


def _gzip_fault(file: Path, name: str) -> str | None:
    """Finds a web page that came instead of the archive, and a body without a length that was cut off."""
    if not name.endswith(SUFFIXES):
        return None
    try:
        with gzip.open(file, "rb") as stream:
            while stream.read(_CHUNK):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return f"is no whole gzip file ({error})"
    return None


def _digest(file: Path, algorithm: str) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _recorded(target: Path) -> str | None:
    """Returns the checksum that was written down at the first use."""
    with suppress(OSError, UnicodeDecodeError):
        words = _record_file(target).read_text(encoding="utf-8").split()
        if words and re.fullmatch(r"[0-9a-f]{64}", words[0]):
            return f"sha256:{words[0]}"
    return None


def _record(target: Path) -> None:
    record = _record_file(target)
    if _recorded(target) is None:
        temporary = record.with_name(record.name + ".part")
        temporary.write_text(f"{_digest(target, 'sha256')}  {target.name}\n", encoding="utf-8")
        temporary.replace(record)


def _record_file(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _prefix_in(folder: Path) -> Path:
    """Returns the prefix of the one checkpoint in or below a folder, or of the newest by TensorFlow's own record."""
    folders = checkpoint_folders(folder)
    if len(folders) != 1:
        found = f"checkpoints in {len(folders)} folders" if folders else "no checkpoint (no *.index file)"
        raise UserError(f"{folder} holds {found}, expected one: name its prefix")
    prefixes = sorted(index.with_suffix("") for index in folders[0].glob("*.index") if not index.name.startswith("."))
    if len(prefixes) > 1:
        with suppress(OSError, UnicodeDecodeError):
            text = (folders[0] / "checkpoint").read_text(encoding="utf-8")
            newest = re.search(r'^model_checkpoint_path: "(.*)"$', text, re.MULTILINE)
            # The folder may have been moved since, so only the name counts.
            prefixes = [prefix for prefix in prefixes if newest and prefix.name == Path(newest[1]).name] or prefixes
    if len(prefixes) > 1:
        names = ", ".join(prefix.name for prefix in prefixes)
        raise UserError(f"{folders[0]} holds {len(prefixes)} checkpoints ({names}): name one of them")
    return _with_data(prefixes[0])


def _with_data(prefix: Path) -> Path:
    shards = sorted(path.name for path in prefix.parent.glob(f"{_escape(prefix.name)}.data-?????-of-?????"))
    total = int(shards[0][-5:]) if shards and shards[0][-5:].isdecimal() else 1
    expected = [f"{prefix.name}.data-{shard:05d}-of-{total:05d}" for shard in range(total)]
    missing = [name for name in expected if name not in shards]
    if missing:
        raise UserError(f"{prefix}.index is there, but its data is not: {prefix.parent / missing[0]} is missing")
    return prefix


def _escape(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)
