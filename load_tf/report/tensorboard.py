"""A run in TensorBoard: the journal's numbers as scalars, label maps as images, the config as text."""

import collections
import contextlib
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from load_tf.report.timeline import Event


class TensorBoardLog:
    """Writes RUN_DIR/tensorboard while the run goes on.

    The step is the running iteration: adversarial iterations over all cycles. The log is made from the journal, which
    is what counts; a resumed run hands in the journal it resumes from and gets the log of one that was never stopped.
    A log that can't be written is said once and given up: no run ends for it.
    """

    def __init__(self, folder: Path | str | None, journal: Iterable[Event] = ()) -> None:
        """Starts the log anew.

        Args:
          folder: where; logs of an earlier process in it are removed. None: nothing is written.
          journal: what happened so far.
        """
        self._folder = Path(folder or "")
        self._given_up = False
        self._writer = tf.summary.create_noop_writer()
        self._iteration = 0
        self._epochs: collections.Counter[str] = collections.Counter()
        if folder is None:
            return
        with self._writing():
            for old in self._folder.glob("events.out.tfevents.*"):
                old.unlink()
            self._writer = tf.summary.create_file_writer(str(self._folder))
        for event in journal:
            self.hear(event)

    def hear(self, event: Event) -> None:
        """Writes the finite numbers of a journal line as scalars `<event>/<name>`, and warnings as text.

        An event with an epoch (the discriminator's, Stage 1's) has as its step the number of such events so far, since
        no adversarial iteration passes while it trains.
        """
        if event["event"] == "evaluate":
            self._iteration += 1
        # An update is journalled before the evaluation that completes its iteration.
        step = self._iteration + (event["event"] == "update")
        if "epoch" in event:
            self._epochs[event["event"]] += 1
            step = self._epochs[event["event"]]
        with self._writing(), self._writer.as_default():
            if event["event"] == "warning":
                tf.summary.text("warning", event["text"], step=step)
            for name, value in event.items():
                if name in ("event", "cycle", "iteration", "epoch") or isinstance(value, bool):
                    continue
                if isinstance(value, int | float) and math.isfinite(value):
                    tf.summary.scalar(f"{event['event']}/{name}", value, step=step)

    def label_maps(self, name: str, label_maps: Sequence[np.ndarray], colours: Sequence[Sequence[int]]) -> None:
        """Writes label maps as images at the present iteration.

        Args:
          name: for all of them.
          label_maps: uint8 [H, W] each, of any sizes; values without a colour (void) are shown pale grey.
          colours: K RGB triples in [0, 255].
        """
        palette = np.full((256, 3), 224, np.uint8)
        palette[: len(colours)] = colours
        with self._writing(), self._writer.as_default():
            for i, label_map in enumerate(label_maps):
                tf.summary.image(f"{name}/{i}", palette[label_map][None], step=self._iteration)

    def text(self, name: str, text: str) -> None:
        """Writes a text as it is, such as the config in gin."""
        with self._writing(), self._writer.as_default():
            tf.summary.text(name, "".join(f"    {line}\n" for line in text.splitlines()), step=self._iteration)

    def flush(self) -> None:
        """Makes what was written visible to TensorBoard."""
        with self._writing():
            self._writer.flush()

    def close(self) -> None:
        """Ends the log; nothing can be written any more."""
        with self._writing():
            self._writer.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            self._writer = tf.summary.create_noop_writer()
            if not self._given_up:
                reason = str(error).partition("\n")[0]
                print(f"load_tf: TensorBoard's log {self._folder} is given up ({reason}).", file=sys.stderr)
            self._given_up = True
