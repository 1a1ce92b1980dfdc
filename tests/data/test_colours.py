"""The PASCAL VOC palette."""

from load_tf.data.colours import VOID_COLOUR, voc_palette


def test_palette_has_the_published_colours() -> None:
    # As printed in the VOC development kit's documentation and in many code bases.
    assert voc_palette(21) == (
        *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)),
        *((128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128)),
        *((64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128)),
    )


def test_all_256_colours_differ_and_the_last_is_void() -> None:
    palette = voc_palette()
    assert len(set(palette)) == 256
    assert palette[255] == VOID_COLOUR
