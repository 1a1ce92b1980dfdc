"""What belongs together: found by a pattern, a table or blocks, and kept by every part of a split."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from load_tf.data.dataset import Example, ExampleList, Grouped, Joined, SegmentationDataset, Subset, groups_of
from load_tf.data.groups import Group, Groups, as_groups, in_words
from load_tf.data.pairs import as_splits
from load_tf.errors import UserError


def examples(ids: tuple[str, ...]) -> ExampleList:
    image = np.zeros((2, 2, 3), np.uint8)
    return ExampleList([Example(image + n, image[..., 0], id_) for n, id_ in enumerate(ids)])


def test_a_patterns_first_bracket_or_its_whole_match_is_the_name() -> None:
    ids = ("0001TP_006690", "0006R0_f00930", "0001TP_006720")
    expected = (Group("0001TP"), Group("0006R0"), Group("0001TP"))
    assert Groups("^([^_]+)_").labels(ids) == expected
    assert Groups("^[^_]+").labels(ids) == expected
    assert Groups("/(p[0-9]+)/").labels(("a/p7/1", "b/p7/1")) == (Group("p7"), Group("p7"))
    # A bracket that takes no part in the match is no name.
    with pytest.raises(
        UserError, match=r"pattern '\^\(x\)\?a' does not match 1 of 2 ids: 'ab'; expected a pattern that"
    ):
        Groups("^(x)?a").labels(("xab", "ab"))


def test_blocks_are_of_consecutive_ids_whatever_their_order() -> None:
    ids = tuple(f"f{number}" for number in (10, 2, 9, 1, 3, 11, 8))
    # By value: 1 2 3 | 8 9 10 | 11.
    found = dict(zip(ids, (group.block for group in Groups(block=3).labels(ids)), strict=True))
    assert found == {"f1": 0, "f2": 0, "f3": 0, "f8": 1, "f9": 1, "f10": 1, "f11": 2}
    assert {group.name for group in Groups(block=3).labels(ids)} == {""}


def test_blocks_are_inside_the_sequences() -> None:
    ids = ("a_1", "a_2", "a_3", "b_1", "b_2")
    found = Groups("^([^_]+)", block=2).labels(ids)
    assert found == (Group("a", 0), Group("a", 0), Group("a", 1), Group("b", 0), Group("b", 0))
    assert list(map(str, found[1:4])) == ["a, block 0", "a, block 1", "b, block 0"]
    # Negative control: without the pattern a block has frames of both.
    assert Groups(block=2).labels(ids)[2] == Groups(block=2).labels(ids)[3] == Group("", 1)
    assert str(Group("", 1)) == "block 1" and str(Group("a")) == "a"
    assert in_words(found) == "3 blocks of up to 2 images in 2 sequences"
    assert in_words(Groups(block=2).labels(ids)) == "3 blocks of up to 2 images"
    assert in_words(Groups("^([^_]+)").labels(ids)) == "2 groups of up to 3 images"


@pytest.mark.parametrize(("name", "separator"), [("groups.csv", ","), ("groups.tsv", "\t")])
def test_a_table(tmp_path: Path, name: str, separator: str) -> None:
    file = tmp_path / name
    file.write_text(
        "".join(f"{a}{separator}{b}\n" for a, b in (("id", "group"), ("x", "p1"), ("y", "p2"), ("z", "p1")))
    )
    assert Groups(table=str(file)).labels(("z", "y", "x")) == (Group("p1"), Group("p2"), Group("p1"))
    assert Groups(table={"x": "p1", "y": "p2"}).labels(("y", "x")) == (Group("p2"), Group("p1"))
    with pytest.raises(
        UserError, match=f"{re.escape(str(file))} lacks 2 of 3 ids: 'v', 'w'; expected a group for every"
    ):
        Groups(table=str(file)).labels(("v", "x", "w"))
    with pytest.raises(UserError, match="the table lacks 1 of 1 ids: 'v'"):
        Groups(table={"x": "p1"}).labels(("v",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("x\n", r"\['x'\] is no id with its group"), ("x,\n", "no id with"), ("x,a\nx,b\n", "names 'x' in two groups")],
)
def test_faulty_tables(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=expected):
        Groups(table=str(tmp_path / "t.csv")).labels(("x",))
    with pytest.raises(UserError, match="can't be read"):
        Groups(table=str(tmp_path / "none.csv")).labels(("x",))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "neither pattern, nor table, nor block"),
        ({"pattern": "a", "table": {"a": "b"}}, "both pattern and table"),
        ({"block": 0}, "groups.block is 0; expected a whole number above 0"),
        ({"pattern": "("}, r"groups.pattern '\(' is no regular expression"),
    ],
)
def test_faulty_arguments(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        Groups(**arguments)


def test_parts_of_a_split_keep_the_groups_of_the_whole() -> None:
    whole = SegmentationDataset(
        "d", ("a", "b"), ((0, 0, 0), (1, 1, 1)), {"s": lambda: examples(tuple("abcdef"))}, Groups(block=2)
    ).split("s")
    every_second = Subset(whole, (0, 2, 4))
    # Blocks of the subset would be ac | e.
    assert groups_of(every_second) == (Group("", 0), Group("", 1), Group("", 2))
    assert groups_of(Joined(every_second, Subset(whole, (5,)))) == (*groups_of(every_second), Group("", 2))
    assert groups_of(Joined(every_second, examples(("g",)))) is None
    assert groups_of(examples(("g",))) is None and groups_of(Subset(examples(("g",)), (0,))) is None
    assert whole[3].id == "d" and len(whole) == 6 and whole.ids == tuple("abcdef")


def test_a_split_with_groups_of_its_own_keeps_them() -> None:
    own = Grouped(examples(("x", "y")), (Group("p"), Group("q")))
    dataset = SegmentationDataset("d", ("a", "b"), ((0, 0, 0), (1, 1, 1)), {"s": lambda: own}, Groups(block=2))
    assert groups_of(dataset.split("s")) == (Group("p"), Group("q"))


def test_groups_from_python() -> None:
    ids = ("x_1", "y_1")
    same = (Group("x"), Group("y"))
    for given in (Groups("^(.)"), "^(.)", ["x", "y"], np.array(["x", "y"]), {"y_1": "y", "x_1": "x", "z": "z"}):
        assert as_groups(given, ids, "validation").labels(ids) == same
    assert as_groups(2, ids, "validation") == Groups(block=2)
    assert as_groups([4, 4], ids, "validation").labels(ids) == (Group("4"), Group("4"))
    for given, expected in ((["x"], "1 names; expected one for each of the 2 images of validation"), (2.5, "is float")):
        with pytest.raises(UserError, match=expected):
            as_groups(given, ids, "validation")


def test_names_are_of_the_validation_images_and_a_pattern_is_for_all() -> None:
    splits = examples(("a_1", "a_2")), examples(("b_1", "c_1"))
    assert as_splits(*splits) == {"train": splits[0], "validation": splits[1]}
    named = as_splits(*splits, ["p", "q"])
    assert groups_of(named["train"]) is None and groups_of(named["validation"]) == (Group("p"), Group("q"))
    found = as_splits(*splits, "^(.)_")
    assert groups_of(found["train"]) == (Group("a"),) * 2 and groups_of(found["validation"]) == (Group("b"), Group("c"))
