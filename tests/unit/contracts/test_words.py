"""Counting for people."""

import pytest

from sluice_contracts.words import counted


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, ("line",), "1 line"),
        (0, ("line",), "0 lines"),
        (21, ("line",), "21 lines"),
        (1, ("process", "processes"), "1 process"),
        (2, ("process", "processes"), "2 processes"),
    ],
)
def test_only_one_thing_is_singular(number: int, words: tuple[str, ...], said: str) -> None:
    assert counted(number, *words) == said
