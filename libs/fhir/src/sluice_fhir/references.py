"""Literal references to FHIR resources: `DocumentReference/1`, with or without a base and a version."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from xxhash import xxh3_64_digest

from sluice_fhir.fhirpath_model import RESOURCE_TYPES

_LONGEST = 4096
# R4 section 2.24.0.1: id is [A-Za-z0-9\-\.]{1,64}; a type's name is letters.
_LITERAL = re.compile(
    r"(?:(?P<base>https?://[^\s?#\\]+)/)?"
    r"(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9.-]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9.-]{1,64}))?",
)
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
# A member `reference` with a text: the quote ends its name, so it is not within another text, where quotes
# are escaped. One whose own text has escapes is no literal reference.
_MENTION = (
    rb'"reference"[ \t]*:[ \t]*"%b([A-Z][A-Za-z]{1,63}/[A-Za-z0-9.-]{1,64})'
    rb'(?:/_history/[A-Za-z0-9.-]{1,64})?"'
)
# Ids that the pattern allows and that every HTTP library takes for steps in a path.
_DOTS = frozenset({".", ".."})


class InvalidReferenceError(ValueError):
    """The text is no literal reference to a resource. The message says why, without the text."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A resource on a server.

    Parameters
    ----------
    base
        The server's base URL as the reference spells it, without a slash at its end; None if relative.
    type, id
        Which resource.
    version
        Which version of it, None for the current one.
    """

    base: str | None
    type: str
    id: str
    version: str | None = None

    @property
    def path(self) -> str:
        """Where it is below a base URL."""
        if self.version is None:
            return f"{self.type}/{self.id}"
        return f"{self.type}/{self.id}/_history/{self.version}"

    def url(self, base: str) -> str:
        """Where it is: below its own base, or below `base` (without a slash at its end) if it has none."""
        return f"{self.base or base}/{self.path}"


def is_id(text: str) -> bool:
    """Tell whether this can be a resource's or a version's id, and no step in a path."""
    return text not in _DOTS and _ID.fullmatch(text) is not None


def parse_reference(text: str, expected: str | None = None) -> Reference:
    """Read a literal reference (R4 section 2.3.0.1): relative or absolute, current or versioned.

    Parameters
    ----------
    text
        The reference as it stands in a resource or a request.
    expected
        The type it must be of, any if None.

    Raises
    ------
    InvalidReferenceError
        It is contained (`#…`), logical (`urn:…`), conditional (`Type?…`), of another type or malformed.
    """
    if len(text) > _LONGEST:
        raise InvalidReferenceError("longer than 4096 characters")
    match = _LITERAL.fullmatch(text)
    if match is None:
        raise InvalidReferenceError("does not end in a resource's type and id")
    base, kind, name, version = match.group("base", "type", "id", "version")
    if name in _DOTS or version in _DOTS:
        raise InvalidReferenceError("its id is a step in a path")
    if expected is not None and kind != expected:
        raise InvalidReferenceError(f"is not a {expected}")
    return Reference(base.rstrip("/") if base else None, kind, name, version)


@lru_cache(maxsize=1024)
def local_mentions(base: str | None = None) -> Callable[[bytes], list[bytes]]:
    """Give what finds all that a resource's JSON refers to on its own server, as `Type/id`.

    Relative references count, and absolute ones at the server `base` (without a slash at its end), with any
    version, contained resources' included. What is contained, logical or conditional refers to no resource by
    its id. Nothing is decoded: it costs some microseconds a resource.
    """
    own = b"" if base is None else b"(?:%b/)?" % re.escape(base).encode()
    return re.compile(_MENTION % own).findall


def mark_of(key: bytes) -> bytes:
    """Give eight bytes that stand for a `Type/id`: they are compared where names would be too many.

    That one name has the mark of one of a billion others happens once in eighteen billion times, unless
    somebody makes it so.
    """
    return xxh3_64_digest(key)


def mentioned(keys: Iterable[bytes]) -> set[tuple[str, str]]:
    """Give type and id of what `local_mentions` has found, as far as a resource can be called so."""
    found: set[tuple[str, str]] = set()
    for key in keys:
        type_, _, name = key.decode().partition("/")
        if type_ in RESOURCE_TYPES and name not in _DOTS:
            found.add((type_, name))
    return found
