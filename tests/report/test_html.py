"""The report's page: what stands in it, that nothing of it can be injected, and that it works in a real browser."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from load_tf.errors import UserError
from load_tf.randomness import generator
from load_tf.report import charts, html, model_card, pictures, words
from load_tf.report.markup import Markup, join, tag
from load_tf.report.qualitative import Row

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>alert(1)</script>\"'&"
COLOURS = ((0, 0, 0), (200, 30, 30), (30, 30, 200))
CLASSES = ("ground", EVIL, "sky, wide")


def rows() -> list[Row]:
    random = generator(3, "report")
    found = []
    for name, size in (("a", (40, 60)), (EVIL, (700, 300))):
        image = random.integers(0, 256, (*size, 3)).astype(np.uint8)
        truth = random.integers(0, 3, size).astype(np.uint8)
        truth[:5] = 255
        baseline = np.where(random.random(size) < 0.5, truth, 1).astype(np.uint8)
        load = np.where(random.random(size) < 0.5, truth, 2).astype(np.uint8)
        baseline[:5], load[:5] = 1, 2
        found.append(Row(name, image, truth, baseline, load))
    return found


def score(baseline: float, gain: float, low: float, high: float, images: int) -> dict[str, float]:
    return {
        "images": images,
        "baseline": baseline,
        "load": baseline + gain,
        "gain": gain,
        "gain_low": low,
        "gain_high": high,
    }


SUMMARY: dict[str, Any] = {
    "untouched": score(60.0, -1.5, -2.0, -1.0, 30),
    "holdout": score(61.0, 0.5, 0.25, 0.75, 20),
    "full": score(60.5, -0.004, -1.0, 1.0, 50),
    "classes": {
        "ground": [90.0, 91.25, 1.25, 0.5, 2.0, None, None],
        EVIL: [20.0, 18.0, -2.0, -3.0, -1.0, None, None],
        "sky, wide": [55.0, 55.0, 0.0, -1.0, 1.0, None, None],
        "never": [None] * 7,
        "mIoU": [55.0, 54.75, -0.25, -1.0, 1.0, None, None],
    },
    "settings": {"dataset": EVIL, "crop": [49, 65], "flip": False, "seed": 7},
}

JOURNAL: list[dict[str, Any]] = [
    {"event": "stage_one", "epoch": 1, "epochs": 1, "loss": 0.5, "miou": 0.6, "best": 0.6},
    {"event": "start", "miou": 0.61, "upper": 0.001, "lower": 0.05, "model": "g0"},
    {"event": "buffer", "cycle": -1, "sets": ["g0"]},
    {"event": "discriminator", "cycle": 0, "epoch": 1, "training_loss": 0.7, "loss": 0.69, "real_accuracy": 0.5,
     "fake_accuracy": 0.6, "pair_accuracy": 0.7, "margin": 0.1},
    {"event": "discriminator_end", "cycle": 0, "epochs": 1, "best": 1, "reason": "max_epochs"},
    {"event": "update", "cycle": 0, "iteration": 1, "finite": True, "loss": -0.5, "gradient_norm": 3.0,
     "sampled_share": 0.25, "changed_share": 0.125, "fooled_share": 0.5, "distance": 1.5},
    {"event": "evaluate", "cycle": 0, "iteration": 1, "miou": 0.615},
    {"event": "update", "cycle": 0, "iteration": 2, "finite": True, "loss": None, "gradient_norm": 4.0,
     "sampled_share": 0.25},
    {"event": "evaluate", "cycle": 0, "iteration": 2, "miou": 0.60},
    {"event": "warning", "cycle": 0, "text": f"the discriminator is at chance {EVIL}"},
    {"event": "warning", "cycle": 0, "text": f"the discriminator is at chance {EVIL}"},
    {"event": "cycle_end", "cycle": 0, "iteration": 2, "reason": "patience", "miou": 0.60, "model": "ge0_0"},
    {"event": "peak", "cycle": 0, "iteration": 1, "miou": 0.615, "model": "g1"},
    {"event": "buffer", "cycle": 0, "sets": ["g1", "ge0_0"]},
    {"event": "something_new", "cycle": 0, "value": 1},
    {"event": "evaluate", "cycle": 1, "iteration": 1, "miou": 0.50},
    {"event": "cycle_end", "cycle": 1, "iteration": 1, "reason": "lower_bound", "miou": 0.50, "model": "ge1_0"},
]  # fmt: skip


@pytest.fixture(name="run_dir")
def _run_dir(tmp_path: Path) -> Path:
    run_dir = tmp_path / "run"
    (run_dir / "report").mkdir(parents=True)
    (run_dir / "config.gin").write_text(f"experiment.name = {EVIL!r}\n")
    (run_dir / "operative_config.gin").write_text(f"# {EVIL}\nLookahead.patience = 2\n")
    (run_dir / "environment.json").write_text(json.dumps({"tensorflow": "2.20.0", "devices": ["/device:CPU:0"]}))
    (run_dir / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in JOURNAL))
    timings = [("evaluation", 90.0, 512.0), ("commit", 2.5, 640.0), ("evaluation", 30.0, 600.0)]
    lines = [{"phase": phase, "seconds": seconds, "peak_mib": peak} for phase, seconds, peak in timings]
    (run_dir / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run_dir / "report/summary.json").write_text(json.dumps(SUMMARY))
    (run_dir / "report/pictures.json").write_text(pictures.encode(rows(), CLASSES, COLOURS))
    return run_dir


class Reader(HTMLParser):
    """Elements with their attributes, and the words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        while self.open and self.open.pop() != name:
            pass

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("b", "<i>", Markup("<i></i>"), None, 2.5) == "<b>&lt;i&gt;<i></i>2.5</b>"
    assert tag("img", alt='a"b<', hidden=True, title=None, data_value=1.0, class_="x") == (
        '<img alt="a&quot;b&lt;" hidden data-value="1" class="x">'
    )
    assert join("&", tag("p")) == "&amp;<p></p>"


def test_ticks_are_round_and_inside() -> None:
    assert charts.ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert charts.ticks(0.4, 0.93) == [0.4, 0.6, 0.8]
    assert charts.ticks(-2.3, 1.1, 3) == [-2, 0]
    assert charts.ticks(5, 5) == [5]


def test_a_curve_is_where_its_values_are_and_has_gaps() -> None:
    line = charts.Line("loss", "blue", [1.0, 2.0, 3.0, 4.0], [0.0, 10.0, float("nan"), 5.0])
    x, y = charts.Scale(0, 4, 100, 500), charts.Scale(0, 10, 200, 0)
    drawn = charts.curve(line, x, y)
    assert re.findall(r'polyline points="([^"]+)"', drawn) == ["200.0,200.0 300.0,0.0"]
    assert re.findall(r'cx="([^"]+)" cy="([^"]+)"', drawn) == [("200", "200"), ("300", "0"), ("500", "100")]
    assert "<title>loss, 2: 10</title>" in drawn


def test_the_page_says_what_the_files_say(run_dir: Path) -> None:
    text = Reader(html.page(run_dir)).text()
    assert "mIoU 60.00 → 58.50 on 30 untouched images: −1.50 points , a loss that the interval keeps below zero" in text
    assert "hold-out, 20 +0.50" in text and "all evaluated images, 50 0.00" in text, "a rounded zero has no sign"
    assert "ground 90.00 91.25 +1.25 +0.50 to +2.00" in text
    assert "paper baseline" not in text, "a column that nothing is in"
    assert "crop 49 × 65" in text and "flip no" in text
    assert "cycles 2; 1 ended when the cycle's iterations were used up, 1 ended when it fell to the lower bound" in text
    assert "1 (cycle 0, iteration 1: 61.50)" in text
    assert "the discriminator is at chance" in text and "(2 times)" in text
    assert "cycle 1, iteration, 3: 50.00 %" in text and "peak in cycle 0, iteration 1: 61.50 %" in text
    assert "maps taken for real, 1: 50" in text and "Distance of the weights" in text
    assert "evaluation 2 min 0 s 98 % 600 MiB" in text and "commit 2.5 s 2 % 640 MiB" in text
    assert "Lookahead.patience = 2" in text and "2.20.0" in text


WHERE: dict[str, Any] = {
    "images": 30,
    "measures": [
        {"name": "mIoU within 3 pixels of a boundary", "baseline": 40.0, "load": 42.0, "gain": 2.0, "gain_low": 1.0,
         "gain_high": 3.0, "pixels": 12.34},
        {"name": "boundary F1", "baseline": 50.0, "load": 49.5, "gain": -0.5, "gain_low": None, "gain_high": None},
        {"name": "mIoU elsewhere", "baseline": None, "load": None, "gain": None, "gain_low": None, "gain_high": None,
         "pixels": 0.0},
    ],
    "classes": {EVIL: {"boundary_f1": [None, 0.0], "components": [7, 12, 9], "proportion": [10.0, 12.5, 11.0]}},
    "notes": [f"Void counts nowhere. {EVIL}"],
}  # fmt: skip


def test_where_the_gain_is(run_dir: Path) -> None:
    before = Reader(html.page(run_dir)).text()
    assert "Where the gain is" not in before, "a run of a version that did not measure it"
    (run_dir / "report/summary.json").write_text(json.dumps({**SUMMARY, "where": WHERE}))
    text = Reader(html.page(run_dir)).text()
    assert "Over the 30 untouched images, in per cent. Void counts nowhere. <script>" in text
    assert "mIoU within 3 pixels of a boundary 12.3 % 40.00 42.00 +2.00 +1.00 to +3.00" in text
    assert "boundary F1 50.00 49.50 −0.50 mIoU elsewhere 0.0 % By class" in text
    assert f"{EVIL} 0.00 7 12 9 10.00 12.50 11.00" in text
    (run_dir / "report/summary.json").write_text(json.dumps({**SUMMARY, "where": {**WHERE, "images": 50}}))
    assert "Over the 50 evaluated images" in Reader(html.page(run_dir)).text()


def test_nothing_of_a_run_becomes_a_tag_or_an_address(run_dir: Path) -> None:
    page = html.page(run_dir)
    reader = Reader(page)
    assert [name for name, _ in reader.elements].count("script") == 1
    assert reader.text().count("<script>alert(1)</script>") >= 5, "name, class, image, setting, warning and config"
    addresses = [v for _, a in reader.elements for k, v in a.items() if k in ("src", "href") and v]
    assert len(addresses) > 10 and all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not [k for _, attributes in reader.elements for k in attributes if k.startswith("on")]
    assert not re.search(r"https?://", page), "no network"


def test_only_gains_whose_interval_keeps_off_zero_are_coloured(run_dir: Path) -> None:
    cells = [
        a
        for name, a in Reader(html.page(run_dir)).elements
        if name == "td" and a.get("class") in ("better", "worse", "same")
    ]
    assert [(cell["data-value"], cell["class"]) for cell in cells] == [
        ("1.25", "better"), ("-2", "worse"), ("0", "same"), ("-0.25", "same"),
    ]  # fmt: skip


def test_bars_have_the_scale_of_classes_whose_interval_has_a_length(run_dir: Path) -> None:
    """Five classes that no model ever gets right do not press the one gain there is into half a dot."""
    zeros = {f"nothing {k}": [0.0, 0.0, 0.0, 0.0, 0.0, None, None] for k in range(5)}
    gain = {
        "road": [50.0, 50.02, 0.02, 0.01, 0.03, None, None],
        "mIoU": [10.0, 10.004, 0.004, 0.002, 0.006, None, None],
    }
    (run_dir / "report/summary.json").write_text(json.dumps({**SUMMARY, "classes": {**zeros, **gain}}))
    bars = [
        a for name, a in Reader(html.page(run_dir)).elements if name == "circle" and "gain" in (a.get("class") or "")
    ]
    assert [float(bar["cx"] or 0) for bar in bars] == pytest.approx(
        [*[60] * 5, 60 + 57 * 2 / 3, 60 + 57 * 0.4 / 3], abs=0.01
    )


def test_a_class_that_is_never_predicted_is_no_score_of_zero(run_dir: Path) -> None:
    classes = {"pole": [0.0, 0.0, 0.0, 0.0, 0.0, None, None], "sign": [0.0, 3.0, 3.0, 1.0, 5.0, None, None]}
    never = {"baseline": ["pole", "sign"], "load": []}
    (run_dir / "report/summary.json").write_text(json.dumps({**SUMMARY, "classes": classes, "never_predicted": never}))
    text = Reader(html.page(run_dir)).text()
    assert "pole never predicted 0.00 0.00" in text and "sign never predicted 3.00 +3.00" in text
    (run_dir / "report/summary.json").write_text(json.dumps({**SUMMARY, "classes": classes}))
    assert "pole 0.00 0.00 0.00" in Reader(html.page(run_dir)).text()


def test_a_start_that_is_not_converged_is_warned_of(run_dir: Path) -> None:
    summary = {
        **SUMMARY,
        "start": {"warning": f"the start is far from converged {EVIL}"},
        "neighbours": {"warning": "alike"},
    }
    (run_dir / "report/summary.json").write_text(json.dumps(summary))
    page = html.page(run_dir)
    assert '<p class="warning">the start is far from converged &lt;script&gt;' in page
    assert '<p class="warning">alike</p>' in page


def test_the_data_of_a_call_are_named(run_dir: Path) -> None:
    (run_dir / "report/summary.json").write_text(json.dumps({**SUMMARY, "settings": {"dataset": "pairs"}}))
    assert "dataset image and label pairs, given in Python" in Reader(html.page(run_dir)).text()


@pytest.mark.parametrize("upper", [0.0, 0.001])
def test_an_upper_bound_of_zero_is_no_second_line(run_dir: Path, upper: float) -> None:
    events = [{**event, "upper": upper} if event["event"] == "start" else event for event in JOURNAL]
    (run_dir / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    page = html.page(run_dir)
    cycles = 2
    assert page.count('class="bound green dashed"') == (cycles if upper else 0)
    assert page.count('class="bound black"') == cycles
    assert ("upper bound, +0.1: a peak has to pass it" in page) == bool(upper)
    assert ("start model, μs: a peak has to pass it" in page) == (not upper)


@pytest.mark.parametrize(("iterations", "anchor"), [(1, "middle"), (0, "end")])
def test_the_label_of_a_peak_at_the_end_is_not_cut(run_dir: Path, iterations: int, anchor: str) -> None:
    """A peak in the last iteration has its label end inside the picture, which is 960 wide."""
    rest = [{"event": "evaluate", "cycle": 0, "iteration": 2, "miou": 0.6}] * iterations
    peak = {"event": "peak", "cycle": 0, "iteration": 1, "miou": 0.6249, "model": "g1"}
    events = [JOURNAL[1], {"event": "evaluate", "cycle": 0, "iteration": 1, "miou": 0.6249}, *rest, peak]
    (run_dir / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    label = re.search(r"<text ([^>]*)>g<tspan[^>]*>1</tspan> 62\.49</text>", html.page(run_dir))
    assert label and f'class="{anchor}"' in label[1]
    x = re.search(r'x="([\d.]+)"', label[1])
    assert x and float(x[1]) + (0 if anchor == "end" else 40) <= 960


def luminance(colour: str) -> float:
    """Of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_words_can_be_read_on_what_they_stand_on() -> None:
    """WCAG's 4.5 : 1, on light and on dark paper."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#c4420c", "#fde6dc") == pytest.approx(4.24, abs=0.01), "what the red was"
    style = (ROOT / "load_tf/report/page/style.css").read_text()
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split("@media")[:2])
    for colours in (light, dark):
        for text, cell in (("green", "better"), ("red", "worse"), ("red", "card"), ("green", "card"), ("soft", "card"),
                            ("ink", "paper"), ("soft", "band")):  # fmt: skip
            assert contrast(colours[text], colours[cell]) >= 4.5, (text, cell)


def test_pictures_are_small_and_show_the_maps(run_dir: Path) -> None:
    found = json.loads((run_dir / "report/pictures.json").read_text())
    first, large = found["images"]
    assert (large["size"], [c["name"] for c in found["classes"]]) == ([700, 300], list(CLASSES))
    original = rows()[0]
    shown = Image.open(io.BytesIO(base64.b64decode(first["load_map"].partition(",")[2])))
    assert (np.array(shown) == original.load).all() and shown.getpalette()[3:9] == [200, 30, 30, 30, 30, 200]
    truth = Image.open(io.BytesIO(base64.b64decode(first["truth_map"].partition(",")[2]))).convert("RGBA")
    assert np.array(truth)[:5, :, 3].max() == 0 and np.array(truth)[5:, :, 3].min() == 255, "void is transparent"
    assert Image.open(io.BytesIO(base64.b64decode(large["photo"].partition(",")[2]))).size == (219, 512)
    right = [(m == original.truth)[5:].mean() for m in (original.baseline, original.load)]
    assert first["share"] == pytest.approx(100 * (right[1] - right[0]))


def test_a_run_that_goes_on_has_a_page_of_what_there_is(run_dir: Path) -> None:
    for name in ("report/summary.json", "report/pictures.json", "operative_config.gin"):
        (run_dir / name).unlink()
    with open(run_dir / "journal.jsonl", "a") as file:
        file.write('{"event": "evaluate", "cyc')
    text = Reader(html.page(run_dir)).text()
    assert "Not finished: 2 cycles so far" in text and "The walk" in text
    assert "IoU by class" not in text and "Best and worst images" not in text


def test_a_page_of_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "config.gin").write_text("")
    text = Reader(html.page(tmp_path)).text()
    assert "Not finished: 0 cycles" in text and "The walk" not in text


def test_damage_is_named(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.gin"):
        html.page(tmp_path / "nowhere")
    for name, content in (
        ("report/pictures.json", '{"images": [{"photo": "http://example.org/x.png"}], "classes": []}'),
        ("report/summary.json", "[1, 2"),
        ("journal.jsonl", "{}\nnot json\n{}\n"),
    ):
        before = (run_dir / name).read_text()
        (run_dir / name).write_text(content)
        with pytest.raises(UserError, match=Path(name).name):
            html.page(run_dir)
        (run_dir / name).write_text(before)


def test_the_command_writes_the_page(run_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "load_tf.report"]
    done = subprocess.run([*command, f"--run_dir={run_dir}"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (run_dir / "report/index.html").read_text() == html.page(run_dir)
    for flags in ([f"--run_dir={tmp_path}"], []):
        refused = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1


def test_durations_and_signs() -> None:
    assert [words.duration(s) for s in (0.04, 59.9, 60, 3599.6, 12_000)] == [
        "0.0 s", "59.9 s", "1 min 0 s", "1 h 0 min", "3 h 20 min",
    ]  # fmt: skip
    assert [words.signed(v) for v in (0.004, -0.004, 1.005, -2.0)] == ["0.00", "0.00", "+1.00", "−2.00"]


BEFORE = """<script>
window.problems = [];
addEventListener("error", (event) => problems.push(String(event.message || event.target.src)), true);
addEventListener("securitypolicyviolation", (event) => problems.push("blocked " + event.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => problems.push(words.join(" "));
</script>"""

AFTER = """<script>
addEventListener("load", () => {
  const found = {width: innerWidth, overflow: document.documentElement.scrollWidth, orders: [], sorts: []};
  found.dark = getComputedStyle(document.body).backgroundColor;
  const headings = [...document.querySelectorAll("table.sortable thead th")];
  const names = () => [...document.querySelectorAll("table.sortable tbody th")].map((cell) => cell.textContent);
  found.headings = headings.map((heading) => heading.textContent);
  const click = (title) => {
    headings.find((heading) => heading.textContent === title).querySelector("button").click();
    found.orders.push(names());
    found.sorts.push(headings.map((heading) => heading.getAttribute("aria-sort")).filter(Boolean));
  };
  for (const title of ["gain", "gain", "gain", "class", "baseline"]) click(title);
  found.foot = document.querySelector("table.sortable tfoot th").textContent;
  const stack = document.querySelector(".stack");
  const clip = (name) => getComputedStyle(stack.querySelector(name)).clipPath;
  const cut = stack.querySelector(".cut");
  found.clips = [];
  for (const place of ["50", "20"]) {
    cut.value = place;
    cut.dispatchEvent(new Event("input"));
    found.clips.push([clip(".baseline-map"), clip(".load-map")]);
  }
  const truth = document.querySelector(".truth");
  found.truth = [getComputedStyle(stack.querySelector(".truth-map")).visibility];
  truth.click();
  found.truth.push(getComputedStyle(stack.querySelector(".truth-map")).visibility);
  const opacity = document.getElementById("opacity");
  opacity.value = 30;
  opacity.dispatchEvent(new Event("input"));
  found.opacity = getComputedStyle(stack.querySelector(".truth-map")).opacity;
  found.pictures = [...document.images].map((image) => image.naturalWidth);
  found.problems = problems;
  const result = document.createElement("pre");
  result.id = "found";
  result.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(found))));
  document.body.append(result);
});
</script>"""


def browse(page: str, folder: Path, *, width: int, dark: bool = False) -> dict[str, Any]:
    """Opens a page in headless Chromium, clicks through it, and returns what the script above found."""
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if browser is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium) to open the report in a browser")
    file = folder / f"page{width}.html"
    file.write_text(page.replace("</title>", "</title>" + BEFORE, 1).replace("</body>", AFTER + "</body>", 1))
    done = subprocess.run(
        [
            browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--enable-logging=stderr",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=4000", "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="found">([^<]*)</pre>', done.stdout)
    assert found, f"the page's script did not end: {done.stderr[-2000:]}"
    result = json.loads(base64.b64decode(found[1]))
    result["console"] = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return dict(result)


def test_in_a_browser_it_sorts_slides_and_complains_of_nothing(run_dir: Path, tmp_path: Path) -> None:
    found = browse(html.page(run_dir), tmp_path, width=1200)
    assert found["problems"] == [] and found["console"] == []
    assert found["headings"] == ["class", "baseline", "LoAd", "gain", "95\N{NO-BREAK SPACE}% interval"]
    given = ["ground", EVIL, "sky, wide", "never"]
    assert found["orders"] == [
        ["ground", "sky, wide", EVIL, "never"],
        [EVIL, "sky, wide", "ground", "never"],
        given,
        [EVIL, "ground", "never", "sky, wide"],
        ["ground", "sky, wide", EVIL, "never"],
    ]
    assert found["sorts"] == [["descending"], ["ascending"], [], ["ascending"], ["descending"]]
    assert found["foot"] == "mIoU", "the mean stays at the bottom"
    (half_left, half_right), (left, right) = found["clips"]
    assert "50%" in half_right and "20%" in right and half_left != left
    assert found["truth"] == ["hidden", "visible"] and found["opacity"] == "0.3"
    assert len(found["pictures"]) == 8 and min(found["pictures"]) >= 60, "every picture was decoded"
    assert found["dark"] == "rgb(255, 255, 255)"


def test_in_a_browser_it_is_dark_and_narrow_where_asked(run_dir: Path, tmp_path: Path) -> None:
    found = browse(html.page(run_dir), tmp_path, width=390, dark=True)
    assert found["problems"] == [] and found["console"] == []
    assert found["dark"] != "rgb(255, 255, 255)"
    assert found["width"] <= 500 and found["overflow"] <= found["width"], "a phone need not scroll sideways"


def test_the_browser_test_notices_a_broken_page(run_dir: Path, tmp_path: Path) -> None:
    """The negative control: a script that throws, and a picture from elsewhere."""
    broken = html.page(run_dir).replace(
        "</body>", "<img src='https://example.org/x.png'><script>nothing()</script></body>"
    )
    found = browse(broken, tmp_path, width=1200)
    assert any("nothing" in problem for problem in found["problems"])
    assert any("example.org" in problem for problem in found["problems"])


def test_the_model_card_says_what_the_model_knows_and_how_good_it_is(run_dir: Path) -> None:
    text = model_card.card(run_dir)
    lines = text.splitlines()
    assert "| 0 | ground | 91.25 |" in lines and "| 3 | never | - |" in lines
    assert "| untouched images | 30 | 60.00 | 58.50 | −1.50 | −2.00 to −1.00 |" in lines
    # Classes, rows of the scores, and their four headings: no name of the user's has made another one.
    assert sum(line.startswith("| ") for line in lines) == 4 + 3 + 2
    assert "**Warning**" not in text
    told = {
        **SUMMARY,
        "start": {"warning": "far from converged"},
        "looks": {"warnings": ["does not speak for the rest"]},
    }
    told["classes"] = {"a|b": SUMMARY["classes"]["ground"]}
    told["trained_on"] = {"images": 26, "unlabelled": 183}
    (run_dir / "report/summary.json").write_text(json.dumps(told))
    text = model_card.card(run_dir)
    assert "**Warning**: far from converged" in text and "**Warning**: does not speak for the rest" in text
    assert "| 0 | a\\|b | 91.25 |" in text
    assert "* trained on: 26 images with labels, and 183 without labels" in text
