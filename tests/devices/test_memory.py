"""Large blocks that are freed and asked for again are the same pages, in a process that asked for that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from load_tf.devices import memory

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import ctypes, resource, threading
from load_tf.devices import memory
if {asks}:
    print(memory.keep_what_is_freed())
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
c.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def use(times):
    for _ in range(times):
        block = c.malloc(100 << 20)
        c.memset(block, 1, 100 << 20)
        c.free(block)
def in_a_thread(times):
    thread = threading.Thread(target=use, args=(times,))
    thread.start()
    thread.join()
for place in (use, in_a_thread):
    place(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place(10)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def lines(asks: bool, **variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", CODE.format(asks=asks)]
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_blocks_are_not_asked_of_the_system_again() -> None:
    """The same pages ten times over, in the first thread and in another; without being asked, new ones each time."""
    kept, *faults = lines(asks=True)
    if kept != "True":
        pytest.skip("another C library than glibc")
    without = lines(asks=False)
    for few, many in zip(map(int, faults), map(int, without), strict=True):
        # A page may have 4 KiB or 2 MiB: at least 50 for each block.
        assert many >= 500 and few < many / 10
    # Whoever has said what the library is to do is not overruled.
    said, *others = lines(asks=True, MALLOC_ARENA_MAX="2")
    assert said == "False" and all(int(many) >= 500 for many in others)


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", pytest.fail)
    assert memory.keep_what_is_freed() is False
