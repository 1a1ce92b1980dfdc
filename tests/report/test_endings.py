"""How a cycle ends is told in the same words everywhere."""

import inspect
import re
from pathlib import Path

from load_tf.algorithm import lookahead
from load_tf.report.endings import ENDINGS, Ending, ending

PACKAGE = Path(__file__).resolve().parents[2] / "load_tf"


def test_every_reason_of_the_algorithm_has_its_words() -> None:
    returned = re.findall(r'return "(\w+)"', inspect.getsource(lookahead._reason_to_end))
    assert sorted(returned) == sorted(ENDINGS)


def test_the_words_stand_in_one_place() -> None:
    assert len({how.sign for how in ENDINGS.values()}) == len({how.marker for how in ENDINGS.values()}) == 4
    for how in ENDINGS.values():
        users = [path.name for path in PACKAGE.rglob("*.py") if f'"{how.sentence}"' in path.read_text()]
        assert users == ["endings.py"]


def test_a_word_of_another_version_stands_for_itself() -> None:
    assert ending("bored") == Ending("bored", "bored", "●", "o")
    assert ending("budget").label == "budget"
