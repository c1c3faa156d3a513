"""What is wrong with a measure or a request about one, as the answer that says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sluice_fhir.measures.problems import Finding, MeasureError
from sluice_gateway.fhir.outcomes import Issue, Refusal, operation_outcome

_MOST_ISSUES = 100


def refusal_of(error: MeasureError, place: Callable[[str], str] = str) -> Refusal:
    """Give the answer that lists what was found, the first hundred.

    Parameters
    ----------
    place
        Says where in the request a finding's place is, if it was found in something that was made of it.
    """
    return Refusal(error.status, issues_of(error.findings, place))


def issues_of(findings: Sequence[Finding], place: Callable[[str], str] = str) -> list[Issue]:
    """Give findings as issues."""
    shown = [
        Issue(code=each.issue, text=each.text, expression=(place(each.where),) if each.where else ())
        for each in findings[:_MOST_ISSUES]
    ]
    if len(findings) > _MOST_ISSUES:
        text = f"And {len(findings) - _MOST_ISSUES} more of the kind."
        shown.append(Issue(code="informational", text=text, severity="information"))
    return shown


def outcome_of(findings: Sequence[Finding]) -> dict[str, Any]:
    """Give findings as an OperationOutcome."""
    return operation_outcome(issues_of(findings))
