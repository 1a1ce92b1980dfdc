"""The buffer's sets and the discriminator's batches, against loops over single maps."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from load_tf.discriminator.buffer import (
    Draw,
    LabelMapSet,
    batches,
    draw_pairs,
    draw_union,
    holdout_pairs,
    image_order,
    mask_void,
    stream,
)
from load_tf.discriminator.grid import GridExamples
from load_tf.storage.arrays import read_arrays, write_arrays
from tests import grids

N, G, K = 11, 6, 5


@pytest.fixture(scope="module")
def examples() -> GridExamples:
    return grids.examples(N, G, K, void=0.2)


@pytest.fixture(scope="module")
def sets() -> list[np.ndarray]:
    """Maps as networks make them: no void."""
    return [np.random.default_rng(s).integers(0, K, (N, G, G), dtype=np.uint8) for s in (1, 2, 3)]


def collect(dataset: tf.data.Dataset) -> list[dict[str, np.ndarray]]:
    return [{name: tensor.numpy() for name, tensor in element.items()} for element in dataset]


def joined(dataset: tf.data.Dataset, name: str) -> np.ndarray:
    return np.concatenate([element[name] for element in collect(dataset)])


# --- draws


def test_a_pair_is_an_images_real_and_a_fake_map() -> None:
    draw = draw_pairs(N, 3, 0, 2, 1)
    assert sorted(draw.image[0::2]) == list(range(N))
    np.testing.assert_array_equal(draw.image[0::2], draw.image[1::2])
    np.testing.assert_array_equal(draw.flip[0::2], draw.flip[1::2])
    assert (draw.source[0::2] == -1).all()
    assert set(draw.source[1::2]) <= {0, 1, 2}
    np.testing.assert_array_equal(draw.weight, np.ones(2 * N, np.float32))
    assert draw.image.shape == draw.source.shape == draw.flip.shape == draw.weight.shape == (2 * N,)


def test_pairs_draw_all_sets_and_flips_alike() -> None:
    """3000 images: each set a third, each way half, within 4 sigma; neither depends on the other."""
    draw = draw_pairs(3000, 3, 0)
    fakes, flips = draw.source[1::2], draw.flip[1::2]
    for number in range(3):
        assert abs(np.mean(fakes == number) - 1 / 3) < 4 * np.sqrt(2 / 9 / 3000)
        assert abs(np.mean(flips[fakes == number]) - 0.5) < 4 * np.sqrt(0.25 / 1000)


@pytest.mark.parametrize("draw", [draw_pairs, draw_union])
def test_draws_are_keyed(draw) -> None:
    one, again, next_epoch, other_seed = (
        draw(50, 2, 0, 3, 0),
        draw(50, 2, 0, 3, 0),
        draw(50, 2, 0, 3, 1),
        draw(50, 2, 1, 3, 0),
    )
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    for other in (next_epoch, other_seed):
        for field in ("image", "flip", "source"):
            fakes = slice(1, None, 2) if draw is draw_pairs else slice(None)
            assert (getattr(one, field)[fakes] != getattr(other, field)[fakes]).mean() > 0.2


@pytest.mark.parametrize("sets", [1, 2, 3])
def test_union_shows_every_map_once_and_weighs_both_sides_alike(sets: int) -> None:
    draw = draw_union(N, sets, 0, 1)
    shown = Counter(zip(draw.image.tolist(), draw.source.tolist(), strict=True))
    assert shown == {(image, source): 1 for image in range(N) for source in range(-1, sets)}
    assert draw.weight.mean() == pytest.approx(1)
    real = draw.source < 0
    assert draw.weight[real].sum() == pytest.approx(draw.weight[~real].sum())
    assert draw.weight.dtype == np.float32
    if sets == 3:  # 4 maps an image: the real one weighs as much as three fakes
        assert set(draw.weight[real].tolist()) == {2.0}
        assert set(draw.weight[~real].tolist()) == {np.float32(2 / 3)}
    assert 0 < draw.flip.mean() < 1


# --- batches


def test_mask_void_by_hand() -> None:
    maps = np.array([[1, 2, 3], [0, 0, 4]], np.uint8)
    truth = np.array([[255, 2, 0], [1, 255, 255]], np.uint8)
    masked = mask_void(maps, truth)
    assert masked.tolist() == [[255, 2, 3], [0, 255, 255]]
    assert masked.dtype == np.uint8
    assert maps.tolist() == [[1, 2, 3], [0, 0, 4]]


@pytest.mark.parametrize("batch_size", [1, 4, 16, 100])
def test_batches_map_by_map(examples: GridExamples, sets: list[np.ndarray], batch_size: int) -> None:
    """22 maps: every element by brute force, among them a last batch that is smaller."""
    draw = draw_pairs(N, 3, 0)
    elements = collect(batches(examples, sets, draw, batch_size, 0))
    assert [len(e["maps"]) for e in elements] == [min(batch_size, 22 - s) for s in range(0, 22, batch_size)]
    place = 0
    for element in elements:
        for row in range(len(element["maps"])):
            image, source, flip = draw.image[place], draw.source[place], draw.flip[place]
            expected, picture = np.empty((G, G), np.uint8), np.empty((G, G, 3), np.uint8)
            for y, x in np.ndindex(G, G):
                from_x = G - 1 - x if flip else x
                truth = examples.labels[image, y, from_x]
                expected[y, x] = truth if truth == 255 or source < 0 else sets[source][image, y, from_x]
                picture[y, x] = examples.images[image, y, from_x]
            np.testing.assert_array_equal(element["maps"][row], expected)
            np.testing.assert_array_equal(element["images"][row], picture)
            assert element["real"][row] == (source < 0)
            assert element["weights"][row] == draw.weight[place]
            place += 1
    assert place == 22
    assert (draw.flip & (draw.source >= 0)).any()
    assert (~draw.flip & (draw.source >= 0)).any()


def test_void_is_the_same_in_real_and_fake(examples: GridExamples, sets: list[np.ndarray]) -> None:
    """Also when a stored set calls nothing void where the truth does, or something void where the truth doesn't."""
    maps = joined(batches(examples, sets, draw_pairs(N, 3, 0), 4, 0), "maps")
    np.testing.assert_array_equal(maps[0::2] == 255, maps[1::2] == 255)
    assert 0.1 < (maps == 255).mean() < 0.3
    np.testing.assert_array_equal(sorted((maps[0::2] == 255).sum((1, 2))), sorted((examples.labels == 255).sum((1, 2))))


def test_batches_leave_what_is_stored_alone(examples: GridExamples, sets: list[np.ndarray]) -> None:
    before = [array.copy() for array in (examples.images, examples.labels, *sets)]
    collect(batches(examples, sets, draw_union(N, 3, 0), 4, 0))
    for old, new in zip(before, (examples.images, examples.labels, *sets), strict=True):
        np.testing.assert_array_equal(old, new)


def test_batches_read_only_arrays(examples: GridExamples, sets: list[np.ndarray], tmp_path: Path) -> None:
    """What comes back from a file is a read-only view of it."""
    stored = read_arrays(write_arrays(tmp_path / "set", {"maps": sets[0]}, tmp_path), tmp_path)["maps"]
    assert not stored.flags.writeable
    draw = draw_pairs(N, 1, 0)
    np.testing.assert_array_equal(
        joined(batches(examples, [stored], draw, 8, 0), "maps"), joined(batches(examples, sets[:1], draw, 8, 0), "maps")
    )


def test_union_batches_carry_their_weights(examples: GridExamples, sets: list[np.ndarray]) -> None:
    dataset = batches(examples, sets, draw_union(N, 3, 0), 16, 0)
    real, weights = joined(dataset, "real"), joined(dataset, "weights")
    assert real.sum() == N
    assert len(real) == 4 * N
    assert weights[real == 1].sum() == pytest.approx(weights[real == 0].sum())


def test_dropout_keys(examples: GridExamples, sets: list[np.ndarray]) -> None:
    """The same when asked again, different from batch to batch, epoch to epoch, cycle to cycle, seed to seed."""
    draw = draw_pairs(N, 3, 0)

    def keys(*key: int) -> list[list[int]]:
        return [e["key"].tolist() for e in collect(batches(examples, sets, draw, 4, *key))]

    everywhere = [key for place in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)) for key in keys(*place)]
    assert len({tuple(key) for key in everywhere}) == len(everywhere) == 24
    assert keys(0, 0, 0) == keys(0, 0, 0)


def test_holdout_pairs_stand_as_they_are(examples: GridExamples, sets: list[np.ndarray]) -> None:
    """Unflipped, each image once real and once fake, in batches that hold whole pairs."""
    elements = collect(holdout_pairs(examples, sets, 8, 0, 4))
    assert [len(e["real"]) for e in elements] == [8, 8, 6]
    seen = []
    for element in elements:
        np.testing.assert_array_equal(element["real"], [1, 0] * (len(element["real"]) // 2))
        for row in range(0, len(element["maps"]), 2):
            (number,) = (n for n in range(N) if (examples.images[n] == element["images"][row]).all())
            np.testing.assert_array_equal(element["images"][row + 1], examples.images[number])
            np.testing.assert_array_equal(element["maps"][row], examples.labels[number])
            fakes = [mask_void(s[number], examples.labels[number]) for s in sets]
            assert any((element["maps"][row + 1] == fake).all() for fake in fakes)
            seen.append(number)
    assert sorted(seen) == list(range(N))


def test_holdout_pairs_of_a_cycle_are_the_same_every_epoch(examples: GridExamples, sets: list[np.ndarray]) -> None:
    one, again, next_cycle = (joined(holdout_pairs(examples, sets, 8, 0, cycle), "maps") for cycle in (4, 4, 5))
    np.testing.assert_array_equal(one, again)
    assert (one != next_cycle).any()


def test_a_single_image_and_set(examples: GridExamples, sets: list[np.ndarray]) -> None:
    one = GridExamples(examples.images[:1], examples.labels[:1])
    draw = Draw(np.array([0, 0]), np.array([-1, 0]), np.array([True, True]), np.ones(2, np.float32))
    (element,) = collect(batches(one, [sets[0][:1]], draw, 16, 0))
    np.testing.assert_array_equal(element["maps"][0], examples.labels[0, :, ::-1])
    np.testing.assert_array_equal(element["images"][0], examples.images[0, :, ::-1])


# --- sets and streams


def test_set_to_a_file_and_back(sets: list[np.ndarray], tmp_path: Path) -> None:
    one = LabelMapSet(sets[0], sets[1][:3], cycle=7)
    back = LabelMapSet.from_arrays(read_arrays(write_arrays(tmp_path / "g1", one.to_arrays(), tmp_path), tmp_path))
    np.testing.assert_array_equal(back.training, one.training)
    np.testing.assert_array_equal(back.holdout, one.holdout)
    assert back.training.dtype == back.holdout.dtype == np.uint8
    assert back.cycle == 7
    assert isinstance(back.cycle, int)


def test_stream_keeps_the_order() -> None:
    specification = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([2], tf.int32))
    produce = lambda p: (np.arange(p), np.array([p, -p], np.int32))  # noqa: E731
    elements = list(stream(produce, range(3, 40, 4), specification))
    assert [len(a) for a, _ in elements] == list(range(3, 40, 4))
    assert [b.numpy().tolist() for _, b in elements] == [[p, -p] for p in range(3, 40, 4)]


def test_image_order_visits_all_images_epoch_by_epoch() -> None:
    stream_of_images = list(image_order(7, 0, 0, 35))
    epochs = [stream_of_images[s : s + 7] for s in range(0, 35, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert list(image_order(7, 1, 0, 35)) != stream_of_images


@pytest.mark.parametrize(("start", "count"), [(0, 5), (5, 5), (6, 2), (7, 7), (13, 16), (34, 1), (10, 0)])
def test_image_order_can_be_entered_anywhere(start: int, count: int) -> None:
    assert list(image_order(7, 0, start, count)) == list(image_order(7, 0, 0, 35))[start : start + count]
