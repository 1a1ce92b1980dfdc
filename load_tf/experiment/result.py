"""What a run of `load_tf.run` found, in a line and as a notebook shows it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from load_tf.report.markup import tag
from load_tf.report.verdict import PARTS
from load_tf.report.words import interval, signed


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """What a run found.

    Attributes:
      model: the model that was given, with LoAd's weights.
      summary: `report/summary.json`: scores on all images, on the hold-out and on the untouched ones.
      run_dir: the run's folder, with the report, the tables and the SavedModel.
    """

    model: keras.Model
    summary: dict[str, Any]
    run_dir: Path

    def __repr__(self) -> str:
        """A line: the most telling score, and where the rest is."""
        told = [f"mIoU {_change(score)} on {score['images']} {title}" for title, _, score in self._scores()[:1]]
        return f"<Result of {self.model.name!r}: {', '.join([*told, f'report in {self._page}'])}>"

    def _repr_html_(self) -> str:
        """A table of the scores, the most telling first, with a link to the report."""
        header = tag("tr", *(tag("th", name) for name in ("images", "", "mIoU", "gain", "95 % interval")))
        rows = [
            tag(
                "tr",
                *(tag("td", cell) for cell in (score["images"], title, _change(score), signed(score["gain"]))),
                tag("td", interval(score) or "none"),
                title=note,
            )
            for title, note, score in self._scores()
        ]
        name = tag("caption", f"{self.model.name}: ", tag("a", "report", href=self._page.as_posix()))
        return tag("table", name, header, *rows)

    @property
    def _page(self) -> Path:
        return self.run_dir / "report" / "index.html"

    def _scores(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        """Title, note and score of every part that was scored before and after."""
        parts = ((title, note, self.summary.get(key) or {}) for key, title, note in PARTS)
        return [part for part in parts if part[2].get("gain") is not None]


def _change(score: Mapping[str, Any]) -> str:
    return f"{score['baseline']:.2f} → {score['load']:.2f}"
