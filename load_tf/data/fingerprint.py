"""What a run's images and masks were: so that it goes on with the same ones, and with no others."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from load_tf.data.inspection import Inspection
from load_tf.data.text import listing


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Of every image and mask that a run reads.

    Attributes:
      parts: by what they are for ("training", "validation", "hold-out") the digests of image and mask by id, in order.
      holdout: the ids of the hold-out.
      class_names: K names.
    """

    parts: Mapping[str, Mapping[str, tuple[str, str]]]
    holdout: tuple[str, ...]
    class_names: tuple[str, ...]

    @classmethod
    def of(
        cls, parts: Mapping[str, Inspection], holdout: tuple[str, ...], class_names: tuple[str, ...]
    ) -> "Fingerprint":
        """That of images which were read.

        Args:
          parts: what was found, by what it is for.
          holdout: the ids of the hold-out.
          class_names: K names.
        """
        digests = {
            name: dict(zip(found.ids, zip(found.digests, found.mask_digests, strict=True), strict=True))
            for name, found in parts.items()
        }
        return cls(digests, holdout, class_names)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As arrays of a commit."""
        text = json.dumps({"parts": self.parts, "holdout": self.holdout, "class_names": self.class_names})
        return {"json": np.frombuffer(text.encode(), np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Fingerprint":
        """Undoes `to_arrays`."""
        found: dict[str, Any] = json.loads(arrays["json"].tobytes())
        parts = {
            name: {id_: (image, mask) for id_, (image, mask) in part.items()} for name, part in found["parts"].items()
        }
        return cls(parts, tuple(found["holdout"]), tuple(found["class_names"]))

    def differences(self, now: "Fingerprint") -> list[str]:
        """How other data differ from these, by name, in parts of a sentence; none if they are the same."""
        found = []
        for name in [*self.parts, *(name for name in now.parts if name not in self.parts)]:
            before, after = self.parts.get(name, {}), now.parts.get(name, {})
            both = [id_ for id_ in before if id_ in after]
            for ids, what in (
                ([id_ for id_ in after if id_ not in before], "more"),
                ([id_ for id_ in before if id_ not in after], "fewer"),
                ([id_ for id_ in both if before[id_][0] != after[id_][0]], "that are not the same"),
            ):
                if ids:
                    found.append(f"{len(ids)} {name} images {what} ({listing(ids)})")
            masks = [id_ for id_ in both if before[id_][1] != after[id_][1]]
            if masks:
                found.append(f"{len(masks)} masks of {name} images that are not the same ({listing(masks)})")
            if len(both) == len(before) == len(after) and list(before) != list(after):
                found.append(f"the {name} images in another order")
        if not found and set(self.holdout) != set(now.holdout):
            other = sorted(set(now.holdout) - set(self.holdout)) or sorted(set(self.holdout) - set(now.holdout))
            found.append(f"another hold-out ({listing(other)})")
        if self.class_names != now.class_names:
            pairs = zip(self.class_names, now.class_names, strict=False)
            first = next(((a, b) for a, b in pairs if a != b), (str(len(self.class_names)), str(len(now.class_names))))
            found.append(f"other class names ({first[1]!r} for {first[0]!r})")
        return found

    def images(self, name: str) -> dict[str, str]:
        """The ids of a part's images by digest."""
        return {image: id_ for id_, (image, _) in self.parts.get(name, {}).items()}
