"""The line of an iteration: where the game stands, and how long it may still take."""

import pytest

from load_tf.algorithm.lookahead import Lookahead
from load_tf.report.terminal import Terminal

START = {"event": "start", "miou": 0.7, "upper": 0.001, "lower": 0.05, "model": "g0"}


class Clock:
    """Every iteration takes 30 s: 10 for the update, 20 for the hold-out."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def lines(terminal: Terminal, clock: Clock, iterations: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    for iteration in range(1, iterations + 1):
        terminal.hear(
            {"event": "update", "cycle": 0, "iteration": iteration, "finite": True, "loss": -0.25, "gradient_norm": 2.0,
             "fooled_share": 0.4, "changed_share": 0.0123, "distance": 2e-4}
        )  # fmt: skip
        clock.now += 30
        terminal.hear({"event": "evaluate", "cycle": 0, "iteration": iteration, "miou": 0.71})
    return [line for line in capsys.readouterr().out.splitlines() if "iteration" in line]


def test_a_look_that_stopped_says_what_it_is_an_estimate_from(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(Lookahead(patience=50, max_iterations=200, race=0.01), Clock())
    terminal.hear(START)
    terminal.hear({"event": "evaluate", "cycle": 0, "iteration": 1, "miou": 0.66, "images": 64})
    assert "hold-out mIoU 66.00 by 64 images, -4.00 (" in capsys.readouterr().out


def test_the_line_says_score_bounds_health_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    terminal = Terminal(Lookahead(patience=50, max_iterations=200), clock)
    terminal.hear(START)
    terminal.hear(
        {"event": "discriminator", "cycle": 0, "epoch": 1, "training_loss": 0.6, "loss": 0.5, "real_accuracy": 0.8,
         "fake_accuracy": 0.7, "pair_accuracy": 0.83}
    )  # fmt: skip
    last = lines(terminal, clock, 2, capsys)[-1]
    assert last == (
        "[  1:00] cycle 0, iteration 2: hold-out mIoU 71.00, +1.00 (bounds 65.00, 70.10), loss -0.250, gradient 2, "
        "fooled 40%, labels changed 1.23%, moved 2.0e-04, pairs 83%, cycle 24:00 more at the most, run 1 h 39 min"
    )


def test_a_discriminator_that_is_asked_about_places_is_told_by_places(capsys: pytest.CaptureFixture[str]) -> None:
    """Its pairs say nothing: it is not asked whether a map is real."""
    clock = Clock()
    terminal = Terminal(None, clock)
    terminal.hear(
        {"event": "discriminator", "cycle": 0, "epoch": 1, "training_loss": 0.6, "loss": 0.5, "real_accuracy": 0.8,
         "fake_accuracy": 0.7, "pair_accuracy": 0.35, "place_auc": 0.914}
    )  # fmt: skip
    epoch = capsys.readouterr().out
    (line,) = lines(terminal, clock, 1, capsys)
    assert "places 0.914" in epoch and "places 91%" in line
    assert "pairs" not in epoch + line


def test_what_is_not_known_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    (line,) = lines(Terminal(None, clock), clock, 1, capsys)
    assert "bounds" not in line and "pairs" not in line and "at the most" not in line


def test_a_resumed_run_counts_what_was_done_and_paces_by_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    terminal = Terminal(Lookahead(patience=50, max_iterations=20), clock)
    terminal.remember(START)
    for iteration in range(1, 10):
        terminal.remember({"event": "evaluate", "cycle": 0, "iteration": iteration, "miou": 0.7})
    (line,) = lines(terminal, clock, 1, capsys)
    assert line.endswith("cycle 24:30 more at the most, run 5:00")


@pytest.mark.parametrize(
    ("kept_for", "said"),
    [
        ({"kept_for": "sufficient_accuracy"}, "epoch 4 is kept: it is accurate enough"),
        ({"kept_for": "pair_accuracy"}, "epoch 4 is kept: its pair accuracy is the highest"),
        ({}, "epoch 4 is kept"),
    ],
)
def test_the_line_says_which_epoch_is_kept_and_why(
    kept_for: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last one is of a journal that doesn't say."""
    end = {"event": "discriminator_end", "cycle": 0, "epochs": 6, "best": 4, "reason": "max_epochs", **kept_for}
    Terminal(None, Clock()).hear(end)
    assert capsys.readouterr().out.endswith(f"discriminator: its epochs are used up; {said}\n")
