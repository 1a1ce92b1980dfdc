"""How a cycle can end: the words and signs for it in the terminal, the figure and the page."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Ending:
    """One way to end.

    Attributes:
      sentence: why the cycle ended.
      label: the same in a legend.
      sign: a character that marks it on the page.
      marker: matplotlib's name of about the same sign.
    """

    sentence: str
    label: str
    sign: str
    marker: str


ENDINGS = {
    "patience": Ending("the cycle's iterations were used up", "patience", "■", "s"),
    "lower_bound": Ending("it fell to the lower bound", "lower bound", "▼", "v"),
    "non_finite": Ending("a number was not finite", "not finite", "✕", "X"),
    "budget": Ending("the run's iterations were used up", "budget", "◆", "D"),
}
"""By the word in the journal."""


def ending(reason: str) -> Ending:
    """That of a journal's word; a word of another version stands for itself."""
    return ENDINGS.get(reason) or Ending(reason, reason, "●", "o")
