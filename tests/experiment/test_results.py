"""What is printed beside a score."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from load_tf.experiment.scoring import sum_timings, warnings
from load_tf.segmentors.segmentor import Segmentor


@pytest.mark.parametrize(
    ("crop", "stride", "expected"),
    [((513, 513), 16, 0), ((513, 513), 8, 0), ((513, 513), 32, 0), ((97, 113), 16, 0), ((97, 113), 32, 1)],
)
def test_a_crop_that_the_output_stride_does_not_divide_is_warned_of(
    crop: tuple[int, int], stride: int, expected: int
) -> None:
    plan = SimpleNamespace(segmentor=Segmentor(None, True, "", stride), crop=crop)
    found = warnings(plan)
    assert len(found) == expected
    assert all("97x113" in warning and "32" in warning for warning in found)


def test_timings_are_summed_by_phase(tmp_path: Path) -> None:
    lines = [
        {"phase": "evaluation", "seconds": 1.26, "peak_mib": 100, "at": 1.0},
        {"phase": "commit", "seconds": 0.5, "peak_mib": 120, "at": 2.0},
        {"phase": "evaluation", "seconds": 2.5, "peak_mib": 110, "at": 3.0},
        {"phase": "commit", "seconds": 0.25, "at": 4.0},
    ]
    (tmp_path / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert sum_timings(tmp_path) == {
        "seconds": {"evaluation": 3.8, "commit": 0.8},
        "peak_mib": {"evaluation": 110, "commit": 120},
    }
    # A process that was killed leaves half a line, and the next one writes on behind it.
    with open(tmp_path / "timings.jsonl", "a") as file:
        file.write('{"phase": "commit", "sec{"phase": "commit", "seconds": 9.0}\n{"phase": "commit", "seconds": 1.0}\n')
    assert sum_timings(tmp_path)["seconds"] == {"evaluation": 3.8, "commit": 1.8}
    assert sum_timings(tmp_path / "absent") == {"seconds": {}, "peak_mib": {}}
