"""What goes wrong with a request, in the one shape every error answer has.

The body is `{status, code, message, more_info}` (the Seven Bridges v2 shape). `code` is a stable word a
program can test; `message` is for people and lists every field that is wrong. No text repeats what the
caller sent: names and metadata can be health information, and an answer may end up in somebody's log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_MOST_LISTED = 100
_LONGEST_KEY = 60
_THEIR_WORDS = re.compile("^(Input|String|List|Dictionary) should ")
_POSITION = re.compile(r"(\w+)\[(\d+)\](.*)", re.DOTALL)


class Problem(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is answered with an error.

    Parameters
    ----------
    status
        HTTP status.
    code
        A stable word for programs.
    message
        What is wrong, for people.
    more_info
        What to do about it.
    headers
        Header fields the answer must carry, such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        more_info: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.more_info = more_info
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field that is wrong: `path` such as `items[3].name`, and the rule it breaks."""

    path: str
    rule: str

    def __str__(self) -> str:
        return f"{self.path}: {self.rule}" if self.path else self.rule


def field_path(location: Sequence[int | str]) -> str:
    """Write a location the way a caller would: `("items", 3, "name")` is `items[3].name`."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            shown = "".join(c for c in step if c.isprintable())
            if len(shown) > _LONGEST_KEY:
                shown = shown[:_LONGEST_KEY] + "…"
            path += f".{shown}" if path else shown
    return path


def _rule(error: Mapping[str, Any]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return "is not a field of this request"
    if kind == "missing":
        return "is required"
    if kind == "enum":
        return f"must be one of {error['ctx']['expected']}"
    # Pydantic's own words begin with "Input should be" or the like; ours are complete rules already.
    text = _THEIR_WORDS.sub("must ", str(error["msg"]), count=1)
    return text.replace(" after validation", "").replace("Value error, ", "")


def field_problems(errors: Iterable[Mapping[str, Any]]) -> list[FieldProblem]:
    """Turn pydantic's `ValidationError.errors()` into field problems."""
    return [FieldProblem(field_path(error["loc"]), _rule(error)) for error in errors]


def listed(problems: Sequence[FieldProblem]) -> str:
    """List field problems for people, one that many items share once, with the positions of those items.

    A hundred items for a project that does not exist are one mistake: `items[0-99].project: does not exist`.
    """
    shared: dict[FieldProblem, list[int]] = {}
    for problem in problems:
        at = _POSITION.fullmatch(problem.path)
        if at is None:
            shared[problem] = []
        else:
            everywhere = FieldProblem(f"{at[1]}[{{}}]{at[3]}", problem.rule)
            shared.setdefault(everywhere, []).append(int(at[2]))
    shown = [
        str(FieldProblem(each.path.replace("{}", _spans(positions), 1), each.rule) if positions else each)
        for each, positions in shared.items()
    ]
    more = [f"and {len(shown) - _MOST_LISTED} more"] if len(shown) > _MOST_LISTED else []
    return "; ".join([*shown[:_MOST_LISTED], *more])


def _spans(positions: Iterable[int]) -> str:
    """Write positions as a reader would: `0, 2, 5-9`."""
    places = sorted(set(positions))
    breaks = [0, *(n for n, (one, other) in enumerate(pairwise(places), 1) if other > one + 1), len(places)]
    spans = [(places[start], places[end - 1]) for start, end in pairwise(breaks)]
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def invalid(
    problems: Sequence[FieldProblem], advice: str = "Correct these fields and send the request again."
) -> Problem:
    """Give the one answer that lists all of a request's field problems (400)."""
    return Problem(400, "invalid_request", listed(problems), advice)


def not_json() -> Problem:
    """Give the answer to a body that is not JSON (400)."""
    return Problem(400, "not_json", "The body is not valid JSON in UTF-8.", "Send a JSON object.")


def not_found(what: str = "resource") -> Problem:
    """Give the answer for what does not exist, and equally for what is somebody else's."""
    return Problem(404, "not_found", f"There is no such {what}.", "Check the id.")


def unavailable(what: str, after: int = 5) -> Problem:
    """Give the answer for when our own infrastructure is away; nothing was done."""
    return Problem(
        503,
        "unavailable",
        f"The service cannot reach {what} at the moment. Nothing was done.",
        "Send the request again later.",
        {"Retry-After": str(after)},
    )
