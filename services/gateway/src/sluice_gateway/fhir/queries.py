"""Search requests (R4 section 3.1.1), read: what is looked up, what is tested, and how much is wanted.

Ids and patients are looked up; every other parameter that R4 has for the type is tested on resources.
A parameter that cannot be used is refused, or left out where the client prefers `handling=lenient`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sluice_fhir.compartments import REFERENCES
from sluice_fhir.references import is_id
from sluice_fhir.search import SearchError, SearchProblem, compile_filter
from sluice_fhir.search_table import parameters
from sluice_gateway.fhir.capabilities import GROUP_NAME
from sluice_gateway.fhir.outcomes import Issue, Refusal

CURSOR = "_cursor"
"""The parameter that says where a page starts; it is in `next` links only."""
MOST = 500
MOST_VALUES = 1000
"""How many values of parameters a search may have but ids: each is compared with every resource."""
_USUAL = 50
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_:.-]{0,63}")
# The format is looked at where the answer's is chosen; how it is laid out makes no difference.
_IGNORED = frozenset({"_format", "_pretty"})
_TEXTS = {
    SearchProblem.UNKNOWN_PARAMETER: "is no search parameter of this type",
    SearchProblem.UNSUPPORTED_PARAMETER: "is not supported",
    SearchProblem.UNSUPPORTED_MODIFIER: "has a modifier that is not supported",
    SearchProblem.RESULT_PARAMETER: "is not supported",
    SearchProblem.BAD_VALUE: "has a value that is not understood",
}
Pairs = list[tuple[str, str]]
Test = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search.

    Parameters
    ----------
    type
        What is searched.
    ids, patients
        Only these resources; only what is in the compartments of these patients.
    tests
        What resources must satisfy all of.
    count
        The most resources on a page.
    only_count
        Not the resources are wanted, but how many there are.
    cursor
        Where the page starts; empty: at the beginning.
    kept
        The parameters that were used, for links.
    """

    type: str
    ids: tuple[str, ...] | None
    patients: tuple[str, ...] | None
    tests: tuple[Test, ...]
    count: int
    only_count: bool
    cursor: str
    kept: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters that were used."""
        return tuple(sorted({name for name, _ in self.kept}))

    def address(self, base: str, cursor: str = "") -> str:
        """Give the address of a page below the FHIR API's `base`."""
        pairs = [*self.kept, *([(CURSOR, cursor)] if cursor else [])]
        return f"{base}/{self.type}" + (f"?{urlencode(pairs)}" if pairs else "")


def parse_search(type_: str, pairs: Iterable[tuple[str, str]], *, lenient: bool = False) -> SearchQuery:
    """Read a search on a type.

    Raises
    ------
    Refusal
        400, with an issue for each parameter that cannot be used.
    """
    reading = _Reading(type_, lenient)
    for name, text in pairs:
        reading.take(name, text)
    return reading.done()


class _Reading:
    def __init__(self, type_: str, lenient: bool) -> None:
        self._type = type_
        self._lenient = lenient
        self._ids: set[str] | None = None
        self._patients: set[str] | None = None
        self._tests: list[Test] = []
        self._count = _USUAL
        self._only_count = False
        self._cursor = ""
        self._kept: Pairs = []
        self._issues: list[Issue] = []
        self._values = 0

    def take(self, name: str, text: str) -> None:
        """Read one parameter."""
        if name in _IGNORED:
            return
        if name == CURSOR:
            self._cursor = text
            return
        try:
            self._understand(name, text)
        except SearchError as error:
            if not self._lenient:
                self._issues.append(_issue(name, error.problem))
            return
        self._kept.append((name, text))

    def _understand(self, name: str, text: str) -> None:
        if name == "_count":
            if not (text.isascii() and text.isdigit() and len(text) < 10):
                raise SearchError(SearchProblem.BAD_VALUE, name)
            self._count = min(int(text), MOST)
            self._only_count |= self._count == 0
        elif name == "_summary":
            if text not in ("count", "false"):
                raise SearchError(SearchProblem.BAD_VALUE, name)
            self._only_count |= text == "count"
        elif name == "_id":
            wanted = {one for one in text.split(",") if is_id(one)}
            self._ids = wanted if self._ids is None else self._ids & wanted
        elif self._too_many(text):
            raise SearchError(SearchProblem.BAD_VALUE, name)
        elif self._type == "Group" and name.partition(":")[0] == GROUP_NAME:
            self._tests.append(_name_test(name.partition(":")[2], text))
        else:
            self._tests.append(compile_filter(self._type, urlencode([(name, text)])))
            patients = _patients_of(self._type, name, text)
            if patients is not None:
                self._patients = patients if self._patients is None else self._patients & patients

    def _too_many(self, text: str) -> bool:
        self._values += text.count(",") + 1
        return self._values > MOST_VALUES

    def done(self) -> SearchQuery:
        """Give the search that was read."""
        if self._only_count and self._tests:
            text = "How many there are is told for searches by _id only, or without parameters."
            self._issues.append(Issue(code="not-supported", text=text, expression=("http._summary",)))
        if self._issues:
            raise Refusal(400, self._issues)
        return SearchQuery(
            type=self._type,
            ids=None if self._ids is None else tuple(sorted(self._ids)),
            patients=None if self._patients is None else tuple(sorted(self._patients)),
            tests=tuple(self._tests),
            count=self._count,
            only_count=self._only_count,
            cursor=self._cursor,
            kept=tuple(self._kept),
        )


def _issue(name: str, problem: SearchProblem) -> Issue:
    # A name that could not be a parameter's is not repeated.
    shown = name if _NAME.fullmatch(name) else ""
    text = f"The parameter {shown or 'with an odd name'} {_TEXTS.get(problem, 'is not supported')}."
    code = "invalid" if problem is SearchProblem.BAD_VALUE else "not-supported"
    return Issue(code=code, text=text, expression=(f"http.{shown}",) if shown else ())


def _patients_of(type_: str, name: str, text: str) -> set[str] | None:
    """Give the patients one of whose compartments a match must be in; None: that is not known."""
    base, _, modifier = name.partition(":")
    parameter = parameters(type_).get(base)
    if parameter is None or base not in ("patient", "subject") or modifier not in ("", "Patient"):
        return None
    elements = {path.partition("{")[0] for path in parameter.path.split("|")}
    if not elements <= set(REFERENCES.get(type_, ())):
        return None
    found = set()
    for value in text.split(","):
        kind, slash, id_ = value.rpartition("/")
        typed = kind == "Patient" or (not slash and (modifier == "Patient" or base == "patient"))
        if not typed or not is_id(id_):
            return None
        found.add(id_)
    return found


def _name_test(modifier: str, text: str) -> Test:
    """Test a Group's name as R4 compares strings (section 3.1.1.4.8)."""
    if modifier not in ("", "exact", "contains"):
        raise SearchError(SearchProblem.UNSUPPORTED_MODIFIER, GROUP_NAME)
    if not text:
        raise SearchError(SearchProblem.BAD_VALUE, GROUP_NAME)
    if modifier == "exact":
        return lambda group: group.get("name") == text
    wanted = text.casefold()

    def test(group: dict[str, Any]) -> bool:
        name = str(group.get("name", "")).casefold()
        return wanted in name if modifier == "contains" else name.startswith(wanted)

    return test
