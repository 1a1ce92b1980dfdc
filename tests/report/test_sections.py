"""A section of the page is one file, and its name in a list."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from load_tf.report import html, sections

MINE = '''
"""How often the run was stopped, as a newcomer would show it."""

from load_tf.report.markup import Markup, tag
from load_tf.report.stored import Run

TITLE = "Evaluations & more"


def draw(run: Run) -> Markup | None:
    """The number of evaluations, if there are any."""
    count = sum(event["event"] == "evaluate" for event in run.journal)
    return tag("p", f"<{count}> evaluations of {run.name}") if count else None
'''


@pytest.fixture(name="run_dir")
def _run_dir(tmp_path: Path) -> Path:
    (tmp_path / "config.gin").write_text("experiment.name = 'tiny'\n")
    events = [{"event": "evaluate", "cycle": 0, "iteration": i, "miou": 0.5} for i in (1, 2)]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return tmp_path


def addresses(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', page)


def test_a_newcomers_section_is_a_file_and_a_line(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = html.page(run_dir)
    (run_dir / "evaluations.py").write_text(MINE)
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(run_dir)])
    importlib.invalidate_caches()
    monkeypatch.setattr(html, "SECTIONS", (*html.SECTIONS, "evaluations"))
    after = html.page(run_dir)
    assert addresses(after) == [*addresses(before), "evaluations"]
    assert '<a href="#evaluations">Evaluations &amp; more</a>' in after
    assert '<section id="evaluations"><h2>Evaluations &amp; more</h2><p>&lt;2&gt; evaluations of tiny</p>' in after
    (run_dir / "journal.jsonl").write_text("")
    assert "evaluations" not in addresses(html.page(run_dir)), "nothing to show, no heading"
    sys.modules.pop("load_tf.report.sections.evaluations")


def test_every_file_is_in_the_list_once() -> None:
    files = {path.stem for path in Path(sections.__path__[0]).glob("*.py")} - {"__init__"}
    assert len(html.SECTIONS) == len(set(html.SECTIONS)) and set(html.SECTIONS) == files
    assert len({html.find(name).TITLE for name in html.SECTIONS}) == len(html.SECTIONS)


def test_the_sections_stand_in_the_lists_order(run_dir: Path) -> None:
    (run_dir / "environment.json").write_text('{"python": "3.11"}')
    assert addresses(html.page(run_dir)) == ["what", "config", "environment"]
