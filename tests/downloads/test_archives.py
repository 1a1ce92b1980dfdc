"""The table of official archives, the page that lists them, and the unpacking of friendly and hostile ones."""

import gzip
import io
import random
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from load_tf.downloads import unpack as unpacking
from load_tf.downloads.archives import ARCHIVES, find_archive, markdown_table
from load_tf.downloads.locking import exclusive
from load_tf.downloads.unpack import RECORD, Limits, unpack
from load_tf.errors import UserError

README = Path(__file__).resolve().parents[2] / "checkpoints" / "README.md"
INDEX, DATA = b"an index", random.Random(7).randbytes(3000)


# --- the table -------------------------------------------------------------------------------------------------------


def test_readme_agrees_with_the_table() -> None:
    text = README.read_text(encoding="utf-8")
    assert markdown_table() in text
    listed = re.findall(r"\((http://download\.tensorflow\.org/\S+)\)", text)
    assert listed == [archive.url for archive in ARCHIVES]
    checksums = re.findall(r"^\| (\S+) \| ([\d,]+) \| `(\S+)` \|$", text, re.MULTILINE)
    known = [(archive.file_name, f"{archive.size:,}", archive.checksum) for archive in ARCHIVES if archive.checksum]
    assert checksums == known
    assert "Apache-2.0" in text


@pytest.mark.parametrize(
    ("name", "file_name", "miou", "stride", "classes"),
    [
        # Copied from the model zoo a second time, by hand.
        ("xception65_coco_voc_trainaug", "deeplabv3_pascal_train_aug_2018_01_04.tar.gz", 0.8220, 16, 21),
        ("mobilenetv2_coco_voc_trainaug", "deeplabv3_mnv2_pascal_train_aug_2018_01_29.tar.gz", 0.7532, 16, 21),
        ("xception65_coco_voc_trainval", "deeplabv3_pascal_trainval_2018_01_04.tar.gz", 0.8780, 8, 21),
        ("xception65_cityscapes_trainfine", "deeplabv3_cityscapes_train_2018_02_06.tar.gz", 0.7879, 16, 19),
        ("xception65_ade20k_train", "deeplabv3_xception_ade20k_train_2018_05_29.tar.gz", 0.4565, 8, 151),
    ],
)
def test_known_facts(name: str, file_name: str, miou: float, stride: int, classes: int) -> None:
    archive = find_archive(name)
    assert archive is not None
    assert (archive.file_name, archive.num_classes) == (file_name, classes)
    assert (archive.scores[0].miou, archive.scores[0].output_stride) == (miou, stride)
    assert find_archive(file_name) is archive is find_archive(file_name.removesuffix(".tar.gz"))


def test_table_is_consistent() -> None:
    keys = [key for archive in ARCHIVES for key in (archive.name, archive.file_name, archive.stem)]
    assert len(keys) == len(set(keys)) == 3 * 14
    for archive in ARCHIVES:
        assert archive.file_name.endswith(".tar.gz")
        assert archive.backbone in ("xception_41", "xception_65", "xception_71", "mobilenet_v2")
        assert all(0.3 < score.miou < 0.9 and score.split in ("val", "test") for score in archive.scores)
        assert all(("val" not in archive.trained_on[-1]) or score.split == "test" for score in archive.scores)
        if archive.checksum is not None:
            algorithm, digest = archive.checksum.split(":")
            assert {"sha256": 64, "sha384": 96}[algorithm] == len(digest)
    assert find_archive("xception65") is None


# --- unpacking -------------------------------------------------------------------------------------------------------


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of an archive; `fields` overwrite what tarfile would write."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


CHECKPOINT = [
    member("net", type=tarfile.DIRTYPE),
    member("net/model.ckpt.index", INDEX),
    member("net/model.ckpt.data-00000-of-00001", DATA),
]


def pack(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def tree(folder: Path) -> set[str]:
    """Every file and folder, apart from locks."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.endswith(".lock")}


def test_unpacks_once(tmp_path: Path) -> None:
    archive = pack(tmp_path / "in/zoo_2018.tar.gz", [*CHECKPOINT, member("net/._model.ckpt.index", b"from a Mac")])
    found = unpack(archive, tmp_path / "out")
    assert found == tmp_path / "out/zoo_2018/net"
    assert (found / "model.ckpt.index").read_bytes() == INDEX
    assert (found / "model.ckpt.data-00000-of-00001").read_bytes() == DATA
    files = tree(tmp_path / "out")
    assert files == {
        "zoo_2018",
        f"zoo_2018/{RECORD}",
        "zoo_2018/net",
        "zoo_2018/net/._model.ckpt.index",
        "zoo_2018/net/model.ckpt.index",
        "zoo_2018/net/model.ckpt.data-00000-of-00001",
    }
    (found / "model.ckpt.index").write_bytes(b"mine")
    assert unpack(archive, tmp_path / "out") == found
    assert (found / "model.ckpt.index").read_bytes() == b"mine"


def test_another_archive_of_the_same_name_is_not_mixed_in(tmp_path: Path) -> None:
    archive = pack(tmp_path / "in/a.tar.gz", CHECKPOINT)
    unpack(archive, tmp_path)
    pack(archive, [member("model.ckpt.index", b"other")])
    with pytest.raises(UserError, match=r"a exists and was not unpacked from this .*a\.tar\.gz: remove or rename"):
        unpack(archive, tmp_path)
    assert (tmp_path / "a/net/model.ckpt.index").read_bytes() == INDEX


HOSTILE: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str]] = {
    "absolute": ([member("/tmp/evil", b"x")], r"member '/tmp/evil' has an absolute path"),
    "escape": ([member("net/../../evil", b"x")], r"member 'net/../../evil' leaves the folder"),
    "dots alone": ([member("..", type=tarfile.DIRTYPE)], r"member '\.\.' leaves the folder"),
    "symlink": (
        [member("net/link", type=tarfile.SYMTYPE, linkname="/etc"), member("net/link/passwd", b"x")],
        r"member 'net/link' is a link \(to '/etc'\)",
    ),
    "inner symlink": (
        [member("net/link", type=tarfile.SYMTYPE, linkname="model.ckpt.index")],
        r"member 'net/link' is a link \(to 'model.ckpt.index'\)",
    ),
    "hard link": (
        [member("net/hard", type=tarfile.LNKTYPE, linkname="net/model.ckpt.index")],
        r"member 'net/hard' is a link \(to 'net/model.ckpt.index'\)",
    ),
    "device": (
        [member("net/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
        r"member 'net/null' is neither a plain file nor a folder",
    ),
    "fifo": ([member("net/pipe", type=tarfile.FIFOTYPE)], r"member 'net/pipe' is neither a plain file nor a folder"),
    "twice": ([member("./net//model.ckpt.index", b"x")], r"member '\./net//model\.ckpt\.index' comes twice"),
    "file as folder": ([member("net/model.ckpt.index/x", b"x")], r"needs the folder net/model.ckpt.index"),
    "folder as file": ([member("net", b"x")], r"member 'net' comes twice"),
    "our record": ([member(RECORD, b"{}")], rf"member '{re.escape(RECORD)}' comes twice"),
    "backslash": ([member("net\\..\\evil", b"x")], r"has a name that no file should have"),
    "line break": ([member("net/a\nb", b"x")], r"member 'net/a\\nb' has a name that no file should have"),
    "long name": ([member("n" * 300, b"x")], r"has a name that no file should have"),
    "bomb": (
        [member("net/zeros", bytes(1 << 20))],
        r"member 'net/zeros' brings the unpacked size to 1051584 bytes, more than the 1048576 allowed",
    ),
    "too many": ([member(f"net/{i}", b"x") for i in range(38)], r"member 'net/37' is one more than the 40 allowed"),
    "long header": (
        [member("net/x", b"x", pax_headers={"comment": "c" * (1 << 19)})],
        r"damaged or no tar archive inside \(has more than 262144 bytes of headers",
    ),
}
SMALL = Limits(total_bytes=1 << 22, ratio=50.0, free_bytes=1 << 20, members=40)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_by_name_and_leave_nothing(tmp_path: Path, case: str) -> None:
    members, message = HOSTILE[case]
    archive = pack(tmp_path / "in/bad.tar.gz", [*CHECKPOINT, *members])
    with pytest.raises(UserError, match=message) as caught:
        unpack(archive, tmp_path / "out", SMALL)
    assert str(archive) in str(caught.value)
    assert tree(tmp_path / "out") == set()
    assert not Path("/tmp/evil").exists()
    assert tree(tmp_path) == {"in", "in/bad.tar.gz", "out"}


@pytest.mark.parametrize("case", ["escape", "symlink", "device", "fifo"])
def test_tarfiles_own_filter_stands_behind_our_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(unpacking, "_check", lambda *_: None)
    archive = pack(tmp_path / "in/bad.tar.gz", [*CHECKPOINT, HOSTILE[case][0][0]])
    with pytest.raises(UserError, match=r"special file|outside the destination|absolute path"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path) == {"in", "in/bad.tar.gz", "out"}


def test_limits_are_what_refuses_the_bomb(tmp_path: Path) -> None:
    archive = pack(tmp_path / "in/zeros.tar.gz", [*CHECKPOINT, member("net/zeros", bytes(1 << 20))])
    assert archive.stat().st_size < 10_000
    assert unpack(archive, tmp_path / "out").is_dir()
    # Noise of the same size is no bomb, under the same limits.
    noise = random.Random(1).randbytes(1 << 20)
    archive = pack(tmp_path / "in/noise.tar.gz", [*CHECKPOINT, member("net/noise", noise)])
    assert unpack(archive, tmp_path / "out", SMALL).is_dir()
    with pytest.raises(UserError, match="more than the 65536 allowed"):
        unpack(pack(tmp_path / "in/b.tar.gz", [member("x", noise)]), tmp_path / "out", Limits(total_bytes=1 << 16))


def raw(content: bytes) -> Callable[[bytes], bytes]:
    return lambda good: content


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (raw(b""), r"is damaged or no tar archive inside \(empty file\)|is cut off"),
    "cut gzip": (lambda good: good[: len(good) // 2], "is cut off: delete it and fetch it anew"),
    "cut before its checksum": (lambda good: good[:-8], "is cut off"),
    "web page": (raw(b"<html>Please log in</html>"), "is damaged or no gzip file"),
    "no tar inside": (raw(gzip.compress(b"weights, honestly" * 99)), "no tar archive inside"),
    "cut tar": (lambda good: gzip.compress(gzip.decompress(good)[:2500]), "unexpected end of data|damaged|ends after"),
    "damaged header": (
        lambda good: gzip.compress(gzip.decompress(good)[:1536] + b"?" * 512 + gzip.decompress(good)[2048:]),
        "no tar archive inside",
    ),
    "flipped checksum": (lambda good: good[:-6] + bytes([good[-6] ^ 1]) + good[-5:], "is damaged or no gzip file"),
    "no checkpoint": (
        lambda good: _tar_of("readme.txt"),
        r"holds no checkpoint \(no \*\.index file\), expected one",
    ),
    "two checkpoints": (lambda good: _tar_of("a/x.index", "b/x.index"), r"holds checkpoints in 2 folders \(a, b\)"),
    "endless padding": (
        lambda good: gzip.compress(gzip.decompress(good) + bytes(1 << 20)),
        "more than 262144 bytes of headers or padding",
    ),
}


def _tar_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_archives(tmp_path: Path, case: str) -> None:
    archive = pack(tmp_path / "in/bad.tar.gz", CHECKPOINT)
    damage, message = DAMAGED[case]
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        unpack(archive, tmp_path / "out")
    assert str(archive) in str(caught.value)
    assert tree(tmp_path / "out") == set()


def test_random_damage_is_a_sentence_or_harmless(tmp_path: Path) -> None:
    good = gzip.decompress(pack(tmp_path / "in/x.tar.gz", CHECKPOINT).read_bytes())
    dice = random.Random(3)
    refused = 0
    for round_ in range(80):
        damaged = bytearray(good)
        for _ in range(dice.choice((1, 3, 30))):
            # Headers only: the contents are gzip's business.
            damaged[dice.choice((0, 512, 1536)) + dice.randrange(512)] = dice.randrange(256)
        for start in (0, 512, 1536):  # with right checksums, so that the damage gets as far as possible
            damaged[start + 148 : start + 156] = b" " * 8
            damaged[start + 148 : start + 155] = b"%06o\0" % sum(damaged[start : start + 512])
        archive = tmp_path / f"in/{round_}.tar.gz"
        archive.write_bytes(gzip.compress(bytes(damaged), 1))
        try:
            unpack(archive, tmp_path / "out", SMALL)
        except UserError as error:
            refused += 1
            assert str(archive) in str(error)
            assert not (tmp_path / f"out/{round_}").exists()
    assert 20 < refused < 80
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_not_an_archive_by_name_and_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.zip is no archive of a checkpoint: expected NAME\.tar\.gz"):
        unpack(tmp_path / "model.zip", tmp_path)
    with pytest.raises(UserError, match=r"cannot unpack .*gone\.tar\.gz.*No such file"):
        unpack(tmp_path / "gone.tar.gz", tmp_path / "out")


DIE_BEFORE_THE_RENAME = """
import os, sys
from pathlib import Path
from load_tf.downloads import unpack
unpack._sync = lambda folder: os.kill(os.getpid(), 9)
unpack.unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_killed_unpacking_leaves_no_folder_and_is_cleaned_up(tmp_path: Path) -> None:
    killed, other = pack(tmp_path / "in/a.b.tar.gz", CHECKPOINT), pack(tmp_path / "in/a.tar.gz", CHECKPOINT)
    command = [sys.executable, "-c", DIE_BEFORE_THE_RENAME, str(killed), str(tmp_path / "out")]
    assert subprocess.run(command, timeout=30, check=False).returncode == -signal.SIGKILL
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".a.b.lock", ".a.b.unpacking"}
    unpack(other, tmp_path / "out")
    assert not (tmp_path / "out/.a.b.unpacking").exists()
    assert unpack(killed, tmp_path / "out") == tmp_path / "out/a.b/net"


def test_living_unpackings_are_left_alone(tmp_path: Path) -> None:
    working = tmp_path / ".busy.unpacking"
    working.mkdir()
    archive = pack(tmp_path / "in/a.tar.gz", CHECKPOINT)
    with exclusive(tmp_path / "busy"):
        unpack(archive, tmp_path)
        assert working.is_dir()
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    unpack(archive, tmp_path)
    assert not working.exists()


def test_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    archive = pack(tmp_path / "in/a.tar.gz", CHECKPOINT)
    monkeypatch.setattr(unpacking.tarfile, "copyfileobj", full)
    with pytest.raises(UserError, match=r"cannot unpack .*a\.tar\.gz: .*No space left on device"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == set()
