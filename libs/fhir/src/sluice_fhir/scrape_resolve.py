"""`subject.resolve().ofType(Patient).gender`: follows that are written where they are used.

They are the same as a follow with a name of its own, so a schema that has them is rewritten to one that names
every follow; equal ones become one, and what is read is read once.
"""

from __future__ import annotations

import re

import msgspec

from sluice_fhir.scrape_schema import Follow, Place, Problem, ScrapeSchema, Value, pointer

_OPAQUE = re.compile(r"'(?:[^'\\]|\\.)*'|\([^()]*\)")
_RESOLVED = re.compile(
    r"\.resolve\(\)(?:\.ofType\(\s*(?P<type>[A-Za-z]+)\s*\))?(?:\.(?P<rest>.+))?", re.DOTALL
)


def split_resolve(path: str) -> tuple[str, str | None, str] | None:
    """Split an expression at its first `resolve()` outside of arguments and strings.

    Returns
    -------
    tuple or None
        What selects the reference, the type that `ofType()` names right after it (None: it names none) and
        the expression on the resource (its id if there is none); None if nothing is resolved.
    """
    masked = path
    while (opaque := _OPAQUE.sub(lambda match: "\0" * len(match[0]), masked)) != masked:
        masked = opaque
    at = masked.find(".resolve\0\0")
    match = _RESOLVED.fullmatch(path, at) if at > 0 else None
    return (path[:at], match["type"], match["rest"] or "id") if match else None


def expand(schema: ScrapeSchema) -> tuple[ScrapeSchema, list[Problem]]:
    """Give `schema` with a named follow for each `resolve()`, and what is wrong with them."""
    follow = dict(schema.follow)
    problems: list[Problem] = []

    def place(found: Place, where: str) -> Place:
        split = split_resolve(found.path)
        if split is None:
            return found
        reference, kind, rest = split
        if kind is None:
            text = "say what resolve() leads to: .resolve().ofType(Patient) for a Patient"
            problems.append(Problem(where, text))
            return Place(path="id")
        # No authored name has a dot or a colon in it.
        name = f"{found.from_}.{reference}:{kind}"
        follow.setdefault(name, Follow(type=kind, from_=found.from_, reference=reference))
        return place(Place(path=rest, from_=name), where)

    values = []
    for index, value in enumerate(schema.values):
        where = pointer("values", index)
        values.append(_expanded(value, [place(found, where) for found in value.places]))
    return msgspec.structs.replace(schema, follow=follow, values=tuple(values)), problems


def _expanded(value: Value, places: list[Place]) -> Value:
    if value.born is not None:
        return msgspec.structs.replace(value, born=places[0], at=places[1])
    if tuple(places) == value.places:
        return value
    return msgspec.structs.replace(value, path=None, from_="document", first_of=tuple(places))
