"""The fast path: the common subset of FHIRPath as closures over decoded JSON.

The subset: element names, `[n]`, `first()`, `last()`, `tail()`, `take(n)`, `skip(n)`, `where(…)`,
`exists(…)`, `empty()`, `count()`, `extension('url')`, `|`, comparison with a literal by `=` and `!=`, `and`,
`or`, and a few string functions. For anything else compiling raises `NotFastError`, and
fhirpathpy runs it.

Meaning is fhirpathpy's with R4's model, quirks included, because the same expression must not change its
meaning when an edit moves it from one evaluator to the other: `_name` siblings of primitives count as values
(and are taken out of the result if nothing but an extension is left), choice elements take the first type
that is there, `=` with several values on the left is false.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fhirpathpy.engine.evaluators import string_literal

from sluice_fhir import fhirpath_model as model
from sluice_fhir import fhirpath_steps as steps
from sluice_fhir.fhirpath_parse import Node, function_arguments, function_name
from sluice_fhir.fhirpath_steps import Step, Test
from sluice_fhir.fhirpath_text import TextError, text_function


class NotFastError(Exception):
    """The expression is outside the subset."""


@dataclass(frozen=True, slots=True)
class FastPath:
    """A compiled expression: see `sluice_fhir.fhirpath.CompiledPath`."""

    evaluate: Callable[[dict[str, Any]], list[Any]]
    roots: frozenset[str]
    unknown: frozenset[str]


# What a step yields: elements of the resource (at a known R4 path, or at one that depends on the data), or
# values made by a function.
Yields = Literal["elements", "values"]


@dataclass(slots=True)
class _Typed:
    """A step and what is known of its result: `path` is R4's, None once it depends on the data."""

    step: Step
    yields: Yields
    path: str | None


def build(tree: Node, resource_type: str) -> FastPath:
    """Compile the tree of an expression for resources of `resource_type`.

    Raises
    ------
    NotFastError
        It uses what the subset does not have.
    """
    builder = _Builder(resource_type)
    step = builder.expression(tree, resource_type).step

    def evaluate(resource: dict[str, Any]) -> list[Any]:
        try:
            found = step([resource])
        except TextError:
            return []
        for value in found:
            if type(value) is dict and len(value) == 1 and "extension" in value:
                return [value for value in found if not _is_bare_extension(value)]
        return found

    return FastPath(evaluate, frozenset(builder.roots), frozenset(builder.unknown))


def _is_bare_extension(value: Any) -> bool:
    return type(value) is dict and len(value) == 1 and "extension" in value


class _Builder:
    def __init__(self, resource_type: str) -> None:
        self.type = resource_type
        self.roots: set[str] = set()
        self.unknown: set[str] = set()
        self.criteria = 0  # how many `where(…)` or `exists(…)` the node at hand is inside of

    def expression(self, node: Node, focus: str | None) -> _Typed:
        """Compile `node`, whose names start at an element with the R4 path `focus`."""
        kind, children = node["type"], node.get("children", [])
        if kind in ("TermExpression", "InvocationTerm", "ParenthesizedTerm"):
            return self.expression(children[0], focus)
        if kind == "InvocationExpression":
            return self.invocation(children[1], self.expression(children[0], focus))
        if kind in ("MemberInvocation", "FunctionInvocation"):
            return self.invocation(node, _Typed(steps.itself, "elements", focus))
        if kind == "IndexerExpression":
            return self.indexed(children, focus)
        if kind == "UnionExpression":
            return self.union(children, focus)
        raise NotFastError

    def invocation(self, node: Node, focus: _Typed) -> _Typed:
        if node["type"] == "MemberInvocation":
            return self.member(node["children"][0]["text"], focus)
        if node["type"] != "FunctionInvocation":
            raise NotFastError
        call = node["children"][0]
        return self.function(function_name(call), function_arguments(call), focus)

    def member(self, key: str, focus: _Typed) -> _Typed:
        if key[0] in '`"' or focus.yields != "elements" or focus.path is None or key == "length":
            raise NotFastError
        if key[0] == key[0].upper():
            # `Patient.name`: the type's name at the start selects the resource itself.
            if focus.step is steps.itself and key == self.type and not self.criteria:
                return _Typed(steps.resource, "elements", self.type)
            raise NotFastError
        path = model.child(focus.path, key)
        types = model.choices(path)
        if focus.path == self.type:
            names = [f"{key}{kind}" for kind in types] or [key]
            self.roots.update(f"{mark}{name}" for name in names for mark in ("", "_"))
        if types:
            step = steps.choice(tuple((f"{key}{kind}", f"_{key}{kind}") for kind in types))
            return _Typed(steps.then(focus.step, step), "elements", None)
        if key == "extension":
            path = "Extension"
        elif key != "resourceType" and focus.path not in self.unknown and not model.knows(path):
            self.unknown.add(path)
        found = focus.path if focus.path in self.unknown else model.type_of(path)
        # What a Resource is shows only in the data (`contained`, a Bundle's entries).
        return _Typed(
            steps.then(focus.step, steps.Elements((key,))), "elements", None if found == "Resource" else found
        )

    def indexed(self, children: list[Node], focus: str | None) -> _Typed:
        items = self.expression(children[0], focus)
        number = _literal(children[1])
        if type(number) is not int:
            raise NotFastError
        step = steps.then(items.step, lambda found: found[number : number + 1])
        return _Typed(step, items.yields, items.path)

    def union(self, children: list[Node], focus: str | None) -> _Typed:
        left, right = (self.expression(child, focus) for child in children)
        if left.yields != "elements" or right.yields != "elements":
            raise NotFastError
        one, two = left.step, right.step
        return _Typed(lambda items: steps.distinct(one(items) + two(items)), "elements", None)

    def function(self, name: str, arguments: list[Node], focus: _Typed) -> _Typed:
        if not arguments and (part := steps.PARTS.get(name)):
            return _Typed(steps.then(focus.step, part), focus.yields, focus.path)
        if not arguments and (fact := steps.FACTS.get(name)):
            return _Typed(steps.then(focus.step, lambda found: [fact(found)]), "values", None)
        if name in ("take", "skip"):
            return self.portion(name, arguments, focus)
        if name in ("where", "exists") and focus.yields == "elements":
            test = self.criterion(arguments[0], focus.path)
            if name == "where":
                return _Typed(steps.then(focus.step, steps.where(test)), "elements", focus.path)
            return _Typed(steps.then(focus.step, lambda found: [any(map(test, found))]), "values", None)
        literals = [_literal(argument) for argument in arguments]
        if name == "extension" and focus.yields == "elements" and type(literals[0]) is str:
            if focus.path == self.type:
                self.roots.add("extension")
            return _Typed(steps.then(focus.step, steps.extension(literals[0])), "elements", "Extension")
        made = text_function(name, literals)
        if made is None:
            raise NotFastError
        return _Typed(steps.then(focus.step, made), "values", None)

    def portion(self, name: str, arguments: list[Node], focus: _Typed) -> _Typed:
        number = _literal(arguments[0])
        if type(number) is not int:
            raise NotFastError
        part: Step = (lambda found: found[:number]) if name == "take" else (lambda found: found[number:])
        return _Typed(steps.then(focus.step, part), focus.yields, focus.path)

    def criterion(self, node: Node, focus: str | None) -> Test:
        self.criteria += 1
        test = self.test(node, focus)
        self.criteria -= 1
        return test

    def test(self, node: Node, focus: str | None) -> Test:
        """Compile a criterion to a test of one element: true, false, or None where FHIRPath gives nothing."""
        kind, children = node["type"], node.get("children", [])
        if kind in ("TermExpression", "InvocationTerm", "ParenthesizedTerm"):
            return self.test(children[0], focus)
        operator = node["terminalNodeText"][0] if node.get("terminalNodeText") else ""
        if operator in ("and", "or"):
            left, right = self.test(children[0], focus), self.test(children[1], focus)
            return steps.both(left, right) if operator == "and" else steps.either(left, right)
        if kind == "EqualityExpression" and operator in ("=", "!="):
            return self.comparison(node, focus)
        # Of the rest only what is sure to give a boolean: a bare element (`where(active)`) is not.
        last = children[-1] if kind == "InvocationExpression" else node
        if last["type"] != "FunctionInvocation" or function_name(last["children"][0]) not in _BOOLEANS:
            raise NotFastError
        return steps.fact_of(self.expression(node, focus).step)

    def comparison(self, node: Node, focus: str | None) -> Test:
        left = self.expression(node["children"][0], focus)
        # A Quantity is compared by its unit, a function's value may be of any type: fhirpathpy's business.
        if left.yields != "elements" or left.path is None or left.path == "Quantity":
            raise NotFastError
        return steps.equals(left.step, _literal(node["children"][1]), node["terminalNodeText"][0] == "=")


def _literal(node: Node) -> Any:
    """Give the string, whole number or boolean that `node` is, and nothing else."""
    while node["type"] in ("TermExpression", "LiteralTerm") and len(node.get("children", ())) == 1:
        node = node["children"][0]
    if node["type"] == "StringLiteral":
        return string_literal(None, None, node)[0]  # type: ignore[no-untyped-call]
    if node["type"] == "BooleanLiteral":
        return node["text"] == "true"
    if node["type"] == "NumberLiteral" and node["text"].isdigit():
        return int(node["text"])
    raise NotFastError


_BOOLEANS = frozenset({"exists", "empty", "startsWith", "endsWith", "contains"})
