"""Any (image, label) data as a split: lists, Keras sequences, `tf.data`, generators."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from load_tf.data.dataset import UNLABELLED_SPLIT, Example, ExampleList, Grouped, Split
from load_tf.data.groups import Groups, as_groups
from load_tf.data.unlabelled import as_unlabelled
from load_tf.errors import UserError


def as_split(pairs: Any, name: str) -> Split:
    """Pairs as a split with random access.

    Args:
      pairs: a `Split` as it is; a sequence, read again whenever an example is needed; or an iterable of a known end
        such as a `tf.data.Dataset`, read once into memory. Items are (image, label) or (image, label, id), not batched:
        image uint8 [H, W, 3]; label [H, W] or [H, W, 1] of whole numbers, the class or 255 for void. A sequence's ids
        are its places, known before anything is read: an id in its items does not count.
      name: of the split, for messages and for ids that are places: "train_00000".

    Raises:
      UserError: if it is none of these, or it is empty; for an item that is no pair, now or when it is read.
    """
    if hasattr(pairs, "ids") and hasattr(pairs, "__getitem__"):
        return pairs  # type: ignore[no-any-return]
    if hasattr(pairs, "__getitem__") and hasattr(pairs, "__len__") and not isinstance(pairs, dict | str | bytes):
        split: Split = _Pairs(pairs, name)
    elif isinstance(pairs, Iterable) and not isinstance(pairs, dict | str | bytes):
        split = ExampleList([_example(item, f"{name}_{index:05d}") for index, item in enumerate(pairs)])
    else:
        raise UserError(f"{name} is {type(pairs).__name__}; expected (image, label) pairs.")
    if not len(split):
        raise UserError(f"{name} is empty; expected (image, label) pairs.")
    return split


def as_splits(training: Any, validation: Any, groups: Any = None, unlabelled: Any = None) -> dict[str, Split]:
    """The splits `train` and `validation`, what their images belong to, and `unlabelled` if there are such images.

    Args:
      training: as `as_split` takes it.
      validation: likewise.
      groups: as `load_tf.data.groups.as_groups` takes them. Names by id, or in order, are of the validation images;
        anything else is looked up for the training images, too. None: what the splits bring.
      unlabelled: images without labels, as `load_tf.data.unlabelled.as_unlabelled` takes them; None: there are none.

    Raises:
      UserError: if they are no pairs, an image has no group, or there are not as many names as images.
    """
    splits = {"train": as_split(training, "train"), "validation": as_split(validation, "validation")}
    if unlabelled is not None:
        splits[UNLABELLED_SPLIT] = as_unlabelled(unlabelled)
    if groups is None:
        return splits
    found = as_groups(groups, splits["validation"].ids, "validation")
    told = ("train", "validation") if isinstance(groups, Groups | str | int) else ("validation",)
    return splits | {name: Grouped(splits[name], found.labels(splits[name].ids)) for name in told}


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """A sequence of pairs; ids are made of their places, so that they are known before anything is read."""

    pairs: Sequence[Any]
    name: str

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_{index:05d}" for index in range(len(self)))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        return _example(self.pairs[index], f"{self.name}_{index:05d}", keep_id=False)


def _example(item: Any, identity: str, keep_id: bool = True) -> Example:
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise UserError(f"{identity} is {type(item).__name__}; expected a pair (image, label).")
    image, label = np.asarray(item[0]), np.asarray(item[1])
    if image.ndim != 3:
        batched = "; batches must be taken apart first (unbatch)" if image.ndim == 4 else ""
        raise UserError(f"the image of {identity} has the shape {list(image.shape)}; expected [H, W, 3]{batched}.")
    if label.ndim == 3 and label.shape[-1] == 1:
        label = label[..., 0]
    if not np.issubdtype(label.dtype, np.integer):
        raise UserError(
            f"the label map of {identity} is {label.dtype}; expected whole numbers, a class for every pixel."
        )
    if label.size and (label.min() < 0 or label.max() > 255):
        raise UserError(f"the label map of {identity} holds {label.min()} to {label.max()}; expected 0 to 255.")
    if keep_id and len(item) == 3:
        given = item[2].numpy() if hasattr(item[2], "numpy") else item[2]
        identity = given.decode() if isinstance(given, bytes) else str(given)
    return Example(image, label.astype(np.uint8), identity)
