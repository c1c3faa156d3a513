"""FHIRPath for scrape schemas: expressions compiled once, evaluated on decoded resources many times.

The plain paths that make up nearly all of a schema become closures (`fhirpath_fast`); every other expression
runs on fhirpathpy, which interprets its tree anew for each resource and takes about a hundred times as long.
Both give the same values: a property test compares them. Where the standard says that a choice element is
named without its type (`Patient.deceased`), R4's model supplies the type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from fhirpathpy import apply_parsed_path
from fhirpathpy.engine.nodes import FP_Type

from sluice_fhir import fhirpath_fast, fhirpath_model
from sluice_fhir.fhirpath_parse import FHIRPathError, Node, parse

Resource = dict[str, Any]

__all__ = ["CompiledPath", "FHIRPathError", "compile_path", "evaluate_fully"]


@dataclass(frozen=True, slots=True)
class CompiledPath:
    """One expression, ready to be evaluated on resources of one type.

    Parameters
    ----------
    expression
        Its text.
    evaluate
        Takes a decoded resource, gives the list of what the expression selects: strings, numbers, booleans,
        None, or objects and lists as they are in the resource. Data the expression cannot be applied to
        (a function for strings that meets a number) gives nothing; it never raises.
    fast
        Whether it runs as closures.
    roots
        The resource's elements that it reads, or None if it may read any.
    unknown
        Elements it names that R4 does not have, as paths (`Patient.gendre`).
    """

    expression: str
    evaluate: Callable[[Resource], list[Any]]
    fast: bool
    roots: frozenset[str] | None
    unknown: tuple[str, ...]


@lru_cache(maxsize=4096)
def compile_path(expression: str, resource_type: str) -> CompiledPath:
    """Compile `expression` for resources of `resource_type`.

    Raises
    ------
    FHIRPathError
        The expression cannot be used; the text says why.
    """
    tree = parse(expression)
    try:
        path = fhirpath_fast.build(tree["children"][0], resource_type)
    except fhirpath_fast.NotFastError:
        return CompiledPath(expression, _interpreted(tree), fast=False, roots=None, unknown=())
    return CompiledPath(
        expression, path.evaluate, fast=True, roots=path.roots, unknown=tuple(sorted(path.unknown))
    )


def _interpreted(tree: Node) -> Callable[[Resource], list[Any]]:
    def evaluate(resource: Resource) -> list[Any]:
        try:
            return evaluate_fully(tree, resource)
        except Exception:  # fhirpathpy raises bare Exception, and much else, on odd data
            return []

    return evaluate


def evaluate_fully(tree: Node, resource: Resource) -> list[Any]:
    """Evaluate a parsed expression with fhirpathpy.

    Raises
    ------
    Exception
        Of any kind: the data do not suit the expression.
    """
    variables = {"resource": resource, "rootResource": resource}
    result = apply_parsed_path(resource, tree, variables, fhirpath_model.R4)  # type: ignore[no-untyped-call]
    return [_plain(value) for value in result]


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and "." not in str(value) else float(value)
    return str(value) if isinstance(value, FP_Type) else value
