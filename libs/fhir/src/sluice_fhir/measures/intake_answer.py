"""The answer to a transaction or batch Bundle (R4, Bundle of type transaction-response or batch-response)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from sluice_fhir.measures.entries import Action, Intake
from sluice_fhir.measures.problems import Finding

_PHRASES = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Content Too Large",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    501: "Not Implemented",
}


class Done(Struct, frozen=True):
    """What became of an entry.

    Parameters
    ----------
    created
        Whether there was no such resource before.
    version, updated
        The resource's version, and since when it is the current one; None for DELETE.
    """

    created: bool = False
    version: int | None = None
    updated: datetime | None = None


Outcome = Callable[[Sequence[Finding]], dict[str, Any]]
"""Makes an OperationOutcome."""


def bundle_answer(
    intake: Intake, done: Mapping[int, Done | Finding], base: str, outcome: Outcome
) -> dict[str, Any]:
    """Make the Bundle that answers.

    Parameters
    ----------
    done
        What became of each of the intake's entries, by place; a Finding for one of a batch that failed.
    base
        The server's base URL, without a slash at its end.
    outcome
        Makes the OperationOutcome of a refused entry.

    Returns
    -------
    dict
        The Bundle, with an entry for each of the request's, in its order.
    """
    answers: dict[int, dict[str, Any]] = {
        place: _refused(found, outcome) for place, found in intake.refused.items()
    }
    for each in intake.entries:
        result = done[each.place]
        if isinstance(result, Finding):
            answers[each.place] = _refused(result, outcome)
        else:
            answers[each.place] = {"response": _response(each.action, f"{base}/{each.key}", result)}
    return {
        "resourceType": "Bundle",
        "type": f"{intake.type}-response",
        "entry": [answers[place] for place in range(intake.size)],
    }


def _refused(found: Finding, outcome: Outcome) -> dict[str, Any]:
    return {"response": {"status": _status(found.status), "outcome": outcome([found])}}


def _response(action: Action, url: str, done: Done) -> dict[str, Any]:
    if action is Action.DELETE:
        return {"status": _status(204)}
    response: dict[str, Any] = {"status": _status(201 if done.created else 200)}
    if done.version is not None:
        response["location"] = f"{url}/_history/{done.version}"
        response["etag"] = f'W/"{done.version}"'
    else:
        response["location"] = url
    if done.updated is not None:
        response["lastModified"] = done.updated.isoformat(timespec="milliseconds")
    return response


def _status(code: int) -> str:
    return f"{code} {_PHRASES[code]}" if code in _PHRASES else str(code)
