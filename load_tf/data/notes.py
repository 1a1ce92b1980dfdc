"""What files showed beside images and labels: how masks number colours, photos on their side, files passed over."""

import threading
from collections.abc import Sequence

from load_tf.data.palettes import Numbers, Palettes
from load_tf.data.text import listing

TURNED = {
    "alone": "photos are turned upright by their EXIF orientation, and their masks are taken to be drawn on the "
    "upright photo, as labelling tools do",
    "with its mask": "photos are turned upright by their EXIF orientation, and their masks with them, whose size is "
    "that of the pixels as stored",
    "not": "photos have an EXIF orientation that is not applied, since they are no JPEGs",
}
"""What happened to photos with an EXIF orientation, in words that follow their number."""


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
        self._turned: dict[str, str] = {}

    def mask(self, name: str, numbers: Numbers | None) -> None:
        """Takes up what the numbers of a mask are shown as; None: it is painted."""
        if numbers is not None:
            self.palettes.add(name, numbers)

    def turned(self, name: str, how: str) -> None:
        """Takes up a photo with an EXIF orientation, which was turned as a key of `TURNED` says."""
        with self._lock:
            self._turned[name] = how

    @property
    def turned_photos(self) -> dict[str, str]:
        """Those that were taken up, and how."""
        with self._lock:
            return dict(self._turned)


def suspicions(notes: Sequence[Notes]) -> list[str]:
    """What is seldom meant, of all splits together, each in a sentence without full stop."""
    found = [remark for one in notes for remark in one.remarks]
    turned = {name: how for one in notes for name, how in one.turned_photos.items()}
    for how, words in TURNED.items():
        if names := sorted(name for name, one in turned.items() if one == how):
            found.append(f"{len(names)} {words}: {listing(names)}")
    return [*dict.fromkeys(found), *Palettes.of(one.palettes for one in notes).suspicions()]
