"""Folds: every image is untouched once, and nobody trains or chooses on what it is judged on."""

from typing import Any

import numpy as np
import pytest

from load_tf.data.cross_fit import cross_fit
from load_tf.data.dataset import Example, ExampleList, SegmentationDataset, groups_of
from load_tf.data.groups import Groups
from load_tf.errors import UserError

GREY = np.zeros((2, 2, 3), np.uint8)


def dataset(groups: Groups | None = None, **counts: int) -> SegmentationDataset:
    def source(name: str, count: int) -> ExampleList:
        return ExampleList([Example(GREY, GREY[..., 0], f"{name}{number:02d}") for number in range(count)])

    opened = {name: (lambda name=name, count=count: source(name, count)) for name, count in counts.items()}
    return SegmentationDataset("made_up", ("a", "b"), ((0, 0, 0), (1, 1, 1)), opened, groups)


def parts(data: SegmentationDataset, **settings: Any) -> dict[str, tuple[str, ...]]:
    found = cross_fit(data, **settings)
    return {name: found.split(name).ids for name in ("train", "holdout", "untouched")}


def test_every_image_is_untouched_once_and_in_one_part_of_a_fold() -> None:
    data = dataset(train=13, validation=10)
    seen: list[str] = []
    for fold in range(5):
        found = parts(data, splits=("train", "validation"), fold=fold, holdout=6)
        assert len(found["holdout"]) == 6
        assert len(found["untouched"]) in (4, 5)
        every = [*found["train"], *found["holdout"], *found["untouched"]]
        assert len(every) == len(set(every)) == 23
        seen += found["untouched"]
    assert len(seen) == len(set(seen)) == 23


def test_the_folds_are_of_the_seed_and_a_run_can_repeat_them() -> None:
    data = dataset(validation=20)
    assert parts(data, holdout=5) == parts(data, holdout=5)
    assert parts(data, holdout=5)["untouched"] != parts(data, holdout=5, seed=1)["untouched"]
    # The hold-out is a draw of its own in every fold: it is not the same images five times.
    assert len({parts(data, holdout=5, fold=fold)["holdout"] for fold in range(5)}) == 5


def test_copies_stay_together_and_images_that_are_not_kept_together_do_not() -> None:
    data = dataset(validation=40)
    pairs = [(f"validation{n:02d}", f"validation{n + 20:02d}") for n in range(20)]
    parted = 0
    for fold in range(4):
        found = parts(data, folds=4, fold=fold, holdout=10, together=pairs)
        alone = parts(data, folds=4, fold=fold, holdout=10)
        for one, other in pairs:
            assert all((one in ids) == (other in ids) for ids in found.values())
            parted += any((one in ids) != (other in ids) for ids in alone.values())
    assert parted > 20
    assert len(set(groups_of(cross_fit(data, holdout=10, together=pairs).split("train")) or ())) < 20


def test_groups_of_the_data_set_are_dealt_whole() -> None:
    data = dataset(Groups(pattern="([0-9])$"), validation=50)  # ten groups of five
    for fold in range(5):
        found = parts(data, fold=fold, holdout=10)
        last = {name: {identity[-1] for identity in ids} for name, ids in found.items()}
        assert len(last["untouched"]) == 2 and len(last["holdout"]) == 2 and len(last["train"]) == 6
        assert not last["untouched"] & last["holdout"] and not last["train"] & (last["untouched"] | last["holdout"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"folds": 1}, "folds and fold are 1 and 0"),
        ({"fold": 5}, "folds and fold are 5 and 5"),
        ({"holdout": 0}, "holdout is 0"),
        ({"holdout": 16}, "has 20 images in these splits"),
        ({"folds": 21, "fold": 20, "holdout": 5}, "has 20 images in these splits"),
        ({"together": [("validation00", "else")], "holdout": 5}, "'else'"),
        ({"splits": ("test",), "holdout": 5}, "no split 'test'"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        parts(dataset(validation=20), **settings)


def test_copies_beside_groups_are_refused() -> None:
    with pytest.raises(UserError, match="has groups"):
        parts(dataset(Groups(block=2), validation=20), together=[("validation00", "validation01")], holdout=5)
