"""What the numbers in masks are shown as, compared between files."""

from load_tf.data.colours import voc_palette
from load_tf.data.palettes import GREYS, Numbers, Palettes, greys_of_bits

BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)


def said(*files: Numbers) -> list[str]:
    palettes = Palettes()
    for number, numbers in enumerate(files):
        palettes.add(f"m{number}", numbers)
    return palettes.suspicions()


def test_one_palette_is_no_contradiction() -> None:
    voc = voc_palette()
    assert said(Numbers((0, 7), voc), Numbers((0, 1, 255), voc)) == []
    # Grey masks beside palettes of the same numbers, trimmed palettes, depths that hold the same numbers.
    assert said(Numbers((0, 1, 2), GREYS), Numbers((0, 1), voc), Numbers((0, 1), voc[:2])) == []
    # A number without a colour is shown as nothing.
    assert said(Numbers((0, 1, 255), voc[:2]), Numbers((255,), voc)) == []


def test_one_colour_under_two_numbers() -> None:
    (sentence,) = said(Numbers((0, 1), (BLACK, RED)), Numbers((0, 1, 2), (BLACK, GREEN, RED)))
    assert "(255, 0, 0) is 1 in 'm0' and 2 in 'm1'; 1 is (255, 0, 0) in 'm0' and (0, 255, 0) in 'm1'" in sentence
    # A palette may repeat a colour: then the files agree.
    assert said(Numbers((0, 1), (BLACK, RED, RED)), Numbers((0, 2), (BLACK, RED, RED))) != []
    assert "differently" not in said(Numbers((0, 1), (BLACK, RED, RED)), Numbers((0, 2), (BLACK, RED, RED)))[0]


def test_one_number_in_two_colours() -> None:
    (sentence,) = said(Numbers((0, 1), (BLACK, RED)), Numbers((0, 1), (BLACK, GREEN)))
    assert "1 is (255, 0, 0) in 'm0' and (0, 255, 0) in 'm1'" in sentence


def test_masks_that_were_stored_in_fewer_bits() -> None:
    """White is 1 in one bit and 255, void, in eight."""
    (sentence,) = said(Numbers((0, 1), greys_of_bits(1)), Numbers((0, 1, 255), GREYS))
    assert "(255, 255, 255) is 1 in 'm0' and 255 in 'm1'" in sentence and "save all of them in 8" in sentence
    assert said(Numbers((0, 1), greys_of_bits(1)), Numbers((0, 1), GREYS)) == []
    assert greys_of_bits(2) == ((0, 0, 0), (85, 85, 85), (170, 170, 170), (255, 255, 255))


def test_two_labels_in_one_colour() -> None:
    (sentence,) = said(Numbers((0, 1, 2), (BLACK, RED, RED)))
    assert sentence.startswith("palettes show two labels in one colour ((255, 0, 0) is both 1 and 2), in 'm0'")
    # Void has no colour of its own in many palettes.
    assert said(Numbers((0, 255), (BLACK,) * 256)) == []


def test_the_palette_of_voc_under_other_numbers() -> None:
    """All masks alike: no comparison shows it."""
    voc = voc_palette()
    sorted_by_use = (voc[0], voc[2], voc[1], voc[255])
    (sentence,) = said(Numbers((0, 1, 2, 3), sorted_by_use), Numbers((0, 1, 2), sorted_by_use))
    assert sentence.startswith(
        "palettes show the colours of PASCAL VOC's under other numbers ((0, 128, 0) is 1, there 2)"
    )
    assert said(Numbers((0, 1, 255), voc)) == said(Numbers((0, 1), (BLACK, RED))) == []
    assert said(Numbers((0, 1), (voc[0], voc[7]))) == [], "two greys are no palette of VOC's"


def test_when_greys_are_meant() -> None:
    def meant(greys: list[int], used: tuple[int, ...]) -> bool:
        return Numbers(used, tuple((g, g, g) for g in greys)).greys_instead()

    assert meant([0, 255, 2, 1], (0, 1, 2, 3)) and meant([255, 0], (0, 1)) and meant([1, 0], (0, 1))
    assert meant([0, 2], (0, 1)) and meant([7], (0,)) and meant([0, 1, 255, 0], (0, 1, 2))
    assert not meant([0, 1, 2], (0, 1, 2)) and not meant([0, 255, 2, 1], (0, 2)), "where all stand at their own"
    assert not meant([0, 255], (0, 1)) and not meant([0, 85, 170, 255], (1, 2)) and not meant([0, 127, 255], (0, 1, 2))
    assert not meant([0, 255], (0, 1, 2)), "a number without a colour"
    assert not Numbers((0, 1), (BLACK, (9, 9, 9), RED)).greys_instead()


def test_thousands_of_palettes_take_no_more_memory_than_some() -> None:
    palettes = Palettes()
    for number in range(3000):
        palettes.add(f"m{number:04d}", Numbers((0,), ((number % 251, number // 251, 1),)))
    (sentence,) = palettes.suspicions()
    assert sentence.count(" in 'm") == 4 and ", and 1021 more such" in sentence
