"""The cost model of docs/notes/scale.md: what a run of another size takes, from the rates of one that was made.

python -m benchmarks.scale RUN_DIR [IMAGES HOLDOUT VALIDATION]

Prints the rates of the run's phases, how well the first half of each phase predicts the second, and the times of a run
of the given numbers of images with the paper's parameters (50 cycles of 50 iterations, 20 epochs before each).
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

COUNTED = {
    "stage_one": "images", "evaluation": "images", "aggregation": "images", "discriminator": "maps",
    "adversarial": "updates", "validation": "images",
}  # fmt: skip
CYCLES, ITERATIONS, EPOCHS = 50, 50, 20


def read(run_dir: Path) -> dict[str, list[tuple[float, int]]]:
    """For every phase (seconds, count) of its lines in `timings.jsonl`, but the first, which traces."""
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for line in (run_dir / "timings.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["phase"] in COUNTED:
            found[entry["phase"]].append((entry["seconds"], entry[COUNTED[entry["phase"]]]))
    return {phase: lines[1:] or lines for phase, lines in found.items()}


def rate(lines: list[tuple[float, int]]) -> float:
    """Seconds for one."""
    return sum(seconds for seconds, _ in lines) / sum(count for _, count in lines)


def paper_size(rates: dict[str, float], images: int, holdout: int, validation: int) -> dict[str, float]:
    """Seconds by phase at the most: every cycle lasts as long as it may, no cycle but those of `CYCLES` is made."""
    iterations = CYCLES * ITERATIONS
    return {
        "adversarial": iterations * rates["adversarial"],
        "evaluation": (iterations + 1) * holdout * rates["evaluation"],
        "aggregation": (CYCLES + 1) * (images + holdout) * rates["aggregation"],
        "discriminator": CYCLES * EPOCHS * 2 * images * rates["discriminator"],
        "validation": 2 * validation * rates["evaluation"],
    }


def main(run_dir: str, *sizes: str) -> None:
    """Prints the tables."""
    lines = read(Path(run_dir))
    rates = {phase: rate(found) for phase, found in lines.items()}
    print(f"{'phase':>14}  for one of  milliseconds  second half: predicted s, measured s")
    for phase, found in lines.items():
        half = len(found) // 2
        check = "-"
        if half:
            predicted = rate(found[:half]) * sum(count for _, count in found[half:])
            check = f"{predicted:8.1f} {sum(seconds for seconds, _ in found[half:]):8.1f}"
        print(f"{phase:>14}  {COUNTED[phase]:>10}  {1000 * rates[phase]:12.2f}  {check}")
    if sizes:
        for phase, seconds in paper_size(rates, *map(int, sizes)).items():
            print(f"{phase:>14}  {seconds / 3600:8.2f} h")


if __name__ == "__main__":
    main(*sys.argv[1:])
