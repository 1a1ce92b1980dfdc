"""What the numbers in masks are where they are not the labels: void under another number, binary masks, other ids."""

from collections.abc import Mapping, Sequence

from load_tf.data.cityscapes import train_ids
from load_tf.data.dataset import IGNORE_LABEL
from load_tf.errors import UserError

KNOWN: Mapping[str, Mapping[int, int]] = {
    "reduce_zero_label": {0: IGNORE_LABEL, IGNORE_LABEL: IGNORE_LABEL} | {n: n - 1 for n in range(1, IGNORE_LABEL)},
    "cityscapes": dict(enumerate(train_ids().tolist())),
}
"""By name the label of every number."""


def label_table(
    label_map: Mapping[int, int] | str | None, void: int | None, class_names: Sequence[str]
) -> dict[int, int] | None:
    """The label of every number in masks; None: the number is the label.

    Args:
      label_map: `folder.label_map`.
      void: `folder.void`.
      class_names: K names.

    Raises:
      UserError: if a number or a label is none, or void is a class.
    """
    if label_map is None and void is None:
        return None
    count = len(class_names)
    table = dict(enumerate(range(256)))
    if isinstance(label_map, str):
        if label_map not in KNOWN:
            names = " or ".join(map(repr, KNOWN))
            raise UserError(f"folder.label_map is {label_map!r}; expected {names}, or labels by number.")
        table = dict(KNOWN[label_map])
    elif label_map is not None:
        table = dict(label_map)
        for number, label in table.items():
            if not _is_whole(number) or not _is_whole(label) or not (label < count or label == IGNORE_LABEL):
                raise UserError(
                    f"folder.label_map gives {number!r} the label {label!r}; expected whole numbers, and labels from 0 "
                    f"to {count - 1}, or {IGNORE_LABEL} for void."
                )
    if void is None:
        return table
    if not _is_whole(void):
        raise UserError(f"folder.void is {void!r}; expected a whole number of at least 0.")
    if table.get(void, IGNORE_LABEL) < count:
        advice = "where 0 is void and 1 the first class, use folder.label_map = 'reduce_zero_label'"
        raise UserError(
            f"folder.void is {void}, which is the number of the class {class_names[table[void]]!r}; expected another"
            + (f" ({advice})." if void == 0 else ".")
        )
    return table | {void: IGNORE_LABEL}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
