"""Many faults of one cause as one line."""

from load_tf.data.faults import by_cause


def test_few_are_listed_and_many_of_one_cause_are_one() -> None:
    alike = [f"mask m/{n} a.png holds the label 9 ({n + 1} pixels); expected 0 to 2." for n in range(8)]
    other = "mask z.png holds the label 8 (1 pixels); expected 0 to 2."
    assert by_cause([*alike[:2], other, *alike[2:5]]) == [*alike[:2], other, *alike[2:5]]
    found = by_cause([alike[0], other, *alike[1:], "file 3 is broken."])
    assert found == [
        f"{alike[0]} So it is with 7 others: {', '.join(repr(f'm/{n} a.png') for n in range(1, 6))} and 2 more.",
        other,
        "file 3 is broken.",
    ]


def test_what_names_no_file_is_listed() -> None:
    assert by_cause(["it is broken."] * 9) == ["it is broken."] * 9
