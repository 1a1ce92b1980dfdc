"""Downloads from a server on this machine that misbehaves in every way we could think of."""

import contextlib
import gzip
import hashlib
import io
import json
import logging
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from load_tf.downloads import download as downloading
from load_tf.downloads import fetch as fetching
from load_tf.downloads.archives import Archive
from load_tf.downloads.fetch import Patience, checkpoint_path, fetch
from load_tf.downloads.locking import BusyError, exclusive
from load_tf.errors import UserError

BODY = random.Random(5).randbytes(300_000)
OTHER = random.Random(6).randbytes(300_000)
QUICK = Patience(timeout=5.0, attempts=3, backoff=0.01)
STALLED = Patience(timeout=0.5, attempts=3, backoff=0.01)


class Server(ThreadingHTTPServer):
    """Answers the n-th request by the n-th of `answers`, and all further ones by the last."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Callable[[Handler], None]] = []
        self.requests: list[tuple[str, str | None]] = []
        self.statuses: list[int] = []
        self.stop = threading.Event()

    def url(self, path: str = "/model.bin") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.requests]

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        number = len(self.server.requests)
        self.server.requests.append((self.path, self.headers.get("Range")))
        self.server.answers[min(number, len(self.server.answers) - 1)](self)

    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int, **headers: object) -> None:
        self.server.statuses.append(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.flush()


def whole(body: bytes = BODY, tag: str = '"v1"', **headers: object) -> Callable[[Handler], None]:
    """A good server, with ranges and their conditions."""

    def answer(request: Handler) -> None:
        asked, condition = request.headers.get("Range"), request.headers.get("If-Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and condition == tag else 0
        if start:
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            request.head(206, Content_Length=len(body) - start, Content_Range=span, ETag=tag)
        else:
            request.head(200, Content_Length=len(body), ETag=tag, **headers)
        request.wfile.write(body[start:])

    return answer


def cut(after: int, body: bytes = BODY, stall: bool = False, **headers: object) -> Callable[[Handler], None]:
    """Promises the whole body and sends a part of it; then hangs up, or says nothing more."""

    def answer(request: Handler) -> None:
        request.head(200, **{"Content_Length": len(body), "ETag": '"v1"', **headers})
        request.wfile.write(body[:after])
        request.wfile.flush()
        if stall:
            request.server.stop.wait(10)

    return answer


def status(code: int, **headers: object) -> Callable[[Handler], None]:
    return lambda request: request.head(code, Content_Length=0, **headers)


def partial(span: str, content: bytes) -> Callable[[Handler], None]:
    def answer(request: Handler) -> None:
        request.head(206, Content_Length=len(content), Content_Range=span, ETag='"v1"')
        request.wfile.write(content)

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.stop.set()
        running.shutdown()
        thread.join(5)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def get(server: Server, folder: Path, *answers: Callable[[Handler], None], **options: object) -> bytes:
    """Fetches `/model.bin` and checks that nothing but the file and its checksum is there."""
    server.answers = list(answers)
    path = fetch(server.url(), folder, **{"patience": QUICK, **options})  # type: ignore[arg-type]
    assert path == folder / "model.bin"
    assert files(folder) == {"model.bin", "model.bin.sha256"}
    return path.read_bytes()


def refused(server: Server, folder: Path, *answers: Callable[[Handler], None], **options: object) -> str:
    """Fetches `/model.bin` in vain and checks that nothing lies under its name; returns the reason that was given."""
    server.answers = list(answers)
    with pytest.raises(UserError) as caught:
        fetch(server.url(), folder, **{"patience": QUICK, **options})  # type: ignore[arg-type]
    assert not (folder / "model.bin").exists()
    head, tail = f"cannot download {server.url()} (", f"): place the file model.bin at {folder / 'model.bin'}, or pass"
    message = str(caught.value)
    assert message.startswith(head)
    assert tail in message
    return message.removeprefix(head).partition(tail)[0]


# --- what works ------------------------------------------------------------------------------------------------------


def test_downloads_once_and_records_the_checksum(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path / "new/folder", whole()) == BODY
    record = (tmp_path / "new/folder/model.bin.sha256").read_text()
    assert record == f"{hashlib.sha256(BODY).hexdigest()}  model.bin\n"
    assert get(server, tmp_path / "new/folder", status(500)) == BODY
    assert server.ranges == [None]


def test_resumes_what_was_cut_off(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path, cut(100_000), whole()) == BODY
    assert server.ranges == [None, "bytes=100000-"]
    assert server.statuses == [200, 206]


def test_resumes_what_stalled(server: Server, tmp_path: Path) -> None:
    start = time.monotonic()
    assert get(server, tmp_path, cut(100_000, stall=True), whole(), patience=STALLED) == BODY
    assert server.ranges == [None, "bytes=100000-"]
    assert 0.5 <= time.monotonic() - start < 5


def test_resumes_by_date_where_there_is_no_strong_tag(server: Server, tmp_path: Path) -> None:
    date = "Mon, 29 Jan 2018 10:00:00 GMT"
    assert get(server, tmp_path, cut(9, ETag='W/"1"', Last_Modified=date), whole(tag=date)) == BODY
    assert server.ranges == [None, "bytes=9-"]
    assert server.statuses == [200, 206]


def test_starts_over_when_the_server_ignores_ranges(server: Server, tmp_path: Path) -> None:
    def deaf(request: Handler) -> None:
        request.head(200, Content_Length=len(BODY), ETag='"v1"')
        request.wfile.write(BODY)

    assert get(server, tmp_path, cut(100_000), deaf) == BODY
    assert server.ranges == [None, "bytes=100000-"]


def test_starts_over_when_nothing_identifies_the_version(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path, cut(100_000, ETag='W/"weak"'), whole()) == BODY
    assert server.ranges == [None, None]


def test_starts_over_when_the_file_has_changed(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path, cut(100_000), whole(OTHER, tag='"v2"')) == OTHER
    assert server.ranges == [None, "bytes=100000-"]
    assert server.statuses == [200, 200]


@pytest.mark.parametrize(
    "span",
    ["bytes 99999-299999/300000", "bytes 100000-299998/300000", "bytes 100000-299999/300001", "bytes */300000", ""],
)
def test_starts_over_when_another_range_comes(server: Server, tmp_path: Path, span: str) -> None:
    assert get(server, tmp_path, cut(100_000), partial(span, OTHER[100_000:]), whole()) == BODY
    assert server.ranges == [None, "bytes=100000-", None]


def test_starts_over_when_the_rest_is_not_to_be_had(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path, cut(100_000), status(416), whole()) == BODY
    assert server.ranges == [None, "bytes=100000-", None]


def test_goes_on_in_the_next_process(server: Server, tmp_path: Path) -> None:
    assert refused(server, tmp_path, cut(100_000), cut(0)) == "the server sent 0 of 300000 bytes, after 4 attempts"
    # `cut(0)` ignored the range, so the file began anew; now one that keeps it:
    server.requests.clear()
    broken = partial("bytes 100000-299999/300000", b"")
    message = refused(server, tmp_path, cut(100_000), broken)
    assert message == "the server sent 100000 of 300000 bytes, after 4 attempts"
    assert files(tmp_path) == {"model.bin.part", "model.bin.part.json"}
    assert (tmp_path / "model.bin.part").read_bytes() == BODY[:100_000]
    server.requests.clear()
    assert get(server, tmp_path, whole()) == BODY
    assert server.ranges == ["bytes=100000-"]


@pytest.mark.parametrize("damage", ["no version", "torn version", "another address", "wrong types"])
def test_does_not_trust_a_partial_file_of_unknown_origin(server: Server, tmp_path: Path, damage: str) -> None:
    version = {"url": server.url(), "validator": '"v1"', "total": len(BODY)}
    (tmp_path / "model.bin.part").write_bytes(OTHER[:50])
    if damage == "another address":
        version["url"] = "http://127.0.0.1/model.bin"
    if damage == "wrong types":
        version["total"] = "many"
    text = json.dumps(version)
    if damage != "no version":
        (tmp_path / "model.bin.part.json").write_text(text[:20] if damage == "torn version" else text)
    assert get(server, tmp_path, whole()) == BODY
    assert server.ranges == [None]


def test_a_crash_between_the_last_byte_and_the_rename_costs_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.bin.part").write_bytes(BODY)
    version = {"url": server.url(), "validator": '"v1"', "total": len(BODY)}
    (tmp_path / "model.bin.part.json").write_text(json.dumps(version))
    assert get(server, tmp_path, status(500)) == BODY
    assert server.requests == []


def test_comes_through_errors_of_the_server(server: Server, tmp_path: Path) -> None:
    def rude(request: Handler) -> None:
        request.wfile.write(b"no HTTP at all\r\n\r\n")

    def gone(request: Handler) -> None:
        pass

    assert get(server, tmp_path, status(500), rude, whole()) == BODY
    assert len(server.requests) == 3
    (tmp_path / "model.bin").unlink()
    assert get(server, tmp_path, status(503), gone, whole()) == BODY


def test_follows_redirections(server: Server, tmp_path: Path) -> None:
    hops = [status(code, Location=f"/hop{code}") for code in (301, 302, 303, 307, 308)]
    assert get(server, tmp_path, *hops, whole()) == BODY
    assert [path for path, _ in server.requests] == ["/model.bin", *(f"/hop{n}" for n in (301, 302, 303, 307, 308))]


def test_a_server_that_never_closes_has_still_sent_everything(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert get(server, tmp_path, cut(len(BODY), stall=True), patience=STALLED) == BODY
    assert len(server.requests) == 1
    assert caplog.messages == []


def test_chunked_and_unannounced_lengths(server: Server, tmp_path: Path) -> None:
    def chunked(request: Handler) -> None:
        request.protocol_version = "HTTP/1.1"
        request.head(200, Transfer_Encoding="chunked")
        for start in range(0, len(BODY), 100_000):
            request.wfile.write(b"%x\r\n%s\r\n" % (100_000, BODY[start : start + 100_000]))
        request.wfile.write(b"0\r\n\r\n")
        request.close_connection = True

    def unannounced(request: Handler) -> None:
        request.head(200)
        request.wfile.write(BODY)

    assert get(server, tmp_path / "a", chunked) == BODY
    assert get(server, tmp_path / "b", unannounced) == BODY


# --- what is refused -------------------------------------------------------------------------------------------------


def test_refuses_what_is_not_there(server: Server, tmp_path: Path) -> None:
    assert refused(server, tmp_path, status(404)) == "HTTP status 404 (Not Found)"
    assert refused(server, tmp_path, status(403)) == "HTTP status 403 (Forbidden)"
    assert len(server.requests) == 2
    assert files(tmp_path) == set()


def test_gives_up_on_lasting_errors(server: Server, tmp_path: Path) -> None:
    message = refused(server, tmp_path, status(500))
    assert message == "HTTP status 500 (Internal Server Error), after 3 attempts"
    assert len(server.requests) == 3


def test_gives_up_on_a_server_that_only_stalls(server: Server, tmp_path: Path) -> None:
    patience = Patience(timeout=0.1, attempts=2, backoff=0.01)
    assert "0.1 s, after 2 attempts" in refused(server, tmp_path, lambda _: server.stop.wait(5), patience=patience)
    assert files(tmp_path) == set()


def test_gives_up_on_a_server_that_drips(server: Server, tmp_path: Path) -> None:
    def drip(request: Handler) -> None:
        request.head(200, Content_Length=len(BODY))
        with contextlib.suppress(OSError):
            while not request.server.stop.wait(0.02):
                request.wfile.write(b"x")

    start = time.monotonic()
    reason = refused(server, tmp_path, drip, patience=Patience(timeout=0.5, attempts=1, backoff=0.01))
    assert reason.startswith("the server sent only ")
    assert time.monotonic() - start < 5


def test_refuses_a_body_longer_than_announced(server: Server, tmp_path: Path) -> None:
    def longer(request: Handler) -> None:
        request.head(200, Content_Length=len(BODY) - 1, ETag='"v1"')
        request.wfile.write(BODY)

    assert refused(server, tmp_path, longer) == "the server sent more than the 299999 bytes it announced"
    assert files(tmp_path) == set()


def test_refuses_a_body_shorter_than_announced(server: Server, tmp_path: Path) -> None:
    longer = whole(BODY)
    reason = refused(server, tmp_path, cut(200_000), cut(200_000))
    assert reason == "the server sent 200000 of 300000 bytes, after 4 attempts"
    assert server.ranges == [None] + 3 * ["bytes=200000-"]
    assert get(server, tmp_path, longer) == BODY


def test_refuses_too_much(server: Server, tmp_path: Path) -> None:
    def endless(request: Handler) -> None:
        request.head(200)
        with contextlib.suppress(OSError):
            while not request.server.stop.is_set():
                request.wfile.write(OTHER)

    reason = refused(server, tmp_path, whole(), max_bytes=299_999)
    assert reason == "the server announces 300000 bytes, more than the 299999 allowed"
    assert refused(server, tmp_path, endless, max_bytes=999_999) == "the server sent more than 999999 bytes"
    assert files(tmp_path) == set()
    assert get(server, tmp_path, whole(), max_bytes=300_000) == BODY


@pytest.mark.parametrize("length", ["-5", "many", "3e5"])
def test_refuses_lengths_that_are_none(server: Server, tmp_path: Path, length: str) -> None:
    reason = refused(server, tmp_path, lambda request: request.head(200, Content_Length=length))
    assert reason == f"the server announces a length of {length!r}, after 3 attempts"


def test_refuses_redirection_loops_and_strange_targets(server: Server, tmp_path: Path) -> None:
    assert "infinite loop" in refused(server, tmp_path, status(302, Location="/model.bin"))
    assert len(server.requests) <= 4
    hops = [status(302, Location=f"/{hop}") for hop in range(20)]
    server.requests.clear()
    assert "infinite loop" in refused(server, tmp_path, *hops)
    assert len(server.requests) == 6
    assert "ftp://127.0.0.1/x, which is not" in refused(server, tmp_path, status(302, Location="ftp://127.0.0.1/x"))
    assert "is not allowed" in refused(server, tmp_path, status(302, Location="file:///etc/passwd"))
    assert files(tmp_path) == set()


def test_says_where_to_place_the_file_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as closed:
        url = closed.url("/net.tar.gz")
    with pytest.raises(UserError) as caught:
        fetch(url, tmp_path, patience=QUICK)
    assert str(caught.value) == (
        f"cannot download {url} (no connection ([Errno 111] Connection refused), after 3 attempts): "
        f"place the file net.tar.gz at {tmp_path / 'net.tar.gz'}, or pass --checkpoint"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1/..",
        "http://127.0.0.1/.x",
        "http://h/a%2F..%2F.ssh",
        "http:///x",
        "http://[/x",
    ],
)
def test_refuses_addresses_without_a_plain_file_name(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=r"plain file name|no valid address"):
        fetch(url, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["file:///etc/passwd", "ftp://127.0.0.1/x", "xception"])
def test_refuses_other_schemes_and_unknown_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UserError, match=r"neither an http\(s\) address nor an official name.*xception65_coco_voc_trainaug"
    ):
        fetch(name, tmp_path)


# --- checksums -------------------------------------------------------------------------------------------------------


def test_checksums(server: Server, tmp_path: Path) -> None:
    right, wrong = (hashlib.sha384(body).hexdigest() for body in (BODY, OTHER))
    assert get(server, tmp_path / "a", whole(), checksum=f"sha384:{right.upper()}") == BODY
    reason = refused(server, tmp_path / "b", whole(), checksum=f"sha384:{wrong}")
    assert reason == f"what the server sent has the sha384 {right}, but the one given or published is {wrong}"
    assert files(tmp_path / "b") == set()
    with pytest.raises(UserError, match="not of the form algorithm:digest"):
        fetch(server.url(), tmp_path / "a", checksum=right)


def test_a_file_that_changed_on_the_disk_is_noticed_and_kept(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path, whole())
    damaged = bytearray(BODY)
    damaged[12_345] ^= 4
    (tmp_path / "model.bin").write_bytes(damaged)
    with pytest.raises(
        UserError, match=r"model\.bin has the sha256 .* recorded in model\.bin\.sha256 is .*: delete it"
    ):
        fetch(server.url(), tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == damaged


def test_a_later_download_must_be_the_same(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path, whole())
    (tmp_path / "model.bin").unlink()
    right, wrong = (hashlib.sha256(body).hexdigest() for body in (BODY, OTHER))
    reason = refused(server, tmp_path, whole(OTHER))
    assert reason == f"what the server sent has the sha256 {wrong}, but the one recorded in model.bin.sha256 is {right}"
    assert files(tmp_path) == {"model.bin.sha256"}


def test_two_halves_that_do_not_fit_are_fetched_again(server: Server, tmp_path: Path) -> None:
    lying = partial("bytes 100000-299999/300000", OTHER[100_000:])
    checksum = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    assert get(server, tmp_path, cut(100_000), lying, whole(), checksum=checksum) == BODY
    assert server.ranges == [None, "bytes=100000-", None]


# --- archives --------------------------------------------------------------------------------------------------------


def packed(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


ZOO = packed("net/model.ckpt.index", "net/model.ckpt.data-00000-of-00001")


@pytest.fixture
def official(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An entry of the table whose archive the server on this machine has."""
    archive = Archive("toy", "toy_2018.tar.gz", "1MB", "xception_65", ("VOC",))
    monkeypatch.setattr(Archive, "url", property(lambda self: server.url(f"/{self.file_name}")))
    for module in (fetching, sys.modules[fetching.find_archive.__module__]):
        monkeypatch.setattr(module, "ARCHIVES", (*fetching.ARCHIVES, archive))
    server.answers = [whole(ZOO)]
    return "toy"


def test_a_name_becomes_a_checkpoint_once(server: Server, official: str, tmp_path: Path) -> None:
    expected = tmp_path / "toy_2018/net/model.ckpt"
    assert checkpoint_path(official, tmp_path, QUICK) == expected
    assert expected.with_name("model.ckpt.index").read_bytes() == b"net/model.ckpt.index"
    assert files(tmp_path) == {"toy_2018", "toy_2018.tar.gz", "toy_2018.tar.gz.sha256"}
    (tmp_path / "toy_2018.tar.gz").unlink()
    for name in (official, "toy_2018", "toy_2018.tar.gz", server.url("/toy_2018.tar.gz")):
        assert checkpoint_path(name, tmp_path, QUICK) == expected
    assert len(server.requests) == 1


def test_a_file_placed_by_hand_is_used(server: Server, official: str, tmp_path: Path) -> None:
    (tmp_path / "toy_2018.tar.gz").write_bytes(ZOO)
    assert checkpoint_path(official, tmp_path, QUICK) == tmp_path / "toy_2018/net/model.ckpt"
    assert server.requests == []
    assert (tmp_path / "toy_2018.tar.gz.sha256").exists()


def test_a_web_page_instead_of_an_archive(server: Server, official: str, tmp_path: Path) -> None:
    server.answers = [whole(b"<html>Please pay for your room</html>")]
    with pytest.raises(
        UserError, match=r"what the server sent is no whole gzip file .*: place the file toy_2018\.tar\.gz"
    ):
        checkpoint_path(official, tmp_path, QUICK)
    assert files(tmp_path) == set()


def test_an_archive_cut_off_without_a_length(server: Server, tmp_path: Path) -> None:
    def unannounced(request: Handler) -> None:
        request.head(200)
        request.wfile.write(ZOO[:-20])

    server.answers = [unannounced]
    with pytest.raises(UserError, match="no whole gzip file"):
        fetch(server.url("/net.tar.gz"), tmp_path, patience=QUICK)
    assert files(tmp_path) == set()


def test_sizes_of_the_table_are_checked(server: Server, official: str, tmp_path: Path) -> None:
    object.__setattr__(fetching.ARCHIVES[-1], "size", len(ZOO) + 1)
    expected = rf"the server announces {len(ZOO)} bytes, but the published file has {len(ZOO) + 1}"
    with pytest.raises(UserError, match=expected):
        fetch(official, tmp_path, patience=QUICK)

    def unannounced(request: Handler) -> None:
        request.head(200)
        request.wfile.write(ZOO)

    server.answers = [unannounced]
    with pytest.raises(UserError, match=f"the server sent {len(ZOO)} of {len(ZOO) + 1} bytes"):
        fetch(official, tmp_path, patience=QUICK)
    (tmp_path / "toy_2018.tar.gz").write_bytes(ZOO)
    with pytest.raises(UserError, match=r"toy_2018\.tar\.gz has \d+ bytes, but the published file has \d+: delete it"):
        fetch(official, tmp_path, patience=QUICK)


def test_paths_come_as_they_are(tmp_path: Path) -> None:
    folder, stored = tmp_path / "mine", tmp_path / "store"
    folder.mkdir()
    for name in ("a.index", "a.data-00000-of-00002", "a.data-00001-of-00002", "graph.pb", "notes.txt"):
        (folder / name).touch()
    for spelling in ("", "a", "a.index", "a.data-00001-of-00002"):
        assert checkpoint_path(folder / spelling, stored) == folder / "a"
    assert checkpoint_path(str(folder / "graph.pb"), stored) == folder / "graph.pb"
    (folder / "b.index").touch()
    (folder / "b.data-00000-of-00001").touch()
    with pytest.raises(UserError, match=r"mine holds 2 checkpoints \(a, b\): name one of them"):
        checkpoint_path(folder, stored)
    (folder / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/b"\nall_model_checkpoint_paths: "a"\n')
    assert checkpoint_path(folder, stored) == folder / "b"
    (folder / "a.data-00000-of-00002").unlink()
    with pytest.raises(UserError, match=r"a\.index is there, but its data is not: .*a\.data-00000-of-00002 is missing"):
        checkpoint_path(folder / "a", stored)
    with pytest.raises(UserError, match=r"notes\.txt is no checkpoint: expected a prefix"):
        checkpoint_path(folder / "notes.txt", stored)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no checkpoint \(no \*\.index file\), expected one"):
        checkpoint_path(tmp_path / "empty", stored)
    with pytest.raises(
        UserError, match=r"xception65_coco_voc_trainagu is no .*did you mean xception65_coco_voc_trainaug\?"
    ):
        checkpoint_path("xception65_coco_voc_trainagu", stored)
    with pytest.raises(UserError, match=r"no official name, which are mobilenetv2_dm05_coco_voc_trainaug, "):
        checkpoint_path("/nowhere/at/all", stored)
    assert not stored.exists()
    (tmp_path / "own.tgz").write_bytes(ZOO)
    assert checkpoint_path(tmp_path / "own.tgz", stored) == stored / "own/net/model.ckpt"


def test_the_real_checkpoint(shared: Path, tmp_path: Path) -> None:
    folder = shared / "checkpoints/deeplabv3_mnv2_pascal_train_aug_fp16"
    if not folder.is_dir():
        pytest.skip("needs the official MobileNetV2 weights")
    assert checkpoint_path(folder, tmp_path) == folder / "model.ckpt-30000"


# --- several processes, full disks -----------------------------------------------------------------------------------

FETCH = """
import sys
from pathlib import Path
from load_tf.downloads.fetch import checkpoint_path
print(checkpoint_path(sys.argv[1], Path(sys.argv[2])))
"""


def start(url: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, url, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_download_and_unpack_once(server: Server, tmp_path: Path) -> None:
    def slow(request: Handler) -> None:
        request.server.stop.wait(0.5)
        whole(ZOO)(request)

    server.answers = [slow]
    running = [start(server.url("/net.tar.gz"), tmp_path) for _ in range(3)]
    outputs = [process.communicate(timeout=30) for process in running]
    assert [output for output, _ in outputs] == 3 * [f"{tmp_path}/net/net/model.ckpt\n"], outputs
    assert len(server.requests) == 1
    assert files(tmp_path) == {"net", "net.tar.gz", "net.tar.gz.sha256"}


def test_a_killed_download_goes_on(server: Server, tmp_path: Path) -> None:
    body = gzip.compress(BODY, 1)
    server.answers = [cut(100_000, body, stall=True), whole(body)]
    process = start(server.url("/net.tar.gz"), tmp_path)
    part = tmp_path / "net.tar.gz.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 0):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    kept = part.stat().st_size
    assert not (tmp_path / "net.tar.gz").exists()
    assert fetch(server.url("/net.tar.gz"), tmp_path, patience=QUICK).read_bytes() == body
    assert server.ranges == [None, f"bytes={kept}-"]


def test_a_lock_is_waited_for_only_so_long(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tmp_path / "x"
    with (
        caplog.at_level(logging.WARNING),
        exclusive(target),
        pytest.raises(BusyError, match=r"x is being made by another process, after 0\.1 s still"),
        exclusive(target, patience=0.1),
    ):
        pass
    assert caplog.messages == [f"waiting for another process that makes {target}"]
    with exclusive(target, patience=0):
        pass


def test_full_disks_are_a_sentence_and_keep_what_came(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [whole()]
    with monkeypatch.context() as patch:
        usage = downloading.shutil.disk_usage(tmp_path)._replace(free=299_999)
        patch.setattr(downloading.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(UserError, match=r"has 299999 bytes free, but 300000 more are needed for model\.bin"):
            fetch(server.url(), tmp_path, patience=QUICK)
    assert files(tmp_path) == set()
    with monkeypatch.context() as patch:

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(downloading.os, "fsync", full)
        with pytest.raises(
            UserError, match=r"cannot write .*model\.bin\.part: No space left on device; what has arrived"
        ):
            fetch(server.url(), tmp_path, patience=QUICK)
    assert files(tmp_path) == {"model.bin.part", "model.bin.part.json"}
    assert get(server, tmp_path, whole()) == BODY


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot make the folder .*file/below for model\.bin: Not a directory"):
        fetch("http://127.0.0.1/model.bin", tmp_path / "file/below")
    (tmp_path / "model.bin").mkdir()
    with pytest.raises(UserError, match=r"model\.bin is not a plain file: delete it"):
        fetch("http://127.0.0.1/model.bin", tmp_path)


def test_nothing_has_the_final_name_before_the_rename(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(part: Path, _: Path) -> None:
        assert part.read_bytes() == BODY
        raise OSError(5, "Input/output error")

    server.answers = [whole()]
    with monkeypatch.context() as patch:
        patch.setattr(fetching.Path, "rename", broken)
        with pytest.raises(UserError, match=r"cannot keep model\.bin in .*: Input/output error"):
            fetch(server.url(), tmp_path, patience=QUICK)
    assert files(tmp_path) == {"model.bin.part", "model.bin.part.json"}
    assert get(server, tmp_path, status(500)) == BODY
    assert len(server.requests) == 1
