"""What a token's scopes let an export hold: which resource types, and which resources of them.

An export searches a type and then reads what it found, so it takes the letters `r` and `s` of SMART version 2
(version 1's `.read` is both; SMART App Launch 2.2, "Scopes for requesting FHIR Resources"). Letters add up
across scopes; a search parameter in a scope limits what its letters are good for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

from sluice_security.scopes import Scopes

# `patient/` scopes are about the one patient of a launch, which these tokens do not name.
CONTEXTS = ("system", "user")


@dataclass(frozen=True, slots=True)
class Permission:
    """Which resources of a type an export may hold.

    Parameters
    ----------
    limits
        Alternatives, each a set of search parameters (`category=laboratory`) that a resource must satisfy
        all of. A resource is permitted if it satisfies any alternative; the empty one is satisfied by all.
        None covers another. Never empty.
    """

    limits: tuple[tuple[str, ...], ...]

    @property
    def unlimited(self) -> bool:
        """Whether every resource of the type is permitted."""
        return () in self.limits


def exportable(scopes: Scopes, types: Collection[str]) -> dict[str, Permission]:
    """Give the permission for every one of `types` that the scopes permit to export.

    Parameters
    ----------
    scopes
        The token's.
    types
        The resource types the server has: what `*` stands for.

    Returns
    -------
    dict
        By type, in the order of `types`; those that are not permitted are missing.
    """
    found = ((name, permission(scopes, name, "rs")) for name in types)
    return {name: permitted for name, permitted in found if permitted is not None}


def permission(scopes: Scopes, name: str, letters: str) -> Permission | None:
    """Give which resources of a type scopes permit every one of these letters of; None: of none.

    Parameters
    ----------
    letters
        Of `cruds`, at least one: `r` for reading by id, `s` for searching.
    """
    # Most types of a request have the same scopes, those for `*`: what comes of these is found once.
    return _permitted(
        tuple(tuple(_having(scopes, context, name, letter) for letter in letters) for context in CONTEXTS)
    )


_Limit = frozenset[str]
_ByLetter = tuple[tuple[_Limit, ...], ...]


@lru_cache(maxsize=256)
def _permitted(by_context: tuple[_ByLetter, ...]) -> Permission | None:
    limits = _minimal(limit for by_letter in by_context for limit in _combined(by_letter))
    return Permission(tuple(sorted(tuple(sorted(limit)) for limit in limits))) if limits else None


def _combined(by_letter: _ByLetter) -> set[_Limit]:
    """Give what one context's scopes limit all of the letters to: any combination of one for each letter."""
    limits: set[_Limit] = {frozenset()}
    for having in by_letter:
        limits = _minimal(one | other for one in limits for other in having)
    return limits


def _having(scopes: Scopes, context: str, name: str, letter: str) -> tuple[_Limit, ...]:
    return tuple(
        frozenset(scope.query)
        for scope in scopes
        if scope.context == context and scope.target in ("*", name) and letter in scope.letters
    )


def _minimal(limits: Iterable[_Limit]) -> set[_Limit]:
    """Leave out what is satisfied only by resources that satisfy a weaker alternative anyway."""
    kept: set[_Limit] = set()
    # What is weaker has fewer parameters, so it is seen before what it makes superfluous.
    for one in sorted(set(limits), key=len):
        if not any(other <= one for other in kept):
            kept.add(one)
    return kept
