"""The figure of a run: what is where in it, and that its bytes depend on the journal only."""

import io
import json
import math
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from load_tf.report import canvas, convergence

CYCLES = [
    ([0.69, 0.68], None, "patience", ["g0"], 0.7),
    ([0.72, 0.75, 0.64], 2, "lower_bound", ["g0", "ge0_0"], 0.8),
    ([0.73], None, "non_finite", ["g1", "ge0_1"], 0.9),
]


def journal() -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [{"event": "start", "miou": 0.70, "upper": 0.001, "lower": 0.05}]
    for i, (scores, peak, reason, buffer, right) in enumerate(CYCLES):
        events.append({"event": "buffer", "cycle": i - 1, "sets": buffer})
        events.append({"event": "discriminator", "cycle": i, "epoch": 1, "loss": 0.5, "pair_accuracy": right})
        events.append({"event": "discriminator", "cycle": i, "epoch": 2, "loss": 0.7, "pair_accuracy": 0.99})
        events += [{"event": "evaluate", "cycle": i, "iteration": j + 1, "miou": m} for j, m in enumerate(scores)]
        end = {"event": "cycle_end", "cycle": i, "iteration": len(scores), "reason": reason, "model": f"ge0_{i}"}
        events.append(end)
        if peak:
            events.append({"event": "peak", "cycle": i, "iteration": peak, "miou": scores[peak - 1], "model": "g1"})
    return events


@pytest.fixture(name="drawn")
def _drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are turned into PNGs."""
    figures: list[Figure] = []
    png = canvas.png
    monkeypatch.setattr(canvas, "png", lambda figure: figures.append(figure) or png(figure))
    return figures


def lines(figure: Figure, axis: int, marker: str | None = None, color: str | None = None) -> list[list[tuple]]:
    found = [
        line
        for line in figure.axes[axis].lines
        if (marker is None or line.get_marker() == marker) and (color is None or line.get_color() == color)
    ]
    return [[(round(float(x), 6), round(float(y), 6)) for x, y in zip(*line.get_data(), strict=True)] for line in found]


def test_curve_levels_peaks_and_ends_are_where_the_journal_says(drawn: list[Figure]) -> None:
    convergence.draw(journal(), "a run")
    (figure,) = drawn
    assert lines(figure, 0, "o") == [
        [(0, 70), (1, 69), (2, 68)],
        [(2, 70), (3, 72), (4, 75), (5, 64)],
        [(5, 75), (6, 73)],
    ]
    assert lines(figure, 0, "*") == [[(4, 75)]]
    assert lines(figure, 0, "s") == [[(2, 68)]] and lines(figure, 0, "v") == [[(5, 64)]]
    assert lines(figure, 0, "X") == [[(6, 73)]]
    assert [(1 - 1e-9) * y[1] for y, _ in lines(figure, 0, color=canvas.BLACK)] == pytest.approx([70, 70, 75])
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == pytest.approx([70.1, 70.1, 75.1, 65, 65, 70])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "$g_{1}$  75.00" in texts and "$g^e_{0,2}$" in texts


@pytest.mark.parametrize("after", [0, 3])
def test_no_label_of_a_peak_is_cut_at_the_right_edge(drawn: list[Figure], after: int) -> None:
    """A label that ends on 24.4 in place of 24.49 is a wrong number."""
    events: list[dict[str, Any]] = [{"event": "start", "miou": 0.24, "upper": 0.0, "lower": 0.05}]
    scores = [0.2449, *[0.24] * after]
    events += [{"event": "evaluate", "cycle": 0, "iteration": i, "miou": m} for i, m in enumerate([0.24] * 20 + scores)]
    events.append({"event": "peak", "cycle": 0, "iteration": 20, "miou": 0.2449, "model": "g1"})
    convergence.draw(events, "a run")
    (figure,) = drawn
    (label,) = (text for text in figure.axes[0].texts if "24.49" in text.get_text())
    box, star = label.get_window_extent(), figure.axes[0].transData.transform((21, 24.49))
    assert 0 < box.x1 < figure.bbox.x1 and box.x0 < star[0] < box.x1, "whole, and over its star"


def test_the_legend_is_inside_the_picture_and_above_the_curve(drawn: list[Figure]) -> None:
    events = journal()
    for event in events:
        if event["event"] in ("start", "evaluate"):
            event["untouched"] = event["miou"]
    events.append({"event": "evaluate", "cycle": 3, "iteration": 1, "miou": 0.7})
    events.append({"event": "cycle_end", "cycle": 3, "iteration": 1, "reason": "budget", "model": "ge1_0"})
    convergence.draw(events, "a run")
    (figure,) = drawn
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert len(labels) == 10 and {"end model: budget", "watched images, moved to the same start"} < {*labels}
    box = legend.get_window_extent()
    assert figure.axes[0].bbox.y1 < box.y0 and box.x0 > 0 and box.x1 < figure.bbox.x1


def test_an_upper_bound_of_zero_is_no_second_line(drawn: list[Figure]) -> None:
    for upper in (0.0, 0.001):
        convergence.draw([{**event, "upper": upper} if event["event"] == "start" else event for event in journal()], "")
    none, some = ([line for line in figure.axes[0].lines if line.get_color() == canvas.GREEN] for figure in drawn)
    assert [line.get_linestyle() for line in none] == ["None"] and len(some) == 4, (
        "the star, and a level for each cycle"
    )
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert r"start model, $\mu_s$ ($\beta_u$ = 0)" in legend and not any("mu_s + " in text for text in legend)


def test_buffer_and_discriminator_stand_under_their_cycle(drawn: list[Figure]) -> None:
    convergence.draw(journal(), "a run")
    boxes = [(p.get_x(), p.get_width(), p.get_y()) for p in drawn[0].axes[2].patches if p.get_alpha() is not None]
    assert boxes == [(0, 2, 0), (2, 3, 0), (2, 3, 1), (5, 1, 0), (5, 1, 1)]
    assert [t.get_text() for t in drawn[0].axes[2].texts][1:3] == ["$g_{0}$", "$g^e_{0,0}$"]
    # The kept epoch is the one of lowest loss, not the last one.
    kept = lines(drawn[0], 1, color=canvas.BLUE)
    assert kept == [[(0, 70), (2, 70)], [(2, 80), (5, 80)], [(5, 90), (6, 90)]]


def test_the_journal_may_say_which_epoch_was_kept(drawn: list[Figure]) -> None:
    events = journal()
    events.insert(4, {"event": "discriminator_end", "cycle": 0, "epochs": 2, "best": 2, "reason": "sufficient"})
    convergence.draw(events, "a run")
    assert lines(drawn[0], 1, color=canvas.BLUE)[0] == [(0, 99), (2, 99)]


def test_equal_journals_give_equal_bytes_whatever_the_users_style() -> None:
    events = json.loads(json.dumps(journal()))
    first = convergence.draw(events, "a run")
    with matplotlib.rc_context({"figure.dpi": 60, "font.size": 20, "lines.linewidth": 5}):
        assert convergence.draw(events, "a run") == first
    assert convergence.draw(events[:-3], "a run") != first
    assert Image.open(io.BytesIO(first)).width == 1200
    assert not any(word in first for word in (b"Software", b"matplotlib.org", b"tIME"))


@pytest.mark.parametrize("length", range(0, 22, 3))
def test_unfinished_runs_are_drawn_as_far_as_they_got(length: int) -> None:
    picture = np.asarray(Image.open(io.BytesIO(convergence.draw(journal()[:length], "a run"))))
    assert picture.shape[1] == 1200 and picture.std() > 1


def test_long_runs_stay_legible(drawn: list[Figure]) -> None:
    events: list[dict[str, Any]] = [{"event": "start", "miou": 0.5, "upper": 0.001, "lower": 0.05}]
    for cycle in range(60):
        events.append({"event": "buffer", "cycle": cycle - 1, "sets": [f"g{cycle}", f"ge{cycle}_0"]})
        events.append({"event": "evaluate", "cycle": cycle, "iteration": 1, "miou": 0.5 + cycle / 500})
        events.append({"event": "evaluate", "cycle": cycle, "iteration": 2, "miou": 0.01})
        end = {"event": "cycle_end", "cycle": cycle, "iteration": 2, "reason": "lower_bound", "model": f"ge{cycle}_0"}
        peak = {"event": "peak", "cycle": cycle, "iteration": 1, "miou": 0.5 + cycle / 500, "model": f"g{cycle + 1}"}
        events += [end, peak]
    convergence.draw(events, "a long run")
    axis = drawn[0].axes[0]
    labels = [text for text in axis.texts if text.get_text()]
    assert labels[-1].get_text() == "$g_{60}$  61.80" and len(labels) < 30
    # A collapse to 1 % doesn't press the rest of the curve flat.
    assert axis.get_ylim()[0] > 40


def test_names_as_in_figure_1() -> None:
    assert convergence.model_name("g12") == "$g_{12}$"
    assert convergence.model_name("ge1_10") == "$g^e_{1,10}$"
    assert convergence.model_name("mine") == "mine"


def test_null_scores_leave_a_gap(drawn: list[Figure]) -> None:
    events = journal()
    events[4]["miou"] = None
    convergence.draw(events, "a run")
    ((_, gap, _), *_) = lines(drawn[0], 0, "o")
    assert math.isnan(gap[1])


def test_a_discriminator_that_is_asked_about_places_is_drawn_by_places(drawn: list[Figure]) -> None:
    """Its pairs say nothing: it is not asked whether a map is real."""
    events = [{**event, "place_auc": 0.91} if event["event"] == "discriminator" else event for event in journal()]
    for told in (journal(), events):
        convergence.draw(told, "a run")
    labels = [figure.axes[1].get_ylabel() for figure in drawn]
    assert labels == ["D: pairs\nright (%)", "D: places\nright (%)"]
    heights = [{y for line in lines(figure, 1, color=canvas.BLUE) for _, y in line} for figure in drawn]
    assert heights == [{70.0, 80.0, 90.0}, {91.0}]
