"""Images that look like neighbours are found, others are not; and what is said of them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from load_tf.data.groups import Group
from load_tf.data.neighbours import NEAR, SIZE, Part, nearest, signature, suspicions


def scene(seed: int, shift: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """uint8 [H, W, 3]: coloured fields; a shift of a pixel or two is a neighbouring frame."""
    fields = np.random.default_rng(seed).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    whole = np.asarray(Image.fromarray(fields).resize((size[1] + 8, size[0]), Image.Resampling.BILINEAR))
    return whole[:, shift : shift + size[1]]


def part(images: list[np.ndarray], name: str, groups: tuple[Group, ...] | None = None) -> Part:
    ids = tuple(f"{name}{number}" for number in range(len(images)))
    return Part(ids, np.stack([signature(image) for image in images]), groups)


def test_the_signature_is_that_of_a_slow_computation() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 50, 3)).astype(np.uint8)
    rows, columns = np.linspace(0, 33, 9).astype(int), np.linspace(0, 50, 9).astype(int)
    fields = np.zeros((8, 8, 3))
    for i, j in itertools.product(range(8), range(8)):
        fields[i, j] = image[rows[i] : rows[i + 1], columns[j] : columns[j + 1]].mean((0, 1))
    red, green, blue = fields[..., 0], fields[..., 1], fields[..., 2]
    channels = [(red + green + blue) / 3, 3 * (red - green), 3 * ((red + green) / 2 - blue)]
    down = [channel[1:] - channel[:-1] for channel in channels]
    right = [channel[:, 1:] - channel[:, :-1] for channel in channels]
    expected = np.concatenate([np.ravel(down), np.ravel(right)])
    found = signature(image)
    assert found.shape == (SIZE,) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 300), (600, 800)])
def test_any_size_has_a_signature(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    assert np.linalg.norm(signature(image)) == pytest.approx(0 if size == (1, 1) else 1, abs=1e-5)
    # An image of one colour is like no other.
    assert not signature(np.full((*size, 3), 77, np.uint8)).any()


def test_an_image_at_another_size_or_brightness_looks_the_same() -> None:
    image = scene(3, size=(96, 128))
    small = np.asarray(Image.fromarray(image).resize((40, 30), Image.Resampling.BOX))
    dark = (image // 2 + 9).astype(np.uint8)
    assert signature(image) @ signature(small) > 0.98 and signature(image) @ signature(dark) > 0.99
    assert signature(image) @ signature(scene(4)) < 0.5


def test_the_nearest_is_that_of_a_loop() -> None:
    random = np.random.default_rng(2)
    these, those = (random.normal(size=(n, 5)).astype(np.float32) for n in (2500, 40))
    places, cosines = nearest(these, those)
    for row in (0, 1023, 1024, 2499):
        all_ = [float(these[row] @ other) for other in those]
        assert places[row] == int(np.argmax(all_)) and cosines[row] == pytest.approx(max(all_), rel=1e-5)
    places, _ = nearest(those, those, itself=True)
    assert (places != np.arange(40)).all()


def test_neighbours_in_two_parts_are_counted() -> None:
    train = part([scene(seed) for seed in range(6)], "t")
    judged = part([scene(0, 1), scene(50), scene(51), scene(3, 1), scene(52)], "v")
    (sentence,) = suspicions({"train": train, "validation": judged})
    assert sentence.startswith("2 of 5 images of 'validation' look like neighbours of 'train' ('v")
    assert "groups.pattern = '^([^_]+)_'" in sentence and "groups.block = 10" in sentence
    # Negative control: other scenes.
    assert suspicions({"train": train, "validation": part([scene(50), scene(51)], "v")}) == []
    # The same ids are another fault.
    assert suspicions({"train": train, "validation": train}) == []


def test_a_split_that_is_to_be_drawn_from_is_compared_with_itself() -> None:
    clip = part([scene(0, shift) for shift in range(4)] + [scene(9)], "v")
    parts = {"train": part([scene(20)], "t"), "validation": clip}
    (sentence,) = suspicions(parts, "validation")
    assert sentence.startswith("4 of 5 images of 'validation' look like neighbours of others of it")
    assert suspicions(parts) == []
    grouped = Part(clip.ids, clip.signatures, (Group("a"),) * 4 + (Group("b"),))
    assert suspicions({**parts, "validation": grouped}, "validation") == []


def test_groups_are_taken_at_their_word_unless_two_parts_share_one() -> None:
    images = [scene(0), scene(1)], [scene(0, 1), scene(2)]

    def found(train: tuple[Group, ...] | None, judged: tuple[Group, ...] | None) -> list[str]:
        return suspicions({"train": part(images[0], "t", train), "validation": part(images[1], "v", judged)})

    a, b, c, d = (Group(name) for name in "abcd")
    assert found((a, b), (c, d)) == []
    (sentence,) = found((a, b), (a, d))
    assert sentence.startswith("splits 'train' and 'validation' share 1 group, 'a', and 1 of 2 images")
    assert "lists that keep groups whole" in sentence
    (sentence,) = found((a, b), None)
    assert sentence.startswith("1 of 2 images")
    # The first block of one list is not the first of another; but what looks alike does.
    (sentence,) = found((Group("", 0), Group("", 1)), (Group("", 0), Group("", 1)))
    assert sentence.startswith("1 of 2 images")
    assert found((Group("a", 0), Group("a", 2)), (Group("a", 1), Group("a", 3))) == []


def test_a_few_that_look_alike_among_many_are_chance_unless_they_are_the_same() -> None:
    def parts(cosine: float) -> dict[str, Part]:
        basis = np.eye(SIZE, dtype=np.float32)
        judged = basis[100:200].copy()
        judged[0] = cosine * basis[0] + np.sqrt(1 - cosine**2) * basis[100]
        ids = (tuple(f"{letter}{n}" for n in range(100)) for letter in "tv")
        return {"train": Part(next(ids), basis[:100], None), "validation": Part(next(ids), judged, None)}

    assert suspicions(parts(0.9)) == []
    (sentence,) = suspicions(parts(0.96))
    assert sentence.startswith("1 of 100 images of 'validation' look like neighbours of 'train' ('v0' and 't0' most)")


def looks(folder: Path, ids: list[str], suffix: str) -> np.ndarray:
    return np.stack([signature(np.asarray(Image.open(folder / f"{id_}{suffix}").convert("RGB"))) for id_ in ids])


def test_on_video_neighbours_are_found(shared: Path) -> None:
    ids = {name: (shared / f"data/camvid/{name}.txt").read_text().split() for name in ("train", "val")}
    clip = looks(shared / "data/camvid/images", ids["val"][::4], ".jpg")
    cosines = nearest(clip, clip, itself=True)[1]
    assert (cosines > NEAR).all(), "seven seconds of one street"
    street = looks(shared / "data/camvid/images", ids["train"][:60], ".jpg")
    one_by_one = np.sum(street[1:] * street[:-1], axis=1)
    assert 0.2 < (one_by_one > NEAR).mean() < 0.9


def test_on_photographs_only_twins_are(shared: Path) -> None:
    folder = shared / "data/stanford_background/images"
    ids = sorted(file.stem for file in folder.iterdir())
    # Two that are in the set twice, and 120 others.
    twins = ["6000257", "6000348", "1000875", "9000875"]
    signatures = looks(folder, twins + [id_ for id_ in ids if id_ not in twins][:120], ".jpg")
    places, cosines = nearest(signatures, signatures, itself=True)
    assert np.flatnonzero(cosines > NEAR).tolist() == [0, 1, 2, 3] and places[:4].tolist() == [1, 0, 3, 2]
