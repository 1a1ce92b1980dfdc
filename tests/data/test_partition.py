"""Drawing parts of splits by key."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from load_tf.data.dataset import Example, ExampleList, Joined, SegmentationDataset, Split, Subset, groups_of
from load_tf.data.folder import folder
from load_tf.data.groups import Group, Groups
from load_tf.data.partition import draw, held_blocks, keyed_partition
from load_tf.errors import UserError


def dataset(ids: list[str], opened: list[str]) -> SegmentationDataset:
    def source() -> ExampleList:
        opened.append("validation")
        image = np.zeros((2, 2, 3), np.uint8)
        return ExampleList([Example(image + n % 256, image[..., 0], id_) for n, id_ in enumerate(ids)])

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


def test_a_group_is_drawn_as_a_whole_or_not_at_all() -> None:
    ids = tuple(f"{name}{number}" for name in "abcdefgh" for number in range(5))
    groups = Groups("^(.)").labels(ids)
    found = set()
    for seed in range(20):
        drawn, rest = draw(ids, 12, seed, "hold-out", groups)
        assert sorted(drawn + rest) == list(range(40))
        # 10 and not 15 is next to 12.
        assert len(drawn) == 10 and {groups[i] for i in drawn}.isdisjoint({groups[i] for i in rest})
        assert draw(ids, 13, seed, "hold-out", groups)[0] > () and len(draw(ids, 13, seed, "hold-out", groups)[0]) == 15
        found.add(drawn)
    assert len(found) > 10
    # Negative control: without groups every draw divides some.
    drawn, rest = draw(ids, 12, 0, "hold-out")
    assert {groups[i] for i in drawn} & {groups[i] for i in rest}


def test_the_draw_of_groups_depends_on_ids_not_on_their_order() -> None:
    ids = tuple(f"{name}{number}" for name in "cadb" for number in range(3))
    backwards = ids[::-1]
    one = {ids[i] for i in draw(ids, 6, 1, "x", Groups("^(.)").labels(ids))[0]}
    assert one == {backwards[i] for i in draw(backwards, 6, 1, "x", Groups("^(.)").labels(backwards))[0]}


def test_every_sequence_gives_its_share_of_blocks() -> None:
    lengths = {"a": 62, "b": 101, "c": 204}
    ids = tuple(f"{name}{number:03d}" for name, length in lengths.items() for number in range(length))
    blocks, sequences = (Groups("^(.)", block=block).labels(ids) for block in (10, None))
    for seed in range(10):
        drawn, rest = draw(ids, 100, seed, "hold-out", blocks)
        assert abs(len(drawn) - 100) <= 5
        assert {blocks[i] for i in drawn}.isdisjoint({blocks[i] for i in rest})
        for name, length in lengths.items():
            # A block off, and what the sequences before are off.
            assert abs(sum(ids[i][0] == name for i in drawn) - 100 * length / 367) <= 10
        assert len({sequences[i] for i in draw(ids, 100, seed, "hold-out", sequences)[0]}) == 1


@pytest.mark.parametrize("count", [1, 5, 9])
def test_no_part_is_empty_however_large_the_groups(count: int) -> None:
    ids = tuple("aaaaabbbbb"[i] + str(i) for i in range(10))
    drawn, rest = draw(ids, count, 0, "x", Groups("^(.)").labels(ids))
    assert len(drawn) == len(rest) == 5
    with pytest.raises(UserError, match="the 10 images for the draw of the x are of one group, 'all'; expected two"):
        draw(ids, count, 0, "x", [Group("all")] * 10)


def test_a_partition_takes_whole_groups() -> None:
    plain = dataset(IDS, [])
    parts = keyed_partition(dataclasses.replace(plain, groups=Groups(block=4)), train=9, seed=3)
    train, validation = groups_of(parts.split("train")), groups_of(parts.split("validation"))
    assert len(train) == 8 and set(train).isdisjoint(validation) and len({*train, *validation}) == 5
    assert sorted(parts.split("train").ids + parts.split("validation").ids) == IDS


FRAMES = [f"{name}_{number}" for name, length in (("x", 62), ("y", 101), ("z", 204)) for number in range(length)]


def held(**arguments: Any) -> dict[str, Split]:
    whole = dataclasses.replace(dataset(FRAMES, []), groups=Groups("^([^_]+)_"))
    found = held_blocks(whole, split="validation", **arguments)
    return {name: found.split(name) for name in ("validation", "holdout", "untouched")}


@pytest.mark.parametrize("seed", range(4))
def test_held_blocks_are_of_every_sequence_and_have_no_neighbour_elsewhere(seed: int) -> None:
    parts = held(block=10, margin=2, holdout=50, untouched=100, seed=seed)
    assert (len(parts["holdout"]), len(parts["untouched"])) == (50, 100)
    ids = [identity for part in parts.values() for identity in part.ids]
    assert len(set(ids)) == len(ids) and set(ids) < set(FRAMES)
    for part in parts.values():
        assert {identity[0] for identity in part.ids} == {"x", "y", "z"}
        assert [part[i].id for i in range(len(part))] == list(part.ids) == [i for i in FRAMES if i in part.ids]
    # Every frame that is in no part lies beside a held block; every frame within two of one is in no other part.
    part_of = {identity: name for name, part in parts.items() for identity in part.ids}
    for identity in FRAMES:
        name, number = identity.split("_")
        near = {part_of.get(f"{name}_{int(number) + step}") for step in (-2, -1, 1, 2)}
        if identity not in part_of:
            assert near & {"holdout", "untouched"}
        else:
            assert near <= {part_of[identity], None}
    for name in ("holdout", "untouched"):
        blocks: dict[Group, list[int]] = {}
        for identity, group in zip(parts[name].ids, groups_of(parts[name]), strict=True):
            assert identity[0] == group.name and group.block is not None
            blocks.setdefault(group, []).append(int(identity[2:]))
        assert all(numbers == list(range(numbers[0], numbers[0] + 10)) for numbers in blocks.values())
    assert set(groups_of(parts["validation"])) == {Group("x"), Group("y"), Group("z")}


def test_whole_splits_are_untouched_beside_the_held_blocks() -> None:
    whole = dataclasses.replace(dataset(FRAMES, []), groups=Groups("^([^_]+)_"))
    test = ExampleList(
        [Example(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), f"x_{n}") for n in range(900, 925)]
    )
    whole = dataclasses.replace(whole, sources={**whole.sources, "test": lambda: test})
    arguments = {"block": 10, "margin": 2, "holdout": 50, "untouched": 100}
    plain = held_blocks(whole, split="validation", **arguments)
    both = held_blocks(whole, split="validation", also_untouched=("test",), **arguments)
    assert both.split("untouched").ids == (*plain.split("untouched").ids, *test.ids)
    for name in ("validation", "holdout"):
        assert both.split(name).ids == plain.split(name).ids
    added = (groups_of(both.split("untouched")) or ())[100:]
    # In blocks of their own, though the sequence has the name of one that is trained on.
    assert [(group.name, group.block) for group in added[::10]] == [
        ("x of test", 0),
        ("x of test", 1),
        ("x of test", 2),
    ]
    assert set(added).isdisjoint(groups_of(plain.split("untouched")) or ())


def test_held_blocks_without_a_margin_leave_nothing_out() -> None:
    parts = held(block=10, margin=0, holdout=50, untouched=100)
    assert sorted(identity for part in parts.values() for identity in part.ids) == sorted(FRAMES)
    # Negative control: then a held frame has its neighbour in training.
    training = set(parts["validation"].ids)
    names = [identity.split("_") for identity in parts["holdout"].ids]
    assert any(f"{name}_{int(number) + 1}" in training for name, number in names)


def test_held_blocks_of_ids_without_groups_are_of_one_row() -> None:
    found = held_blocks(dataset(IDS[::-1], []), split="validation", block=3, margin=1, holdout=3, untouched=6, seed=1)
    assert {name for name in found.sources} == {"validation", "holdout", "untouched"}
    assert found.name == "made_up (blocks of 3 of validation held)"
    blocks = {"".join(identity[2:] for identity in IDS[start : start + 3]) for start in (0, 4, 8, 12, 16)}
    of: dict[Group, str] = {}
    for name in ("holdout", "untouched"):
        part = found.split(name)
        for identity, group in sorted(zip(part.ids, groups_of(part), strict=True)):
            of[group] = of.get(group, "") + identity[2:]
    assert len(of) == 3 and set(of.values()) < blocks
    assert groups_of(found.split("validation")) is None
    other = held_blocks(dataset(IDS, []), split="validation", block=3, margin=1, holdout=3, untouched=6, seed=1)
    assert set(other.split("holdout").ids) == set(found.split("holdout").ids)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"block": 0}, "held_blocks.block is 0; expected at least 1"),
        ({"margin": -1}, "held_blocks.margin is -1"),
        ({"holdout": 0}, "held_blocks.holdout is 0"),
        ({"untouched": 0}, "held_blocks.untouched is 0"),
        ({"holdout": 300}, "300 and 100, but split 'validation' of data set 'made_up' has 30 blocks"),
        ({"holdout": 1, "untouched": 2}, "are 1 and 2, in blocks of 10; expected a block at least"),
    ],
)
def test_what_held_blocks_refuses(arguments: dict[str, int], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        held(**arguments)


def test_camvids_held_blocks(shared: Path) -> None:
    """As camvid.gin and study_camvid.gin have them."""
    camvid = folder(str(shared / "data/camvid"), groups=Groups("^([^_]+)_"))
    found = held_blocks(camvid)
    lengths = {name: len(found.split(name)) for name in ("train", "holdout", "untouched", "validation")}
    assert lengths == {"train": 171, "holdout": 50, "untouched": 100, "validation": 101}
    for name in ("train", "holdout", "untouched"):
        assert {identity.split("_")[0] for identity in found.split(name).ids} == {"0001TP", "0006R0", "0016E5"}


def test_joined_splits_stand_one_after_the_other() -> None:
    whole = dataset(IDS, []).split("validation")
    both = Joined(Subset(whole, (7, 3)), Subset(whole, (5, 3, 9)))
    assert both.ids == ("id07", "id03", "id05", "id03", "id09") and len(both) == 5
    assert [int(both[i].image[0, 0, 0]) for i in range(-5, 5)] == [7, 3, 5, 3, 9] * 2
    with pytest.raises(IndexError):
        both[5]
