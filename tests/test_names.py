"""What others write down stays what it is: see `tests/names.py`, which makes the list again."""

import pytest

from tests import names

pytestmark = pytest.mark.portable


def test_the_names_are_those_of_the_list() -> None:
    assert names.text().splitlines() == names.FILE.read_text().splitlines(), "python -m tests.names prints the new list"


def test_a_renamed_parameter_would_be_seen() -> None:
    """The control: the list holds what runs, gin files and programs depend on, each with its default."""
    listed = names.FILE.read_text().splitlines()
    for line in (
        "load_tf.run",
        "load_tf.run holdout_images = None",
        "@Lookahead patience = 50",
        "@experiment crop = (513, 513)",
        "@keras_model path = required",
        "demo.gin synthetic.train",
        "paper.gin AdversarialTraining.learning_rate",
    ):
        assert listed.count(line) == 1, line
