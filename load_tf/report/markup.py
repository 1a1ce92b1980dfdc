"""HTML and SVG without a template: text is escaped unless it was made here.

Class names, image ids and configs come from people's files; none of them can become a tag of the report.
"""

import html


class Markup(str):
    """Text that is HTML already; everything else is escaped by `tag`."""

    __slots__ = ()


EMPTY_ELEMENTS = frozenset({"br", "img", "input", "meta", "link", "hr"})
"""Elements that have no end tag."""


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
      name: e.g. "td".
      children: what is in it: `Markup` as it is, None not at all, all else as escaped text.
      attributes: `data_value` becomes `data-value` and `class_` becomes `class`; True stands alone, None and False are
        left out. Values are escaped.
    """
    parts = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            parts.append(f'{key}="{html.escape(_text(value), quote=True)}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if name in EMPTY_ELEMENTS else f"{opening}{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Children one after the other, escaped as in `tag`."""
    texts = (
        child if isinstance(child, Markup) else html.escape(_text(child), quote=False)
        for child in children
        if child is not None
    )
    return Markup("".join(texts))


def _text(value: object) -> str:
    """Coordinates with two decimals at most: the file stays small."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
