"""Cross-fitting: every image of a data set is untouched in one of several folds, so that all of them count."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from load_tf.data.dataset import Grouped, Joined, SegmentationDataset, Split, Subset, groups_of, unlabelled_source
from load_tf.data.groups import Group
from load_tf.data.partition import draw
from load_tf.errors import UserError
from load_tf.randomness import generator


def cross_fit(
    dataset: SegmentationDataset,
    splits: Sequence[str] = ("validation",),
    folds: int = 5,
    fold: int = 0,
    holdout: int = 150,
    together: Sequence[Sequence[str]] = (),
    seed: int = 0,
) -> SegmentationDataset:
    """A data set whose splits `train`, `holdout` and `untouched` divide all images of some splits of another.

    A keyed draw deals the images, or the groups of a data set that has some, to the folds. One fold is `untouched`;
    `holdout` is drawn of the others, and `train` is what is left. With one run for every `fold`, each image is
    untouched once, by a run that it neither trained nor chose.

    Args:
      dataset: where the images come from.
      splits: those whose images are divided, all together. One that another run's network was trained on has no place
        here.
      folds: how many folds, 2 or more.
      fold: which is untouched, from 0.
      holdout: images in `holdout`; like a fold made up of whole groups, as many as come nearest.
      together: ids of images that must not be parted, such as the copies of one photograph. Not for a data set that
        has groups.
      seed: of the draws; with another seed the folds are others.

    Returns:
      The data set, named without its fold. Its `split(name)` raises UserError for too few images, groups beside
      `together`, and ids that are not there.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise UserError(
            f"cross_fit.folds and fold are {folds} and {fold}; expected 2 or more, and one of 0 to folds - 1."
        )
    if holdout < 1:
        raise UserError(f"cross_fit.holdout is {holdout}; expected at least 1.")

    @functools.cache
    def parts() -> Mapping[str, Split]:
        whole = functools.reduce(Joined, (dataset.split(name) for name in splits))
        groups = groups_of(whole)
        if together:
            if groups is not None:
                raise UserError(f"cross_fit.together is given, but data set {dataset.name!r} has groups; expected one.")
            whole = Grouped(whole, _together(whole.ids, together))
            groups = whole.groups
        dealt = _deal(whole.ids, groups, folds, seed)
        untouched = Subset(whole, tuple(np.flatnonzero(dealt == fold).tolist()))
        rest = Subset(whole, tuple(np.flatnonzero(dealt != fold).tolist()))
        if not len(untouched) or holdout >= len(rest):
            raise UserError(
                f"cross_fit.folds and holdout are {folds} and {holdout}, but data set {dataset.name!r} has "
                f"{len(whole)} images in these splits; expected fewer, so that some are left in every part."
            )
        chosen, others = draw(rest.ids, holdout, seed, f"hold-out of fold {fold}", groups_of(rest))
        return {"train": Subset(rest, others), "holdout": Subset(rest, chosen), "untouched": untouched}

    def part(name: str) -> Split:
        return parts()[name]

    return dataclasses.replace(
        dataset,
        name=f"{dataset.name} ({folds}-fold cross-fitting)",
        sources={
            **{name: functools.partial(part, name) for name in ("train", "holdout", "untouched")},
            **unlabelled_source(dataset),
        },
    )


def _together(ids: Sequence[str], together: Sequence[Sequence[str]]) -> tuple[Group, ...]:
    """Every image's group: its own id, or the first of those that it must not be parted from."""
    first = {identity: row[0] for row in together for identity in row}
    if missing := sorted(set(first) - set(ids)):
        raise UserError(f"cross_fit.together names {', '.join(map(repr, missing))}; expected ids of the data set.")
    return tuple(Group(first.get(identity, identity)) for identity in ids)


def _deal(ids: Sequence[str], groups: Sequence[Group] | None, folds: int, seed: int) -> np.ndarray:
    """int [N], the fold of every image: groups in keyed order go one by one to the fold that has the fewest images."""
    labels = list(groups) if groups is not None else [Group(identity) for identity in ids]
    names = sorted(set(labels))
    sizes = {name: 0 for name in names}
    for label in labels:
        sizes[label] += 1
    filled = np.zeros(folds, np.int64)
    of: dict[Group, int] = {}
    for place in generator(seed, "folds").permutation(len(names)):
        of[names[place]] = int(np.argmin(filled))
        filled[of[names[place]]] += sizes[names[place]]
    return np.array([of[label] for label in labels])
