"""How things are counted for people."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Say how many there are of something; `many` is its plural, if that is not made by an s.

    Examples
    --------
    >>> counted(1, "line"), counted(2, "line"), counted(0, "entry", "entries")
    ('1 line', '2 lines', '0 entries')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
