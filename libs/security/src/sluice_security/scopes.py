"""Scopes: what a token may do, and how a client's wish is narrowed to what it is allowed.

Three families: SMART on FHIR resource scopes (`system/Patient.rs?…`, version 2, with the version 1
spellings `.read`, `.write` and `.*`; SMART App Launch 2.2, "Scopes and Launch Context"), the import API's
(`bulk/import`, `files/read`, `files/write`) and the operators' (`ops/sources`, …, `ops/*` for all of them);
beside them `offline_access`, which permits nothing but asks for a refresh token, and `system/bulk-submit`,
which permits bulk submissions alone (Bulk Data Access 4.0.0, ballot, "Submit"). That one looks like a scope
of resources and is none: no scope of resources covers it, and `bulk/import` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

PLAIN = frozenset({"bulk/import", "files/read", "files/write"})
OFFLINE = "offline_access"
SUBMIT = "system/bulk-submit"
_IMPORT = "bulk/import"
_LETTERS = "cruds"
_VERSION_1 = {"read": "rs", "write": "cud", "*": "cruds"}
# RFC 6749 section 3.3 says which characters a scope may have at all; these are within them.
_SMART = re.compile(
    r"(?P<context>patient|user|system)/(?P<target>\*|[A-Z][A-Za-z]{1,63})"
    r"\.(?P<verbs>c?r?u?d?s?|read|write|\*)(?:\?(?P<query>[!#-%'-\[\]-~]+(?:&[!#-%'-\[\]-~]+)*))?"
)
_OPS = re.compile(r"ops/(\*|[a-z][a-z0-9-]{0,62})")
MAX_TEXT = 4_000
MOST_LIMITED = 32
"""How many scopes of one token may be limited by search parameters.

What a limit lets see depends on every other one, so what they cost grows with the square of their number: in
narrowing a wish here, and in every request with the token.
"""


class InvalidScopeError(ValueError):
    """The text is no scope this server knows. It is not repeated in the message."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One permission.

    Parameters
    ----------
    context
        `system`, `user` or `patient` for resources; otherwise `bulk`, `files`, `ops`, `offline_access` or
        `system/bulk-submit`.
    target
        A resource type, or the rest of a plain scope, which may be empty; `*` is all.
    letters
        For resources, a non-empty part of `cruds`, in that order.
    query
        For resources, the search parameters that limit them, sorted.
    spelling
        How the caller wrote it.
    """

    context: str
    target: str
    letters: str = ""
    query: tuple[str, ...] = ()
    spelling: str = field(default="", compare=False)

    @property
    def canonical(self) -> str:
        """Write it the one way (SMART version 2) in which equal scopes are equal."""
        text = f"{self.context}/{self.target}" if self.target else self.context
        if self.letters:
            text += f".{self.letters}"
        return f"{text}?{'&'.join(self.query)}" if self.query else text

    def __str__(self) -> str:
        return self.spelling or self.canonical

    def covers(self, other: Scope) -> bool:
        """Tell whether whoever has this one needs no `other`."""
        if other.context == SUBMIT:
            return self.context == SUBMIT or self.canonical == _IMPORT
        return (
            self.context == other.context
            and self.target in ("*", other.target)
            and set(other.letters) <= set(self.letters)
            and set(self.query) <= set(other.query)
        )

    def meet(self, other: Scope) -> Scope | None:
        """Give what both permit, or None if that is nothing."""
        if self.covers(other):
            return other
        if other.covers(self):
            return self
        letters = "".join(letter for letter in _LETTERS if letter in self.letters and letter in other.letters)
        targets = {self.target, other.target} - {"*"}
        if self.context != other.context or len(targets) > 1 or not letters:
            return None
        target = targets.pop() if targets else "*"
        # Search parameters that are joined narrow each other (FHIR R4, section 3.1.1.4).
        return Scope(self.context, target, letters, tuple(sorted({*self.query, *other.query})))


@lru_cache(maxsize=1024)
def parse_scope(text: str) -> Scope:
    """Read one scope.

    Raises
    ------
    InvalidScopeError
        It is none of the three families.
    """
    if text in (OFFLINE, SUBMIT):
        return Scope(text, "", spelling=text)
    if text in PLAIN or _OPS.fullmatch(text):
        context, _, target = text.partition("/")
        return Scope(context, target, spelling=text)
    match = _SMART.fullmatch(text)
    if match is None or not match["verbs"]:
        raise InvalidScopeError("not a scope of this server")
    letters = _VERSION_1.get(match["verbs"], match["verbs"])
    query = tuple(sorted(match["query"].split("&"))) if match["query"] else ()
    return Scope(match["context"], match["target"], letters, query, text)


class TooManyLimitsError(InvalidScopeError):
    """More scopes are limited by search parameters than one token may have."""

    def __init__(self) -> None:
        super().__init__(f"more than {MOST_LIMITED} scopes have search parameters")


def _check_limits(scopes: Iterable[Scope]) -> None:
    if sum(bool(scope.query) for scope in scopes) > MOST_LIMITED:
        raise TooManyLimitsError


class Scopes:
    """An immutable set of permissions.

    `"bulk/import" in scopes` asks whether they permit that, so `"system/Patient.r" in scopes` is true of
    `system/*.rs`.
    """

    __slots__ = ("_members", "_texts")

    def __init__(self, members: Iterable[Scope] = ()) -> None:
        self._members = tuple(sorted(set(members), key=lambda scope: scope.canonical))
        self._texts = frozenset(scope.canonical for scope in self._members)

    @classmethod
    def parse(cls, text: str) -> Scopes:
        """Read a space-separated list (RFC 6749 section 3.3).

        Raises
        ------
        InvalidScopeError
            One of them is no scope of this server, or the list is too long.
        """
        if len(text) > MAX_TEXT:
            raise InvalidScopeError("too many scopes")
        return cls(parse_scope(part) for part in text.split(" ") if part)

    def narrow(self, wanted: Scopes) -> Scopes:
        """Give what of `wanted` these permit; a wish that is permitted in part is narrowed to that part.

        Raises
        ------
        TooManyLimitsError
            The wish, or what comes of it, has more scopes with search parameters than a token may have.
        """
        wanted.check_limits()
        found: set[Scope] = set()
        for wish in wanted:
            found.update(self._met(wish))
            _check_limits(found)
        return Scopes(found).tidy()

    def check_limits(self) -> None:
        """Refuse (`TooManyLimitsError`) what is too much for one token."""
        _check_limits(self)

    def _met(self, wish: Scope) -> Iterable[Scope]:
        if any(own.covers(wish) for own in self):
            return (wish,)
        return (both for own in self if (both := own.meet(wish)) is not None)

    def tidy(self) -> Scopes:
        """Leave out what another member covers already."""
        return Scopes(
            one
            for one in self._members
            if not any(other is not one and other.covers(one) for other in self._members)
        )

    def without(self, *contexts: str) -> Scopes:
        """Leave out every scope of those contexts."""
        return Scopes(scope for scope in self._members if scope.context not in contexts)

    @property
    def canonical(self) -> str:
        """The space-separated list in the one spelling, as tokens carry it."""
        return " ".join(scope.canonical for scope in self._members)

    def __contains__(self, wanted: str | Scope) -> bool:
        if isinstance(wanted, str):
            if wanted in self._texts:
                return True
            wanted = parse_scope(wanted)
        return any(scope.covers(wanted) for scope in self._members)

    def __iter__(self) -> Iterator[Scope]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scopes) and self._texts == other._texts

    def __hash__(self) -> int:
        return hash(self._texts)

    def __str__(self) -> str:
        return " ".join(str(scope) for scope in self._members)

    def __repr__(self) -> str:
        return f"Scopes({self.canonical!r})"
