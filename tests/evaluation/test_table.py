"""Table 1 in its three forms, and the scores of summary.json."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from load_tf.evaluation.paper import TABLE_1, VOC_CLASS_NAMES
from load_tf.evaluation.table import summary, table1

HEADER = "class,baseline,load,gain,gain_low,gain_high,paper_baseline,paper_load"
NAMES = ("road", "sky, clear", "never")


def two_models() -> tuple[np.ndarray, np.ndarray]:
    """Four equal images of 12 pixels: so intervals are points. Class 2 is nowhere."""
    baseline = np.zeros((4, 3, 3), np.int64)
    baseline[:, 0, 0], baseline[:, 0, 1], baseline[:, 1, 0], baseline[:, 1, 1] = 3, 1, 2, 6
    load = np.zeros((4, 3, 3), np.int64)
    load[:, 0, 0], load[:, 0, 1], load[:, 1, 0], load[:, 1, 1] = 4, 0, 3, 5
    return baseline, load


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_holds_hand_computed_per_cents() -> None:
    text = table1(NAMES, *two_models(), draws=50).csv()
    assert text.splitlines()[0] == HEADER and text.endswith("\n")
    road, sky, never, mean = rows(text)
    # Baseline: 3/6 and 6/9; LoAd: 4/7 and 5/8.
    assert [road[c] for c in HEADER.split(",")] == ["road", "50.00", "57.14", "7.14", "7.14", "7.14", "", ""]
    assert (sky["class"], sky["baseline"], sky["load"], sky["gain"]) == ("sky, clear", "66.67", "62.50", "-4.17")
    assert set(never.values()) == {"never", ""}
    assert (mean["class"], mean["baseline"], mean["load"], mean["gain"]) == ("mIoU", "58.33", "59.82", "1.49")


def test_a_model_alone_fills_the_baseline_only() -> None:
    voc = np.random.default_rng(0).integers(0, 9, (5, 21, 21))
    for row in rows(table1(VOC_CLASS_NAMES, voc).csv()):
        assert row["baseline"] and not any(row[column] for column in HEADER.split(",")[2:])


def test_paper_columns_stand_beside_vocs_classes_only(shared: Path) -> None:
    voc = np.random.default_rng(0).integers(0, 9, (5, 21, 21))
    found = rows(table1(VOC_CLASS_NAMES, voc, voc, draws=5).csv())
    with open(shared / "paper/table1.csv", newline="") as file:
        printed = list(csv.DictReader(file))
    assert [(r["class"], r["paper_baseline"], r["paper_load"]) for r in found] == [
        (r["class"], r["deeplabv3plus"], r["deeplabv3plus_load"]) for r in printed
    ]
    other = rows(table1(VOC_CLASS_NAMES[::-1], voc, voc, draws=5).csv())
    assert not any(row["paper_baseline"] or row["paper_load"] for row in other)


@pytest.mark.parametrize("column", [0, 1])
def test_the_papers_classes_average_to_its_miou(column: int) -> None:
    assert np.mean([TABLE_1[name][column] for name in VOC_CLASS_NAMES]) == pytest.approx(
        TABLE_1["mIoU"][column], abs=0.005
    )


def test_markdown_is_aligned_and_shows_signs_and_intervals() -> None:
    text = table1(("a|b", "sky", "never"), *two_models(), draws=50).markdown(["**Table 1.** A caption."])
    lines = text.splitlines()
    assert lines[:2] == ["**Table 1.** A caption.", ""]
    assert len({len(line) for line in lines[2:]}) == 1, "columns should line up"
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "class",
        "baseline",
        "LoAd",
        "gain",
        "95 % interval",
    ]
    assert "a\\|b" in lines[4] and "+7.14" in lines[4] and "[+7.14, +7.14]" in lines[4]
    assert "-4.17" in lines[5] and "**+1.49**" in lines[7]


def test_terminal_rendering_separates_the_mean() -> None:
    lines = table1(NAMES, *two_models(), draws=50).text().splitlines()
    assert lines[-1].split()[:4] == ["mIoU", "58.33", "59.82", "+1.49"] and set(lines[-2]) == {"-", " "}
    assert "paper" not in lines[0]


def test_no_negative_zero() -> None:
    baseline, _ = two_models()
    baseline[0, 0, 0] = 100_000_000
    load = baseline.copy()
    load[0, 0, 0] -= 1
    load[0, 0, 1] += 1
    assert "-0.00" not in table1(NAMES, baseline, load, draws=20).markdown().replace("**", "")


def test_summary_separates_holdout_and_untouched() -> None:
    baseline, load = two_models()
    load[1:] = baseline[1:]
    scores = summary(baseline, load, [0], draws=100)
    assert [scores[part]["images"] for part in ("full", "holdout", "untouched")] == [4, 1, 3]
    assert scores["holdout"]["gain"] == pytest.approx(100 * ((4 / 7 + 5 / 8) - (3 / 6 + 6 / 9)) / 2)
    assert scores["untouched"]["gain"] == 0 and scores["untouched"]["load"] == pytest.approx(58.3333, abs=1e-3)
    assert 0 < scores["full"]["gain"] < scores["holdout"]["gain"]


def test_summary_of_a_model_alone_and_of_an_empty_part() -> None:
    baseline, load = two_models()
    scores = summary(baseline, None, [])
    assert scores["full"] == {
        "images": 4, "baseline": pytest.approx(58.3333, abs=1e-3), "load": None, "gain": None, "gain_low": None,
        "gain_high": None, "groups": None,
    }  # fmt: skip
    columns = ("groups", "baseline", "load", "gain", "gain_low", "gain_high")
    assert scores["holdout"] == {"images": 0} | dict.fromkeys(columns)
    assert summary(baseline, load, range(4), draws=5)["untouched"]["load"] is None


def test_what_an_interval_rests_on_is_said() -> None:
    assert table1(NAMES, *two_models(), draws=50).notes == (
        "95 % interval: paired bootstrap over images as independent.",
    )
    grouped = table1(NAMES, *two_models(), groups=("a", "a", "b", "c"), draws=50)
    assert grouped.notes == ("95 % interval: paired bootstrap over 3 groups of images.",)
    scores = summary(*two_models(), [0, 2], groups=("a", "a", "b", "c"), draws=50)
    assert [scores[part]["groups"] for part in ("full", "holdout", "untouched")] == [3, 2, 2]
    one = summary(*two_models(), [2], groups=("a", "a", "b", "c"), draws=50)["holdout"]
    assert (one["groups"], one["gain_low"]) == (1, None) and one["gain"] == pytest.approx(1.49, abs=0.01)
    assert table1(NAMES, two_models()[0]).notes == ()


def test_a_predicted_class_without_truth_is_no_part_of_the_gain_and_the_table_says_so() -> None:
    baseline, load = two_models()
    baseline[0, 0, 1] -= 1
    baseline[0, 0, 2] += 1
    table = table1(NAMES, baseline, load, draws=50)
    _, _, never, mean = rows(table.csv())
    assert (never["baseline"], never["load"], never["gain"], never["gain_low"]) == ("0.00", "", "", "")
    # By hand: road 12/24, now without one pixel that was taken for it, sky 24/35; the printed mean has a zero in it.
    assert float(mean["baseline"]) == pytest.approx(100 * (12 / 24 + 24 / 35 + 0) / 3, abs=0.01)
    assert float(mean["gain"]) == pytest.approx(100 * (4 / 7 + 5 / 8 - 12 / 24 - 24 / 35) / 2, abs=0.01)
    assert len(table.notes) == 2 and "lacks never, predicted" in table.notes[1]


def test_wrong_number_of_names() -> None:
    with pytest.raises(ValueError, match="2 class names"):
        table1(("a", "b"), *two_models())
