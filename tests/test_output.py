"""Output that nobody reads any more ends no run: pipes without a reader, full disks, closed descriptors."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from load_tf.report.terminal import Terminal
from tests.tiny import ROOT, environment

TINY = """
experiment.dataset = @synthetic()
synthetic.train = 30
synthetic.validation = 4
synthetic.size = (48, 64)
experiment.segmentor = @small_deeplab
experiment.crop = (49, 65)
"""
GOES_ON = """
import sys
from load_tf import output
output.outlive_readers({status})
for number in range(200):
    print(number)
print("it went on", file=sys.stderr)
"""


def into_a_closed_pipe(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs Python with a standard output whose reader goes away after a line."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, *command], env=environment(), cwd=folder, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        first = pipe.readline()
    _, said = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, first, said)


def test_who_prints_goes_on_without_a_reader() -> None:
    done = into_a_closed_pipe("-c", GOES_ON.format(status=None))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "it went on\n")
    bare = GOES_ON.replace("output.outlive_readers({status})", "sys.stdout.reconfigure(line_buffering=True)")
    done = into_a_closed_pipe("-c", bare.replace("print(number)", "print(number, 'x' * 9999)"))
    assert "BrokenPipeError" in done.stderr, "the negative control"


def test_who_is_there_for_the_output_ends_quietly() -> None:
    done = into_a_closed_pipe("-c", GOES_ON.format(status=141).replace("print(number)", "print(number, 'x' * 9999)"))
    assert (done.returncode, done.stderr) == (141, "")


def test_check_dataset_ends_quietly(tmp_path: Path) -> None:
    (tmp_path / "tiny.gin").write_text(TINY)
    done = into_a_closed_pipe("-m", "load_tf.check_dataset", "--gin_file=tiny.gin", folder=tmp_path)
    assert done.stdout == "synthetic train: 30 examples, 0 faults\n"
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without space")
def test_a_full_disk_is_a_sentence_or_no_matter() -> None:
    for status, expected in ((141, (2, "load_tf: standard output can't be written: No space left on device.\n")),
                             (None, (0, "it went on\n"))):  # fmt: skip
        with open("/dev/full", "w") as full:
            command = [sys.executable, "-c", GOES_ON.format(status=status)]
            done = subprocess.run(
                command, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
            )
        assert (done.returncode, done.stderr) == expected


def test_a_descriptor_that_was_closed_from_the_start() -> None:
    code = GOES_ON.format(status=None).replace("print(number)", "print(number); sys.stdout.flush()")
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-c", code],
        env=environment(), stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "it went on\n")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_a_run_in_python_goes_on_without_its_lines(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_tf.run` in a script whose output is piped into `head`: standard output is the script's."""

    class Gone:
        tries = 0

        def write(self, text: str) -> int:
            self.tries += 1
            raise OSError(number, "gone")

        def flush(self) -> None: ...

    gone, terminal = Gone(), Terminal()
    monkeypatch.setattr(sys, "stdout", gone)
    for _ in range(3):
        terminal.say("a line")
    assert gone.tries == 1


def test_other_faults_of_the_output_are_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty:
        def write(self, text: str) -> int:
            raise OSError(errno.EPERM, "not permitted")

        def flush(self) -> None: ...

    monkeypatch.setattr(sys, "stdout", Faulty())
    with pytest.raises(OSError, match="not permitted"):
        Terminal().say("a line")
