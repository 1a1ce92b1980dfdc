"""What a commit and a resume cost, in time and disk, at the paper's size: `python -m benchmarks.commits [FOLDER]`.

The files are those of a run on PASCAL VOC with Xception-65 (41 million weights), 350 + 500 label maps of 224 x 224 a
set, and three sets; what fills them does not matter. FOLDER is where they are written: the disk to measure.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from load_tf.discriminator.build import numbers
from load_tf.discriminator.settings import Discriminator
from load_tf.storage.run_directory import ArraySource, RunDirectory

XCEPTION_65 = 41_258_213
MAPS = {"training": (350, 224, 224), "holdout": (500, 224, 224)}


def _numbers(count: int, value: int) -> ArraySource:
    return lambda: {"w": np.full(count, value, np.float32)}


def _maps(value: int) -> ArraySource:
    return lambda: {name: np.full(shape, value, np.uint8) for name, shape in MAPS.items()}


def main() -> None:
    """Prints one table."""
    trained, others = numbers(Discriminator(), 21)
    judge = 2 * trained + others
    iteration = {"segmentor": _numbers(2 * XCEPTION_65, 1)}
    kinds = {
        "adversarial iteration": iteration,
        "iteration with a new best model": {**iteration, "best": _numbers(XCEPTION_65, 2)},
        "epoch of the discriminator": {"discriminator": _numbers(judge, 3), "best_epoch": _numbers(judge, 4)},
        "buffer set": {"label_maps/g0": _maps(5)},
    }
    everything = {"baseline": _numbers(XCEPTION_65, 0), "start": _numbers(XCEPTION_65, 0)}
    everything |= {name: source for kind in kinds.values() for name, source in kind.items()}
    everything |= {f"label_maps/ge0_{n}": _maps(n) for n in range(2)}
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        path = Path(folder) / "run"
        run = RunDirectory(path, "config", frozenset({"baseline"}))
        run.commit({"phase": "lookahead"}, everything, set())
        print(f"{'commit that ends':<34} {'MiB':>7} {'seconds':>8}")
        for kind, changed in kinds.items():
            seconds = []
            for _ in range(3):
                run.record("event", number=1.0)
                began = time.perf_counter()
                run.commit({"phase": "lookahead"}, changed, set(everything))
                seconds.append(time.perf_counter() - began)
            written = sum(run.state["files"][name]["bytes"] for name in changed)
            print(f"{kind:<34} {written / 2**20:7.0f} {np.median(seconds):8.2f}")
        began = time.perf_counter()
        run.write_ahead("segmentor", iteration["segmentor"])
        waited = time.perf_counter() - began
        time.sleep(20)  # an evaluation
        began = time.perf_counter()
        run.commit({"phase": "lookahead"}, iteration, set(everything))
        waited += time.perf_counter() - began
        written = run.state["files"]["segmentor"]["bytes"]
        print(f"{'iteration, written ahead':<34} {written / 2**20:7.0f} {waited:8.2f}")
        run.close()
        whole = sum(entry["bytes"] for entry in run.state["files"].values())
        began = time.perf_counter()
        run = RunDirectory(path, "config", frozenset({"baseline"}))
        checked = time.perf_counter()
        for name in run.state["files"]:
            run.arrays(name)
        print(f"{'start: checking every file':<34} {whole / 2**20:7.0f} {checked - began:8.2f}")
        print(f"{'start: reading them':<34} {whole / 2**20:7.0f} {time.perf_counter() - checked:8.2f}")
        held = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        print(f"{'on the disk, two commits':<34} {held / 2**20:7.0f}")
        run.close()


if __name__ == "__main__":
    main()
