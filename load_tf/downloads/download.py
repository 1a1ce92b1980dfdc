"""One file over HTTP, through stalls, cut connections and restarts; standard library only.

The bytes gather in a `.part` file. Beside it, `.part.json` says which version of which address they belong to, so that
a later attempt, also one of a later process, asks for the rest only (RFC 9110, sections 13.1.5 `If-Range` and 14
`Range`), and never glues two versions together.
"""

import http.client
import json
import logging
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tqdm import tqdm

from load_tf.errors import UserError

CHUNK = 1 << 18
MAX_BYTES = 2 << 30
# Progress forgives earlier failures (`Patience.attempts` counts the fruitless ones), but not for ever.
MAX_CONNECTIONS = 200
WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadError(Exception):
    """The file can't be had from this address; the message is the reason, for the middle of a sentence."""


class _FaultError(Exception):
    """One connection failed and another may do better; `discard` when what has been received can't be trusted."""

    def __init__(self, reason: str, discard: bool = False) -> None:
        super().__init__(reason)
        self.discard = discard


@dataclass(frozen=True)
class Patience:
    """How long to put up with a server.

    Attributes:
        timeout: seconds without a connection or a byte, after which the connection is given up.
        attempts: connections in a row that bring no new byte.
        backoff: seconds to wait after the first failure; doubles with each in a row, up to 30.
        min_speed: bytes per second; a connection slower than that over a whole `timeout` counts as stalled.
    """

    timeout: float = 30.0
    attempts: int = 5
    backoff: float = 1.0
    min_speed: float = 1024.0


@dataclass(frozen=True)
class _Version:
    """What the bytes in a `.part` file belong to. `validator` is a strong ETag or a Last-Modified date."""

    url: str
    validator: str | None
    total: int | None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirections, to HTTP and HTTPS only, and never from HTTPS back to HTTP."""

    max_redirections = 5
    max_repeats = 2

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Returns the request to follow; overrides the base class."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            fp.close()
            raise DownloadError(f"it redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # Not build_opener: that would also read file:, data: and ftp: addresses.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def download(
    url: str, part: Path, patience: Patience, expected_bytes: int | None = None, max_bytes: int = MAX_BYTES
) -> bool:
    """Fills `part` with the whole body of `url`, going on from what an earlier attempt left there.

    Args:
        url: http or https.
        part: the file that grows; on success whole and flushed to the disk.
        patience: timeouts and retries.
        expected_bytes: the size that is known from elsewhere.
        max_bytes: a body larger than that is refused.

    Returns:
        Whether some of the bytes came over an earlier connection.

    Raises:
        DownloadError: refused, missing, unreachable, or lying about its length.
        UserError: the disk is full or can't be written to.
    """
    best = _size(part)
    fruitless = connections = 0
    while True:
        resumed = _size(part) > 0
        try:
            if not _transfer(url, part, patience, expected_bytes, max_bytes):
                resumed = False
            return resumed
        except DownloadError:
            forget(part)
            raise
        except _FaultError as fault:
            if fault.discard:
                forget(part)
            connections += 1
            fruitless = 0 if _size(part) > best else fruitless + 1
            best = max(best, _size(part))
            if fruitless >= patience.attempts or connections >= MAX_CONNECTIONS:
                raise DownloadError(f"{fault}, after {connections} attempts") from fault
            pause = min(30.0, patience.backoff * 2 ** max(0, fruitless - 1))
            logging.getLogger(__name__).warning("%s: %s; trying again in %g s", url, fault, pause)
            time.sleep(pause)


def forget(part: Path) -> None:
    """Removes a partial file and what is known about it."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _transfer(url: str, part: Path, patience: Patience, expected_bytes: int | None, max_bytes: int) -> bool:
    """One connection. Returns whether it went on from earlier bytes."""
    version = _read_version(part, url)
    done = _size(part) if version else 0
    if version and done == version.total:
        return True
    request = urllib.request.Request(url, headers={"User-Agent": "load_tf"})
    if version and version.validator and done:
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", version.validator)
    else:
        done = 0
    with _open(request, patience.timeout) as response:
        if response.status == 206 and version and done:
            _check_range(response, done, version)
        elif response.status == 200:
            # All of it: the first time, or the server ignores ranges, or the file has changed since.
            done, version = 0, _announced(response, url)
        else:
            raise _FaultError(f"the server answered with the unexpected status {response.status}", discard=True)
        total = version.total
        if expected_bytes is not None and total not in (None, expected_bytes):
            raise DownloadError(f"the server announces {total} bytes, but the published file has {expected_bytes}")
        if total is not None and total > max_bytes:
            raise DownloadError(f"the server announces {total} bytes, more than the {max_bytes} allowed")
        _check_space(part, (total or 0) - done)
        if not done:
            _start(part, version)
        _receive(response, part, done, total, min(max_bytes, expected_bytes or max_bytes), patience)
    if expected_bytes is not None and _size(part) != expected_bytes:
        raise _FaultError(f"the server sent {_size(part)} of {expected_bytes} bytes", discard=True)
    return done > 0


def _open(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    try:
        return _opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        # urllib's sentence about a redirection loop has a second line, with nothing new in it.
        reason = str(error.reason).splitlines()[0].rstrip(".") if error.reason else "no reason given"
        if error.code == 416:
            raise _FaultError("the server has not the rest of the file", discard=True) from error
        if error.code in WORTH_RETRYING:
            raise _FaultError(f"HTTP status {error.code} ({reason})") from error
        raise DownloadError(f"HTTP status {error.code} ({reason})") from error
    except urllib.error.URLError as error:
        raise _FaultError(f"no connection ({error.reason})") from error
    except TimeoutError as error:
        raise _FaultError(f"no answer within {timeout:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise _FaultError(f"the connection broke ({str(error) or type(error).__name__})") from error
    except ValueError as error:  # urllib's parsing of the address, or of one it is redirected to
        raise DownloadError(f"it is no valid address ({error})") from error


def _announced(response: http.client.HTTPResponse, url: str) -> _Version:
    length = response.headers.get("Content-Length")
    total = None
    if length is not None and not response.chunked:
        if not length.isdecimal():
            raise _FaultError(f"the server announces a length of {length!r}")
        total = int(length)
    tag = response.headers.get("ETag")
    # A weak tag says that two versions are equivalent, not that their bytes are the same.
    validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
    return _Version(url, validator, total)


def _check_range(response: http.client.HTTPResponse, done: int, version: _Version) -> None:
    found = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", found)
    expected = f"bytes {done}-{version.total - 1 if version.total else '...'}/{version.total or '*'}"
    if (
        match is None
        or int(match[1]) != done
        or (version.total is not None and (int(match[2]) != version.total - 1 or match[3] != str(version.total)))
    ):
        raise _FaultError(f"asked for {expected}, the server sent {found or 'no Content-Range'}", discard=True)


def _chunks(response: http.client.HTTPResponse, patience: Patience) -> Iterator[bytes]:
    """Yields the body as it comes, until the server ends it."""
    window, arrived = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(CHUNK)
        except TimeoutError as error:
            raise _FaultError(f"the server sent nothing for {patience.timeout:g} s") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _FaultError(f"the connection broke ({str(error) or type(error).__name__})") from error
        if not chunk:
            return
        arrived += len(chunk)
        yield chunk
        passed = time.monotonic() - window
        if passed > patience.timeout:
            if arrived < patience.min_speed * passed:
                raise _FaultError(f"the server sent only {arrived} bytes in {passed:.0f} s")
            window, arrived = time.monotonic(), 0


def _receive(
    response: http.client.HTTPResponse, part: Path, done: int, total: int | None, limit: int, patience: Patience
) -> None:
    if not response.chunked:
        # http.client would stop at Content-Length and hide that more was coming. Every request of urllib says
        # "Connection: close", so the end of the body is the end of the connection.
        response.length = None
    with (
        part.open("ab") as file,
        tqdm(
            desc=part.stem,
            total=total,
            initial=done,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            file=sys.stderr,
            leave=False,
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):
        try:
            for chunk in _chunks(response, patience):
                done += len(chunk)
                if total is not None and done > total:
                    raise DownloadError(f"the server sent more than the {total} bytes it announced")
                if done > limit:
                    raise DownloadError(f"the server sent more than {limit} bytes")
                _write(file, chunk, part)
                bar.update(len(chunk))
        except _FaultError:
            # A server that doesn't close after the last byte has still sent all of them.
            if done != total:
                raise
        finally:
            _flush(file, part)
    if total is not None and done < total:
        raise _FaultError(f"the server sent {done} of {total} bytes")


def _write(file: IO[bytes], chunk: bytes, part: Path) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise UserError(f"cannot write {part}: {error.strerror}; what has arrived is kept for the next try") from error


def _flush(file: IO[bytes], part: Path) -> None:
    try:
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot write {part}: {error.strerror}; what has arrived is kept for the next try") from error


def _start(part: Path, version: _Version) -> None:
    # The old bytes go before the new version is written down: a crash between the two leaves nothing that could be
    # taken for a beginning of the new file.
    forget(part)
    try:
        _version_file(part).write_text(json.dumps(vars(version)), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {_version_file(part)}: {error.strerror}") from error


def _read_version(part: Path, url: str) -> _Version | None:
    """Returns what the bytes in `part` belong to, or None if that isn't known or isn't `url`."""
    try:
        version = _Version(**json.loads(_version_file(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    known = isinstance(version.total, int | None) and isinstance(version.validator, str | None)
    return version if known and version.url == url and part.exists() else None


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(f"{part.parent} has {free} bytes free, but {needed} more are needed for {part.stem}")
