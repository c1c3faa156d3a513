"""What goes wrong below `/fhir`, in the one shape every FHIR client knows: an OperationOutcome (R4).

A handler may raise any `Problem`, whose status then says which issue it is, or a `Refusal`, which names its
issues itself. As everywhere, no text repeats what the caller sent but the names that FHIR itself gives
(parameters, resource types): an answer may end up in somebody's log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from sluice_gateway.problems import Problem

FHIR_JSON = "application/fhir+json"
BASE = "/fhir"
ALIAS = "/4_0_1"
"""Another base, which the same handlers serve: clients made for the Da Vinci test server know it."""
JSON_FHIR = "application/json+fhir"
"""What FHIR JSON was called in DSTU2; some clients still send it."""
MOST_ISSUES = 100
"""How many things that are wrong an answer tells one by one."""
Severity = Literal["fatal", "error", "warning", "information"]

# R4 value set issue-type.
_ISSUES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    408: "timeout",
    409: "conflict",
    410: "deleted",
    412: "conflict",
    413: "too-long",
    415: "not-supported",
    416: "value",
    422: "processing",
    429: "throttled",
    503: "transient",
}


class Issue(Struct, frozen=True, kw_only=True):
    """One thing that is wrong.

    Parameters
    ----------
    code
        Of R4's value set issue-type.
    text
        What is wrong and what to do about it, for people.
    severity
        Of R4's value set issue-severity.
    expression
        Where, as FHIRPath or as `http.` with the name of a header or query parameter.
    """

    code: str
    text: str
    severity: Severity = "error"
    expression: tuple[str, ...] = ()


class Refusal(Problem):
    """A request that is answered with these issues.

    Parameters
    ----------
    status
        HTTP status.
    issues
        At least one; after the first 100 it is only told how many more there are.
    headers
        Header fields the answer must carry, such as `Retry-After`.
    """

    def __init__(
        self, status: int, issues: Sequence[Issue], headers: Mapping[str, str] | None = None
    ) -> None:
        if left := len(issues[MOST_ISSUES:]):
            more = Issue(code=issues[0].code, text=f"And {left} more are wrong.")
            issues = [*issues[:MOST_ISSUES], more]
        super().__init__(status, issues[0].code, "; ".join(issue.text for issue in issues), "", headers)
        self.issues = tuple(issues)


def refused(status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> Refusal:
    """Give the refusal of one issue."""
    return Refusal(status, [Issue(code=code, text=text)], headers)


def below_fhir(path: str) -> bool:
    """Tell whether errors of this path are OperationOutcomes."""
    return any(path == base or path.startswith(base + "/") for base in (BASE, ALIAS))


def issues_of(problem: Problem) -> tuple[Issue, ...]:
    """Give a problem's issues; one that names none has one, by its status."""
    if isinstance(problem, Refusal):
        return problem.issues
    code = _ISSUES.get(problem.status, "exception" if problem.status >= 500 else "processing")
    return (Issue(code=code, text=f"{problem.message} {problem.more_info}".strip()),)


def operation_outcome(issues: Sequence[Issue]) -> dict[str, Any]:
    """Give the resource that says these issues."""
    lines = "".join(f"<p>{escape(issue.text)}</p>" for issue in issues)
    shown: list[dict[str, Any]] = []
    for issue in issues:
        one: dict[str, Any] = {
            "severity": issue.severity,
            "code": issue.code,
            "details": {"text": issue.text},
            "diagnostics": issue.text,
        }
        if issue.expression:
            one["expression"] = list(issue.expression)
        shown.append(one)
    return {
        "resourceType": "OperationOutcome",
        "text": {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{lines}</div>',
        },
        "issue": shown,
    }


def outcome_response(problem: Problem) -> web.Response:
    """Turn a problem into its response below `/fhir`."""
    body = msgspec.json.encode(operation_outcome(issues_of(problem)))
    return web.Response(status=problem.status, body=body, content_type=FHIR_JSON, headers=problem.headers)
