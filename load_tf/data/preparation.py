"""What happens to a split before a run: every example is read and checked once, and kept in memory if there is room."""

import collections
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from load_tf.data.dataset import Example, ExampleList, Split, Subset
from load_tf.data.files import refuse_duplicates
from load_tf.data.partition import draw
from load_tf.errors import UserError
from load_tf.progress import progress

LISTED_FAULTS = 20


def prepare(split: Split, num_classes: int, description: str, max_bytes: int = 8 * 2**30) -> Split:
    """Reads every example of a split once, in parallel, with a progress bar, and refuses the split if any is faulty.

    Args:
      split: the examples.
      num_classes: K.
      description: of the split, for the progress bar and messages, e.g. "voc_segmentation train".
      max_bytes: how much memory the decoded examples may take, 4 bytes a pixel; never more than half of the machine's.

    Returns:
      The split, served from memory if everything fits, else as it was given: then examples are decoded on every access.

    Raises:
      UserError: listing the faults of all examples, the first `LISTED_FAULTS` of them in full, or the ids that occur
        twice.
    """
    refuse_duplicates(split.ids, description)
    limit = min(max_bytes, _physical_memory() // 2)
    kept: list[Example] | None = []
    size = 0
    faults: list[str] = []
    for found in progress(_read_all(split, num_classes), f"checking {description}", total=len(split), unit="image"):
        if isinstance(found, str):
            faults.append(found)
            kept = None
        elif kept is not None:
            size += found.image.nbytes + found.label.nbytes
            kept.append(found)
            if size > limit:
                kept = None
    if faults:
        raise UserError(_report(faults, len(split), description))
    return split if kept is None else ExampleList(kept)


def draw_holdout(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """Draws the hold-out by key, without replacement, from the sorted ids (READING, "Evaluation").

    Args:
      split: the validation images.
      count: how many make the hold-out; the paper takes 500 of 1,449.
      seed: the experiment's.

    Returns:
      The hold-out, and the untouched rest on which nothing is ever selected; both sorted by id.

    Raises:
      UserError: unless 1 <= count < len(split).
    """
    if not 1 <= count < len(split):
        raise UserError(
            f"the hold-out is to have {count} images, but there are {len(split)} validation images; expected 1 to "
            f"{len(split) - 1}, so that some stay untouched."
        )
    holdout, untouched = draw(split.ids, count, seed, "hold-out")
    return Subset(split, holdout), Subset(split, untouched)


def _read_all(split: Split, num_classes: int) -> Iterator[Example | str]:
    """Every example in order, or what is wrong with it; a bounded number is read ahead."""
    from load_tf.data.decoding import check_example  # takes TensorFlow, drawing a hold-out doesn't

    ids = split.ids

    def read(index: int) -> Example | str:
        try:
            example = Example(*split[index])
            check_example(example, num_classes, ids[index])
            if example.id != ids[index]:
                raise UserError(f"example {index} has the id {example.id!r}, but the split says {ids[index]!r}.")
        except UserError as error:
            return str(error)
        return example

    workers = min(os.cpu_count() or 1, 16)
    executor = ThreadPoolExecutor(workers)
    pending: collections.deque[Future[Example | str]] = collections.deque()
    try:
        for index in range(len(split)):
            pending.append(executor.submit(read, index))
            if len(pending) > 4 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _report(faults: list[str], count: int, description: str) -> str:
    """One message for all faults."""
    if len(faults) == 1:
        return faults[0]
    shown = "".join(f"\n  {fault}" for fault in faults[:LISTED_FAULTS])
    more = f"\n  and {len(faults) - LISTED_FAULTS} more" if len(faults) > LISTED_FAULTS else ""
    return f"{len(faults)} of {count} examples of {description} can't be used:{shown}{more}"


def _physical_memory() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
