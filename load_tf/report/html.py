"""The report of a run as one page: `report/index.html`, which opens from disk and asks the network for nothing.

It is made of what stands in the run directory and of nothing else, so it can be made again at any time, also of a run
that is not finished.
"""

import importlib
import importlib.resources
from pathlib import Path
from typing import Protocol, cast

from load_tf.report.markup import Markup, join, tag
from load_tf.report.stored import Run, read
from load_tf.report.verdict import verdict


class Section(Protocol):
    """A section of the page: a module of `load_tf.report.sections`. Its file's name is its address on the page."""

    TITLE: str
    """Its heading, and its entry in the page's navigation."""

    def draw(self, run: Run) -> Markup | None:
        """What stands under the heading; None where the run has nothing to show, then the section is left out."""


SECTIONS = (
    "what",
    "table",
    "where",
    "walk",
    "looks",
    "images",
    "health",
    "times",
    "config",
    "environment",
)
"""In the page's order. Another one is a file of its own, and its name here."""

_NO_NETWORK = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""A browser then refuses every address that is not in the page."""


def page(run_dir: Path) -> str:
    """The report as HTML.

    Args:
      run_dir: a run's folder.

    Raises:
      UserError: as `load_tf.report.stored.read`.
    """
    run = read(run_dir)
    drawn = [(name, find(name).TITLE, find(name).draw(run)) for name in SECTIONS]
    there = [(name, title, body) for name, title, body in drawn if body is not None]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_NO_NETWORK),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{run.name} – LoAd"),
        tag("style", Markup(_resource("style.css"))),
    )
    body = tag(
        "body",
        tag("header", tag("p", "Lookahead adversarial semantic segmentation", class_="kind"), tag("h1", run.name),
            verdict(run.summary, run.journal)),
        tag("nav", *(tag("a", title, href=f"#{name}") for name, title, _ in there)),
        tag("main", *(tag("section", tag("h2", title), body, id=name) for name, title, body in there)),
        tag("script", Markup(_resource("script.js"))),
    )  # fmt: skip
    return join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en"), Markup("\n"))


def find(name: str) -> Section:
    """The section of a name."""
    return cast(Section, importlib.import_module(f"load_tf.report.sections.{name}"))


def _resource(name: str) -> str:
    return (importlib.resources.files("load_tf.report") / "page" / name).read_text(encoding="utf-8")
