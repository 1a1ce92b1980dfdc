"""Checking a split before a run, and drawing the hold-out."""

import threading

import numpy as np
import pytest

from load_tf.data.dataset import Example, ExampleList, Grouped, SegmentationDataset, Split, groups_of
from load_tf.data.groups import Group, Groups
from load_tf.data.preparation import draw_holdout, prepare, read_all
from load_tf.errors import UserError


class Counting:
    """A split that counts how often each example is read, and refuses some."""

    def __init__(self, count: int, faulty: tuple[int, ...] = (), wrong: tuple[int, ...] = ()):
        self.count, self.faulty, self.wrong = count, faulty, wrong
        self.reads = np.zeros(count, int)
        self.lock = threading.Lock()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"i{number:03d}" for number in range(self.count))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        with self.lock:
            self.reads[index] += 1
        if index in self.faulty:
            raise UserError(f"file {index} is broken.")
        label = np.full((4, 5), 9 if index in self.wrong else index % 3, np.uint8)
        return Example(np.full((4, 5, 3), index, np.uint8), label, f"i{index:03d}")


def test_everything_is_read_once_and_kept() -> None:
    split = Counting(50)
    prepared = prepare(split, 3, "made up")
    assert prepared.ids == split.ids
    assert [int(prepared[i].image[0, 0, 0]) for i in range(50)] == list(range(50))
    assert (split.reads == 1).all()


def test_what_does_not_fit_is_streamed() -> None:
    # An example is 4 * 5 * 4 = 80 bytes.
    split = Counting(10)
    assert prepare(split, 3, "made up", max_bytes=799) is split
    assert (split.reads == 1).all()
    kept = prepare(split, 3, "made up", max_bytes=800)
    assert kept is not split and len(kept) == 10


def test_all_faults_are_listed_in_order() -> None:
    with pytest.raises(UserError) as caught:
        prepare(Counting(30, faulty=(4, 20), wrong=(7,)), 3, "made up")
    lines = str(caught.value).split("\n")
    assert lines[0] == "3 of 30 examples of made up can't be used:"
    assert lines[1] == "  file 4 is broken."
    assert "i007 holds the label 9 (20 pixels); expected 0 to 2" in lines[2]
    assert lines[3] == "  file 20 is broken."


def test_one_fault_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^file 4 is broken.$"):
        prepare(Counting(9, faulty=(4,)), 3, "made up")


def test_many_faults_are_counted() -> None:
    with pytest.raises(UserError) as caught:
        prepare(Counting(64, faulty=tuple(range(0, 64, 2))), 3, "made up")
    lines = str(caught.value).split("\n")
    assert (
        len(lines) == 22
        and lines[0].startswith("32 of 64")
        and lines[-1] == "  and 12 more, which load_tf.check_dataset lists"
    )
    assert len(caught.value.faults) == 32


def test_ids_must_be_unique_and_right() -> None:
    image, label = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.uint8)
    twice = ExampleList([Example(image, label, id_) for id_ in ("a", "b", "a")])
    with pytest.raises(UserError, match="made up names 'a' more than once"):
        prepare(twice, 3, "made up")


def test_a_programming_error_is_not_hidden() -> None:
    class Broken(Counting):
        def __getitem__(self, index: int) -> Example:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepare(Broken(5), 3, "made up")


def test_plain_tuples_will_do() -> None:
    image, label = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.uint8)
    assert prepare(ExampleList([(image, label, "a")]), 2, "made up")[0].id == "a"  # type: ignore[list-item]


def test_holdout_is_drawn_without_replacement() -> None:
    split = Counting(40)
    holdout, untouched = draw_holdout(split, 15, seed=0)
    assert (len(holdout), len(untouched)) == (15, 25)
    assert sorted(holdout.ids + untouched.ids) == list(split.ids)
    assert list(holdout.ids) == sorted(holdout.ids) != list(split.ids[:15])
    assert draw_holdout(split, 15, seed=0)[0].ids == holdout.ids
    assert draw_holdout(split, 15, seed=1)[0].ids != holdout.ids
    assert holdout[3].id == holdout.ids[3]
    assert not split.reads[[int(id_[1:]) for id_ in untouched.ids]].any()


def test_the_holdout_is_whole_groups() -> None:
    split = Grouped(Counting(40), Groups(block=6).labels(Counting(40).ids))
    holdout, untouched = draw_holdout(split, 15, seed=0)
    assert len(holdout) in (12, 16, 18) and sorted(holdout.ids + untouched.ids) == list(split.ids)
    assert set(groups_of(holdout)).isdisjoint(groups_of(untouched))
    with pytest.raises(UserError, match="the 40 images for the draw of the hold-out are of one group, 'a'"):
        draw_holdout(Grouped(Counting(40), (Group("a"),) * 40), 15, seed=0)


def test_a_prepared_split_keeps_its_groups() -> None:
    groups = Groups(block=3).labels(Counting(10).ids)
    for max_bytes in (799, 800):
        assert groups_of(prepare(Grouped(Counting(10), groups), 3, "made up", max_bytes=max_bytes)) == groups


def test_neighbours_in_two_splits_are_worth_a_look(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (16, 16, 3)).astype(np.uint8) for _ in range(4)]
    label = np.arange(256, dtype=np.uint8).reshape(16, 16) % 2

    def split(name: str, chosen: list[int]) -> Split:
        return ExampleList([Example(images[i], label, f"{name}_{n}") for n, i in enumerate(chosen)])

    def said(groups: Groups | None, validation: list[int]) -> str:
        sources = {"train": lambda: split("t", [0, 1]), "validation": lambda: split("v", validation)}
        dataset = SegmentationDataset("made_up", ("a", "b"), ((0, 0, 0), (1, 1, 1)), sources, groups)
        read_all(dataset, ("train", "validation"), drawn="validation")
        return "\n".join(line for line in capsys.readouterr().err.splitlines() if line.startswith("load_tf:"))

    assert said(None, [2, 3]) == ""
    assert "1 of 2 images of 'validation' look like neighbours of 'train' ('v_1' and 't_0' most)" in said(None, [2, 0])
    assert "2 of 3 images of 'validation' look like neighbours of others of it" in said(None, [2, 2, 3])
    # Of other sequences by their names: the person knows.
    assert "neighbours" not in said(Groups("^(.)"), [2, 0])
    shared = said(Groups("(_)"), [2, 3])
    assert "splits 'train' and 'validation' share 1 group, '_': scores there say little of other scenes" in shared


@pytest.mark.parametrize("count", [0, 40, 41])
def test_holdout_must_leave_some(count: int) -> None:
    with pytest.raises(UserError, match=f"{count} images, but there are 40"):
        draw_holdout(Counting(40), count, seed=0)
