"""The PASCAL VOC palette, and the one for data sets without colours."""

import numpy as np

from load_tf.data.colours import VOID_COLOUR, Colour, qualitative_palette, voc_palette


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


def nearest(colours: tuple[Colour, ...]) -> float:
    """The least distance of two colours in CIE L*a*b*, where 2 is just seen side by side."""
    share = np.array(colours) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    xyz = linear @ to_xyz / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)
    return float(apart[~np.eye(len(lab), dtype=bool)].min())


def test_colours_for_data_without_any_are_told_apart_from_each_other_and_from_void() -> None:
    twenty = qualitative_palette(20)
    assert nearest((*twenty, VOID_COLOUR)) > 25
    assert nearest(voc_palette(20)) < 10, "VOC's are not"
    assert not {*twenty} & {*voc_palette()}, "a mask in these colours is none of VOC's with other numbers"
    assert qualitative_palette(3) == twenty[:3]
    assert len({*qualitative_palette(256)}) == 256 and qualitative_palette(256)[20:] == voc_palette()[20:]
