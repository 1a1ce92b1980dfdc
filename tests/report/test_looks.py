"""Gains over the looks as a report shows them: read from a journal, correlated, and warned of where they disagree."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from load_tf.randomness import generator
from load_tf.report import convergence, html
from load_tf.report.looks import looks
from load_tf.report.markup import Markup
from load_tf.report.sections import looks as looks_section
from load_tf.report.stored import Run
from load_tf.report.tensorboard import TensorBoardLog
from load_tf.report.terminal import Terminal
from load_tf.report.verdict import verdict

START = {"event": "start", "miou": 0.60, "upper": 0.001, "lower": 0.05, "model": "g0", "untouched": 0.50, "watched": 7}


def journal(
    holdout: Sequence[float], untouched: Sequence[float | None], peak: tuple[float, float] | None = None
) -> list[dict[str, Any]]:
    """Two looks a cycle; gains in points."""
    events: list[dict[str, Any]] = [dict(START)]
    for i, (gain, other) in enumerate(zip(holdout, untouched, strict=True)):
        event = {"event": "evaluate", "cycle": i // 2, "iteration": i % 2 + 1, "miou": 0.60 + gain / 100}
        events.append({**event, "untouched": None if other is None else 0.50 + other / 100})
    if peak:
        event = {"event": "peak", "cycle": len(holdout) // 2, "iteration": 1, "miou": 0.60 + peak[0] / 100}
        events.append({**event, "model": "g1", "untouched": 0.50 + peak[1] / 100})
    return events


def drawn(events: list[dict[str, Any]]) -> Markup | None:
    """The section of a run's page."""
    return looks_section.draw(Run("", events, {}, {}, "", {}, []))


def older(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The journal of a revision that watched nothing."""
    return [{key: value for key, value in event.items() if key not in ("untouched", "watched")} for event in events]


APART = journal([1, 2, 3, 4], [-0.5, -1, -2, -1.5], (4, -1.5))
TOGETHER = journal([1, 2, 3, 4], [0.5, 1, 2, 1.5], (4, 1.5))


def test_gains_are_points_from_the_start() -> None:
    found = looks(APART)
    assert found is not None and found.images == 7 and found.cycles == (0, 0, 1, 1)
    assert found.holdout == pytest.approx((1, 2, 3, 4)) and found.untouched == pytest.approx((-0.5, -1, -2, -1.5))
    assert found.chosen == pytest.approx((4, -1.5))


def test_the_correlation_is_pearsons() -> None:
    random = generator(0, "looks")
    a = random.normal(size=30)
    b = 0.6 * a + random.normal(size=30)
    missing = [None if i in (4, 9) else value for i, value in enumerate(b)]
    found = looks(journal(a, missing))
    kept = [i for i in range(30) if i not in (4, 9)]
    x, y = a[kept] - a[kept].mean(), b[kept] - b[kept].mean()
    assert found is not None
    assert found.correlation == pytest.approx((x @ y) / np.sqrt((x @ x) * (y @ y)), abs=1e-9)
    assert found.disagreeing == (int((np.sign(a[kept]) != np.sign(b[kept])).sum()), 28)
    assert looks(APART).correlation == pytest.approx(np.corrcoef([1, 2, 3, 4], [-0.5, -1, -2, -1.5])[0, 1])


def test_where_there_is_no_correlation() -> None:
    for holdout, untouched in (([1, 2], [1, 2]), ([1, 2, 3], [1, None, 2]), ([1, 1, 1], [1, 2, 3]), ([], [])):
        found = looks(journal(holdout, untouched))
        assert found is not None and found.correlation is None
        assert json.loads(json.dumps(found.summary(), allow_nan=False))["correlation"] is None
    assert looks(journal([1, 2, 4], [1, 2, 3])).correlation == pytest.approx(0.9819805, abs=1e-6)


def test_gains_of_different_signs_are_warned_of() -> None:
    chosen, share = looks(APART).warnings()
    assert "the chosen model gains 4.00 points on the hold-out but loses 1.50 on the 7 watched images" in chosen
    assert share.startswith("in 4 of 4 looks hold-out and watched images differ")
    assert looks(TOGETHER).warnings() == []
    assert looks(journal([1, 2, 3, 4], [1, 2, 3, -1])).warnings() == [], "one look in four"
    assert len(looks(journal([1, 2, 3], [1, 2, -1])).warnings()) == 1, "one in three"
    assert looks(journal([1, 2], [-1, -1])).warnings() == [], "too few for a share"
    assert looks(journal([1, 2, 3], [-0.004, 0, -0.001])).warnings() == [], "printed, they would be 0.00"


def test_the_summary() -> None:
    found = looks(journal([1, 2, 3, 4], [1, None, -3, 4], (4, 4))).summary()
    assert found["holdout"] == pytest.approx([1, 2, 3, 4]) and found["untouched"][1] is None
    assert found["signs_differ"] == pytest.approx(1 / 3) and found["watched_images"] == 7
    assert found["chosen"] == pytest.approx({"holdout": 4, "untouched": 4}) and len(found["warnings"]) == 1
    empty = looks([START]).summary()
    assert empty["signs_differ"] is None and empty["chosen"] == {"holdout": None, "untouched": None}


def test_an_older_journal_has_no_looks_and_is_drawn_as_before() -> None:
    assert looks(older(APART)) is None and drawn(older(APART)) is None and looks([]) is None
    assert convergence.draw(older(APART), "a run") != convergence.draw(APART, "a run")
    resumed = older(APART[:2]) + APART[2:]
    assert looks(resumed) is None, "without the start's score no gain is known"
    assert convergence.draw(resumed, "a run") == convergence.draw(older(APART), "a run")


def test_the_page_shows_both_and_says_that_they_decide_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.gin").write_text("")
    pages = []
    for events in (APART, TOGETHER, older(APART)):
        (tmp_path / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        pages.append(html.page(tmp_path))
    apart, together, before = pages
    for page in (apart, together):
        assert 'id="looks"' in page and "decide nothing" in page and "Gain from the start" in page
        assert page.count("7 watched images, ") == 5, "a point for the start and for every look"
    assert "4 looks: the two gains have the correlation −0.80; in 4 their signs differ." in apart
    assert "The chosen model: +4.00 on the hold-out, −1.50 on the watched images." in apart
    assert 'class="warning">the chosen model gains 4.00' in apart and 'class="warning"' not in together
    assert 'id="looks"' not in before
    assert drawn([START]) is not None, "a run that has just begun"


def test_alike_neighbours_stand_under_the_result() -> None:
    score = {"images": 9, "baseline": 60.0, "load": 61.0, "gain": 1.0, "gain_low": 0.5, "gain_high": 1.5}
    doubt = "neighbouring images' gains are alike (auto-correlation 0.53 at distance 1)"
    page = verdict({"untouched": score, "neighbours": {"lag1": 0.53, "images": 9, "warning": doubt}}, [])
    assert 'class="warning">neighbouring images' in page
    for fine in ({"neighbours": {"lag1": 0.1, "images": 9, "warning": None}}, {}):
        assert "warning" not in verdict({"untouched": score, **fine}, [])


def test_the_curve_is_shifted_to_the_starts_level() -> None:
    run = convergence.timeline(APART)
    assert [cycle.untouched for cycle in run.cycles] == [
        pytest.approx([0.595, 0.59]), pytest.approx([0.58, 0.585]), []
    ]  # fmt: skip
    assert convergence.limits(run, watched=True)[0] < 58 < convergence.limits(run)[0]
    before = convergence.timeline(older(APART))
    assert convergence.limits(before, watched=True) == convergence.limits(before) == convergence.limits(run)


def test_the_terminal_tells_the_untouched_gain(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    for event in APART:
        terminal.hear(event)
    said = capsys.readouterr().out.splitlines()
    assert "hold-out mIoU 60.00; 7 untouched images are watched, mIoU 50.00" in said[0]
    assert "hold-out mIoU 61.00, +1.00 (bounds 55.00, 60.10), untouched -0.50" in said[1]
    assert "(+4.00), untouched -1.50, the new start model" in said[-1]
    terminal.hear({**APART[1], "untouched": 0.49})
    assert "untouched +0.50" in capsys.readouterr().out, "from the new start model on"
    terminal = Terminal()
    for event in older(APART):
        terminal.hear(event)
    assert "untouched" not in capsys.readouterr().out


def test_tensorboard_has_the_second_curve(tmp_path: Path) -> None:
    import tensorflow as tf

    log = TensorBoardLog(tmp_path)
    for event in APART:
        log.hear(event)
    log.close()
    (file,) = tmp_path.glob("events.out.tfevents.*")
    curves: dict[str, list[float]] = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            curves.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    assert curves["evaluate/untouched"] == pytest.approx([0.495, 0.49, 0.48, 0.485])
    assert len(curves["evaluate/miou"]) == 4
