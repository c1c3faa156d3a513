"""FHIRPath expressions to syntax trees, strictly: what does not parse or names no known function is refused.

The grammar and its generated parser are fhirpathpy's. Its own `parse` drops syntax errors (`a..b`, a missing
bracket, words after the end) and evaluates whatever is left, which for an authored schema would mean values
that silently never appear.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]
from antlr4.error.ErrorListener import ErrorListener  # type: ignore[import-untyped]
from antlr4.tree.Tree import ParseTreeWalker  # type: ignore[import-untyped]
from fhirpathpy.engine.invocations import invocation_registry
from fhirpathpy.parser.ASTPathListener import ASTPathListener
from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser

Node = dict[str, Any]

# What an expression may name with %: the resource it is evaluated on, and fhirpathpy's UCUM constant.
VARIABLES = frozenset({"context", "resource", "rootResource", "ucum"})
MAX_LENGTH = 2000


class FHIRPathError(ValueError):
    """An expression that cannot be used. The text says what is wrong and, where known, at which column."""


class _Strict(ErrorListener):  # type: ignore[misc]  # antlr4 has no types
    # antlr4 calls this with: recognizer, offending symbol, line, column, message, exception.
    def syntaxError(self, *about: Any) -> NoReturn:  # noqa: N802
        raise FHIRPathError(f"syntax error at column {about[3] + 1}: {about[4].partition(' expecting ')[0]}")


def parse(expression: str) -> Node:
    """Give the syntax tree of `expression`, in fhirpathpy's node format.

    Raises
    ------
    FHIRPathError
        It does not parse to its end, calls a function that does not exist or with the wrong number of
        arguments, or names a variable that is never set.
    """
    if not expression.strip():
        raise FHIRPathError("the expression is empty")
    if len(expression) > MAX_LENGTH:
        raise FHIRPathError(f"the expression is longer than {MAX_LENGTH} characters")
    strict = _Strict()
    lexer = FHIRPathLexer(InputStream(expression))
    lexer.removeErrorListeners()
    lexer.addErrorListener(strict)
    parser = FHIRPathParser(CommonTokenStream(lexer))
    parser.removeErrorListeners()
    parser.addErrorListener(strict)
    listener = ASTPathListener()  # type: ignore[no-untyped-call]
    try:
        tree = parser.expression()
        end = parser.getCurrentToken()
        if end.type != end.EOF:
            raise FHIRPathError(f"unexpected text at column {end.column + 1}")
        ParseTreeWalker().walk(listener, tree)
    except RecursionError:
        raise FHIRPathError("the expression is nested too deeply") from None
    root: Node = listener.parentStack[0]
    for node in _walk(root):
        _check(node)
    return root


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("children", ()):
        yield from _walk(child)


def _check(node: Node) -> None:
    kind = node.get("type")
    if kind == "Functn":
        name, count = function_name(node), len(function_arguments(node))
        known: dict[str, Any] | None = invocation_registry.get(name)  # type: ignore[assignment]
        if known is None or not name[0].isalpha():
            raise FHIRPathError(f"there is no function {name}()")
        if "variadic" not in known and count not in known.get("arity", {0: []}):
            raise FHIRPathError(f"{name}() does not take {count} argument(s)")
    elif kind == "ExternalConstantTerm":
        name = node["children"][0]["children"][0]["text"].strip('"`')
        if name not in VARIABLES:
            raise FHIRPathError(f"there is no variable %{name}")


def function_name(node: Node) -> str:
    """Give the name of the function that a `Functn` node calls."""
    return str(node["children"][0]["text"])


def function_arguments(node: Node) -> list[Node]:
    """Give the argument expressions of a `Functn` node."""
    if len(node["children"]) < 2:
        return []
    arguments: list[Node] = node["children"][1].get("children", [])
    return arguments
