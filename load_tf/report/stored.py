"""What a run directory holds for people, finished or not."""

import ast
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from load_tf.errors import UserError
from load_tf.report import pictures


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
