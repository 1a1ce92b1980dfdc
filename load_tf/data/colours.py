"""Colours of classes: the PASCAL VOC palette, which numbers any count of classes with well separated colours."""

Colour = tuple[int, int, int]
"""RGB, each in [0, 255]."""

VOID_COLOUR: Colour = (224, 224, 192)
"""What PASCAL VOC paints void (255) with; entry 255 of its palette."""


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
