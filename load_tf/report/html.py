"""The report of a run as one page: `report/index.html`, which opens from disk and asks the network for nothing.

It is made of what stands in the run directory and of nothing else, so it can be made again at any time, also of a run
that is not finished.
"""

import ast
import dataclasses
import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

from load_tf.errors import UserError
from load_tf.report import looks, pictures, sections
from load_tf.report.markup import Markup, join, tag

_NO_NETWORK = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""A browser then refuses every address that is not in the page."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run directory holds for people.

    Attributes:
      name: of the experiment.
      journal: its events.
      summary: `report/summary.json`; empty in a run that is not finished.
      pictures: images before and after, as `load_tf.report.pictures.decode` gives them; no images if there are none.
      config: what was run, `operative_config.gin` or, before it is there, `config.gin`.
      environment: `environment.json`.
      timings: lines of `timings.jsonl`.
    """

    name: str
    journal: list[dict[str, Any]]
    summary: dict[str, Any]
    pictures: dict[str, Any]
    config: str
    environment: dict[str, Any]
    timings: list[dict[str, Any]]


def read(run_dir: Path) -> Run:
    """Reads a run directory, finished or not.

    Raises:
      UserError: if there is no run, or a file of it is damaged.
    """
    if not (run_dir / "config.gin").is_file():
        raise UserError(f"{run_dir} holds no run: there is no config.gin in it.")
    config = (run_dir / "config.gin").read_text(encoding="utf-8")
    operative = run_dir / "operative_config.gin"
    summary = _json(run_dir / "report" / "summary.json")
    shown = run_dir / "report" / "pictures.json"
    try:
        images = pictures.decode(shown.read_text()) if shown.is_file() else {"images": [], "classes": []}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{shown} is damaged: it is not what was written; remove it to have a report without."
        ) from None
    return Run(
        name=_name(config),
        journal=_lines(run_dir / "journal.jsonl"),
        summary=summary,
        pictures=images,
        config=operative.read_text(encoding="utf-8") if operative.is_file() else config,
        environment=_json(run_dir / "environment.json"),
        timings=_lines(run_dir / "timings.jsonl"),
    )


def page(run_dir: Path) -> str:
    """The report as HTML.

    Args:
      run_dir: a run's folder.

    Raises:
      UserError: as `read`.
    """
    run = read(run_dir)
    parts: list[tuple[str, str, Markup | None]] = [
        ("what", "What was run", sections.what(run.summary, run.journal, run.timings)),
        ("table", "IoU by class", sections.table(run.summary)),
        ("walk", "The walk", sections.walk(run.journal)),
        ("looks", "Hold-out and untouched images", looks.section(run.journal)),
        ("images", "Best and worst images", sections.images(run.pictures)),
        ("health", "Health of the game", sections.health(run.journal)),
        ("times", "Time and memory", sections.times(run.timings)),
        ("config", "Config", sections.config(run.config)),
        ("environment", "Environment", sections.environment(run.environment)),
    ]
    there = [(key, title, body) for key, title, body in parts if body is not None]
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
            sections.verdict(run.summary, run.journal)),
        tag("nav", *(tag("a", title, href=f"#{key}") for key, title, _ in there)),
        tag("main", *(tag("section", tag("h2", title), body, id=key) for key, title, body in there)),
        tag("script", Markup(_resource("script.js"))),
    )  # fmt: skip
    return join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en"), Markup("\n"))


def _resource(name: str) -> str:
    return (importlib.resources.files("load_tf.report") / "page" / name).read_text(encoding="utf-8")


def _name(config: str) -> str:
    """`experiment.name` of a config, else a plain word."""
    found = re.search(r"^experiment\.name = (?:\\\n\s*)?(.+)$", config, re.M)
    try:
        return str(ast.literal_eval(found[1])) if found else "LoAd"
    except (ValueError, SyntaxError):
        return "LoAd"


def _json(file: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file."""
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{file} is damaged: it is not what was written.") from None


def _lines(file: Path) -> list[dict[str, Any]]:
    """A file of JSON lines; a last line that is being written at the moment does not count."""
    texts = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
    try:
        return [dict(json.loads(text)) for text in texts if text.endswith("\n")]
    except (ValueError, TypeError):
        raise UserError(f"{file} is damaged: a line of it is no JSON.") from None
