"""What a Retrieve's `codes` come to: value sets and codes, if that can be said without running the logic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sluice_fhir.measures.datatypes import Coding
from sluice_fhir.measures.elm import Code, Link, Node
from sluice_fhir.measures.libraries import Loaded
from sluice_fhir.measures.problems import MeasureError, MeasureProblem

# Operators that give the codes of their operand.
_SAME = frozenset({"ToList", "ToConcept", "ExpandValueSet", "As", "Convert", "Distinct", "Flatten"})


@dataclass(frozen=True, slots=True)
class Codes:
    """Any of these: canonicals of value sets, and codes."""

    value_sets: tuple[str, ...] = ()
    codes: tuple[Coding, ...] = ()


class _NotStaticError(Exception):
    """The codes depend on data."""


class CodeReader:
    """Reads what expressions say about codes; one for each measure, because it keeps count of its work."""

    def __init__(self, steps: int = 500_000) -> None:
        self._steps = steps

    def read(self, node: Node, library: Loaded) -> Codes | None:
        """Give the codes that an expression of a library stands for; None if they depend on data.

        Raises
        ------
        MeasureError
            ELM_REFERENCE: a definition is not there. TOO_DEEP: it takes more steps than any sane measure.
        """
        value_sets: dict[str, None] = {}
        codes: dict[Coding, None] = {}
        ahead: list[tuple[Node, Loaded]] = [(node, library)]
        seen: set[tuple[int, str]] = set()
        while ahead:
            self._steps -= 1
            if self._steps < 0:
                raise MeasureError(MeasureProblem.TOO_DEEP, library.name)
            node, place = ahead.pop()
            try:
                if node.get("type") == "ExpressionRef":
                    further = _statement(_link(node, place), place, seen)
                else:
                    further = _step(node, place, value_sets, codes)
            except _NotStaticError:
                return None
            # What is first comes first.
            ahead += reversed(further)
        return Codes(tuple(value_sets), tuple(codes))


def _step(
    node: Node, library: Loaded, value_sets: dict[str, None], codes: dict[Coding, None]
) -> Sequence[tuple[Node, Loaded]]:
    kind = node.get("type")
    if kind == "ValueSetRef":
        value_sets[_value_set(_link(node, library), library)] = None
    elif kind == "CodeRef":
        codes[_coding(_link(node, library), library)] = None
    elif kind == "ConceptRef":
        codes.update(dict.fromkeys(_concept(_link(node, library), library)))
    elif kind == "Code":
        codes[_inline(node, library)] = None
    elif kind == "Literal" and isinstance(value := node.get("value"), str):
        codes[Coding(code=value)] = None
    elif kind in _SAME:
        return [(_child(node, "operand"), library)]
    elif kind == "Property" and node.get("path") in ("codes", "code"):
        return [(_child(node, "source"), library)]
    elif kind == "List":
        return [(each, library) for each in _children(node, "element")]
    elif kind == "Union":
        return [(each, library) for each in _children(node, "operand")]
    elif kind == "Concept":
        return [({"type": "Code", **each}, library) for each in _children(node, "code")]
    else:
        raise _NotStaticError
    return ()


def _child(node: Node, key: str) -> Node:
    child = node.get(key)
    if not isinstance(child, dict):
        raise _NotStaticError
    return child


def _children(node: Node, key: str) -> list[Node]:
    children = node.get(key)
    if not isinstance(children, list) or not all(isinstance(child, dict) for child in children):
        raise _NotStaticError
    return children


def _link(node: Node, library: Loaded) -> Link:
    name, library_name = node.get("name"), node.get("libraryName")
    if not isinstance(name, str) or not isinstance(library_name, str | None):
        raise MeasureError(MeasureProblem.BAD_ELM, library.name)
    return Link(name, library_name)


def home(link: Link, library: Loaded) -> Loaded | None:
    """Give the library that a definition is in; None for conversions that are not there.

    Raises
    ------
    MeasureError
        ELM_REFERENCE: nothing is included under that name.
    """
    if link.library_name is None:
        return library
    try:
        return library.includes[link.library_name]
    except KeyError as error:
        raise undefined(link, library) from error


def undefined(link: Link, library: Loaded) -> MeasureError:
    """Make the error of a definition that is not there."""
    name = f"{link.library_name}.{link.name}" if link.library_name else link.name
    return MeasureError(MeasureProblem.ELM_REFERENCE, f"{library.name}: {name}")


def _home(link: Link, library: Loaded) -> Loaded:
    found = home(link, library)
    if found is None:
        raise undefined(link, library)
    return found


def _value_set(link: Link, library: Loaded) -> str:
    found = _home(link, library).elm.value_sets.get(link.name)
    if found is None:
        raise undefined(link, library)
    return f"{found.id}|{found.version}" if found.version else found.id


def _coding(link: Link, library: Loaded) -> Coding:
    place = _home(link, library)
    found = place.elm.codes.get(link.name)
    if found is None:
        raise undefined(link, library)
    return _coded(found, place)


def _coded(code: Code, library: Loaded) -> Coding:
    if code.code_system is None:
        return Coding(code=code.id, display=code.display)
    system, version = _system(code.code_system, library)
    return Coding(code=code.id, system=system, version=version, display=code.display)


def _system(link: Link, library: Loaded) -> tuple[str, str | None]:
    found = _home(link, library).elm.code_systems.get(link.name)
    if found is None:
        raise undefined(link, library)
    return found.id, found.version


def _concept(link: Link, library: Loaded) -> Iterable[Coding]:
    place = _home(link, library)
    found = place.elm.concepts.get(link.name)
    if found is None:
        raise undefined(link, library)
    return [_coding(each, place) for each in found.code]


def _inline(node: Node, library: Loaded) -> Coding:
    code, display, system = node.get("code"), node.get("display"), node.get("system")
    if not isinstance(code, str) or not isinstance(display, str | None):
        raise _NotStaticError
    if not isinstance(system, dict):
        return Coding(code=code, display=display)
    url, version = _system(_link(system, library), library)
    return Coding(code=code, system=url, version=version, display=display)


def _statement(link: Link, library: Loaded, seen: set[tuple[int, str]]) -> Sequence[tuple[Node, Loaded]]:
    place = _home(link, library)
    bodies = place.elm.statements.get(link.name)
    if not bodies:
        raise undefined(link, library)
    key = (id(place), link.name)
    if key in seen:
        return ()
    seen.add(key)
    return [(body, place) for body in bodies]
