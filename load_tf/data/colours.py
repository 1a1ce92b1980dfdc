"""Colours of classes: the PASCAL VOC palette, and one for data sets that have no colours."""

Colour = tuple[int, int, int]
"""RGB, each in [0, 255]."""

VOID_COLOUR: Colour = (224, 224, 192)
"""What PASCAL VOC paints void (255) with; entry 255 of its palette."""

# Not one of them is of VOC's palette: a mask painted with them is not taken for one of VOC's with other numbers.
_TWENTY: tuple[Colour, ...] = (
    *((0, 114, 178), (230, 159, 0), (60, 180, 75), (145, 30, 180), (66, 212, 244), (230, 25, 75), (255, 225, 25)),
    *((240, 50, 230), (0, 0, 117), (170, 255, 195), (154, 99, 36), (250, 190, 212), (133, 0, 0), (70, 153, 144)),
    *((191, 239, 69), (220, 190, 255), (110, 110, 0), (245, 130, 48), (0, 85, 45), (120, 120, 120)),
)


def voc_palette(count: int = 256) -> tuple[Colour, ...]:
    """The first colours of the PASCAL VOC palette, by the formula of the VOC development kit (`VOClabelcolormap.m`).

    The bits of the label are dealt out to red, green and blue in turn, from the highest bit of each colour down, so
    that neighbouring labels differ strongly.

    Args:
      count: how many, 1 to 256.

    Returns:
      `count` RGB triples; the first, for label 0, is black.
    """

    def colour(label: int) -> Colour:
        channels = [0, 0, 0]
        for position in range(8):
            for channel in range(3):
                channels[channel] |= (label >> channel & 1) << (7 - position)
            label >>= 3
        return channels[0], channels[1], channels[2]

    return tuple(colour(label) for label in range(count))


def qualitative_palette(count: int) -> tuple[Colour, ...]:
    """Colours to look at: the first twenty are told apart at a glance, those after them are VOC's.

    VOC's first twenty have black for label 0, whatever it is, and several dark reds.

    Args:
      count: how many, 1 to 256.
    """
    return (*_TWENTY, *voc_palette()[len(_TWENTY) :])[:count]
