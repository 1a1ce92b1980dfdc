"""Drawing parts of splits by key."""

import numpy as np
import pytest

from load_tf.data.dataset import Example, ExampleList, Joined, SegmentationDataset, Subset
from load_tf.data.partition import draw, kept_block, keyed_partition
from load_tf.errors import UserError


def dataset(ids: list[str], opened: list[str]) -> SegmentationDataset:
    def source() -> ExampleList:
        opened.append("validation")
        image = np.zeros((2, 2, 3), np.uint8)
        return ExampleList([Example(image + n, image[..., 0], id_) for n, id_ in enumerate(ids)])

    return SegmentationDataset("made_up", ("a", "b"), ((0, 0, 0), (1, 1, 1)), {"validation": source})


IDS = [f"id{number:02d}" for number in range(20)]


def test_parts_are_disjoint_whole_and_sorted() -> None:
    parts = keyed_partition(dataset(IDS, []), train=13, seed=3)
    train, validation = parts.split("train").ids, parts.split("validation").ids
    assert (len(train), len(validation)) == (13, 7)
    assert sorted(train + validation) == IDS
    assert list(train) == sorted(train) and list(validation) == sorted(validation)
    assert parts.name == "made_up (13 of validation to train, the rest to validate)"
    assert parts.class_names == ("a", "b")


def test_draw_depends_on_ids_and_seed_not_on_their_order() -> None:
    backwards = IDS[::-1]
    one = keyed_partition(dataset(IDS, []), train=5, seed=3).split("train")
    other = keyed_partition(dataset(backwards, []), train=5, seed=3).split("train")
    assert one.ids == other.ids
    # The examples go with their ids: each image is filled with its place in the list it came from.
    assert [IDS[int(one[i].image[0, 0, 0])] for i in range(5)] == list(one.ids)
    assert [backwards[int(other[i].image[0, 0, 0])] for i in range(5)] == list(one.ids)
    assert len({keyed_partition(dataset(IDS, []), train=5, seed=s).split("train").ids for s in range(5)}) == 5


def test_the_split_is_opened_once_and_not_before() -> None:
    opened: list[str] = []
    parts = keyed_partition(dataset(IDS, opened), train=5)
    assert not opened
    parts.split("train"), parts.split("validation")
    assert opened == ["validation"]


@pytest.mark.parametrize("train", [20, 21])
def test_too_few_images(train: int) -> None:
    with pytest.raises(UserError, match=f"train is {train}, but split 'validation' of data set 'made_up' has 20"):
        keyed_partition(dataset(IDS, []), train=train).split("train")


def test_no_images_to_train() -> None:
    with pytest.raises(UserError, match="train is 0"):
        keyed_partition(dataset(IDS, []), train=0)


def test_purposes_are_independent() -> None:
    assert draw(tuple(IDS), 5, 0, "hold-out") != draw(tuple(IDS), 5, 0, "partition")


def test_every_id_is_drawn_equally_often() -> None:
    ids = tuple("abcdef")
    counts = np.zeros(6)
    for seed in range(600):
        counts[list(draw(ids, 2, seed, "x")[0])] += 1
    # Binomial(600, 1/3): mean 200, standard deviation 11.5.
    assert counts.sum() == 1200 and np.abs(counts - 200).max() < 50


def test_a_kept_block_is_the_end_of_the_split_and_gone_from_it() -> None:
    kept = kept_block(dataset(IDS[::-1], []), split="validation", images=4)
    assert kept.split("validation").ids == tuple(IDS[::-1][:16])
    assert kept.split("untouched").ids == tuple(IDS[::-1][16:])
    assert kept.name == "made_up (the last 4 of validation kept)"
    with pytest.raises(UserError, match=r"images is 20, but split 'validation' of data set 'made_up' has 20"):
        kept_block(dataset(IDS, []), split="validation", images=20).split("untouched")
    with pytest.raises(UserError, match="images is 0"):
        kept_block(dataset(IDS, []), images=0)


def test_joined_splits_stand_one_after_the_other() -> None:
    whole = dataset(IDS, []).split("validation")
    both = Joined(Subset(whole, (7, 3)), Subset(whole, (5, 3, 9)))
    assert both.ids == ("id07", "id03", "id05", "id03", "id09") and len(both) == 5
    assert [int(both[i].image[0, 0, 0]) for i in range(-5, 5)] == [7, 3, 5, 3, 9] * 2
    with pytest.raises(IndexError):
        both[5]
