"""What files showed beside images and labels: how masks number colours, photos on their side, files passed over."""

import threading
from collections.abc import Sequence

from load_tf.data.palettes import Numbers, Palettes
from load_tf.data.text import listing


class Notes:
    """What was noticed of the files of a split; may be told by several threads.

    Attributes:
      remarks: sentences without full stop, known before anything was read.
      palettes: how the masks number what they show.
    """

    def __init__(self, remarks: Sequence[str] = ()) -> None:
        self.remarks = tuple(remarks)
        self.palettes = Palettes()
        self._lock = threading.Lock()
        self._turned: set[str] = set()

    def mask(self, name: str, numbers: Numbers | None) -> None:
        """Takes up what the numbers of a mask are shown as; None: it is painted."""
        if numbers is not None:
            self.palettes.add(name, numbers)

    def turned(self, name: str) -> None:
        """Takes up a photo whose EXIF orientation is not upright."""
        with self._lock:
            self._turned.add(name)

    @property
    def turned_photos(self) -> frozenset[str]:
        """Those that were taken up."""
        with self._lock:
            return frozenset(self._turned)


def suspicions(notes: Sequence[Notes]) -> list[str]:
    """What is seldom meant, of all splits together, each in a sentence without full stop."""
    found = [remark for one in notes for remark in one.remarks]
    turned = sorted({name for one in notes for name in one.turned_photos})
    if turned:
        found.append(
            f"{len(turned)} photos have an EXIF orientation, which is not applied: their masks have to lie as the "
            f"pixels are stored: {listing(turned)}"
        )
    return [*dict.fromkeys(found), *Palettes.of(one.palettes for one in notes).suspicions()]
