"""One split of a data set divided into two, for a model that has seen the other splits."""

import functools

import gin

from load_tf.data.dataset import SegmentationDataset, Split, Subset
from load_tf.errors import UserError
from load_tf.randomness import generator


def draw(ids: tuple[str, ...], count: int, seed: int, purpose: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draws without replacement by key from the sorted ids, so that the order in which they are stored doesn't count.

    Args:
      ids: of a split.
      count: how many to draw, 0 to len(ids).
      seed: the experiment's.
      purpose: what the draw is for; part of the key.

    Returns:
      The indices of the drawn ids and of the others, each sorted by id.
    """
    order = sorted(range(len(ids)), key=ids.__getitem__)
    places = generator(seed, purpose).permutation(len(ids))
    drawn, rest = sorted(places[:count]), sorted(places[count:])
    return tuple(order[place] for place in drawn), tuple(order[place] for place in rest)


@gin.configurable
def keyed_partition(
    dataset: SegmentationDataset, split: str = "validation", train: int = 350, seed: int = 0
) -> SegmentationDataset:
    """A data set whose splits `train` and `validation` are two parts of one split of another.

    For a checkpoint that was trained on the other splits: what it is trained and what it is evaluated on from here is
    then new to it.

    Args:
      dataset: where the images come from.
      split: the split that is divided; it is opened when one of the parts is.
      train: how many of its images `train` has; the others are `validation`.
      seed: of the draw.

    Returns:
      The data set; its name tells of the partition. Its `split(name)` raises UserError if the split has too few images.
    """
    if train < 1:
        raise UserError(f"keyed_partition.train is {train}; expected at least 1.")

    @functools.cache
    def parts() -> tuple[Split, Split]:
        whole = dataset.split(split)
        if train >= len(whole):
            raise UserError(
                f"keyed_partition.train is {train}, but split {split!r} of data set {dataset.name!r} has {len(whole)} "
                "images; expected fewer, so that some are left for validation."
            )
        drawn, rest = draw(whole.ids, train, seed, "partition")
        return Subset(whole, drawn), Subset(whole, rest)

    return SegmentationDataset(
        f"{dataset.name} ({train} of {split} to train, the rest to validate)",
        dataset.class_names,
        dataset.colours,
        {"train": lambda: parts()[0], "validation": lambda: parts()[1]},
    )


@gin.configurable
def kept_block(dataset: SegmentationDataset, split: str = "train", images: int = 100) -> SegmentationDataset:
    """A data set with a new split `untouched`: the last images of one of its splits, which that split then lacks.

    For video: neighbouring frames look alike, so frames drawn at random would be known from their neighbours. A block
    at the end has one neighbour in training.

    Args:
      dataset: where the images come from.
      split: the split that gives them, in its own order.
      images: how many.

    Returns:
      The data set; its `split(name)` raises UserError if the split has too few images.
    """
    if images < 1:
        raise UserError(f"kept_block.images is {images}; expected at least 1.")

    @functools.cache
    def parts() -> tuple[Split, Split]:
        whole = dataset.split(split)
        rest = len(whole) - images
        if rest < 1:
            raise UserError(
                f"kept_block.images is {images}, but split {split!r} of data set {dataset.name!r} has {len(whole)} "
                "images; expected fewer, so that some are left."
            )
        return Subset(whole, tuple(range(rest))), Subset(whole, tuple(range(rest, len(whole))))

    return SegmentationDataset(
        f"{dataset.name} (the last {images} of {split} kept)",
        dataset.class_names,
        dataset.colours,
        {**dataset.sources, split: lambda: parts()[0], "untouched": lambda: parts()[1]},
    )
