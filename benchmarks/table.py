"""Tables on the terminal, in Markdown, a row at a time."""

from collections.abc import Sequence


def row(*cells: object) -> None:
    """Prints a row; floats with three decimals, None as a dash."""
    shown = ["–" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print(f"| {' | '.join(shown)} |", flush=True)


def header(names: Sequence[str]) -> None:
    """Prints the names of the columns, whose numbers are aligned to the right."""
    row(*names)
    print(f"|{'--:|' * len(names)}", flush=True)
