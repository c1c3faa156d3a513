"""What a request says it would like back: the fields `Accept` and `Prefer` of a kick-off.

Both may be missing; then `application/fhir+json` and `respond-async` are meant (Bulk Data Access 2.0.0,
section "Bulk Data Kick-off Request, Headers"). What says the opposite is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sluice_gateway.fhir.outcomes import FHIR_JSON, Issue, Refusal

_TAKEN = (FHIR_JSON, "application/json", "application/json+fhir")
_FORMATS = frozenset({"json", *_TAKEN, "application/fhir json"})


def listed(fields: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Give the members of a comma-separated header, each with its parameters, in lower case."""
    for field in fields:
        for member in field.split(","):
            name, *parameters = (part.strip() for part in member.split(";"))
            if name:
                found = (parameter.partition("=") for parameter in parameters)
                yield (
                    name.lower(),
                    {key.strip().lower(): value.strip(' "').lower() for key, _, value in found},
                )


def weight(parameters: dict[str, str]) -> float:
    """Give a member's weight (RFC 9110 section 12.4.2); one that is no number counts for nothing."""
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0


def check_accept(fields: Sequence[str], formats: Sequence[str] = ()) -> None:
    """Refuse a request whose errors could not be answered in the one format there is.

    Parameters
    ----------
    fields
        All `Accept` fields.
    formats
        All `_format` parameters, which stand for `Accept` where a client cannot set it.

    Raises
    ------
    Refusal
        406: JSON is not accepted.
    """
    members = dict(listed(fields))
    # The most specific one that matches decides (RFC 9110 section 12.5.1).
    matching = [members[name] for name in (*_TAKEN, "application/*", "*/*") if name in members]
    if (members and not (matching and weight(matching[0]) > 0)) or not _FORMATS.issuperset(
        text.lower() for text in formats
    ):
        text = f"Answers are {FHIR_JSON} only. Send Accept: {FHIR_JSON}."
        raise Refusal(406, [Issue(code="not-supported", text=text, expression=("http.Accept",))])


def lenient(fields: Sequence[str]) -> bool:
    """Tell whether the client prefers to go on without what is not supported (`handling=lenient`).

    Preferences that are not known are left out of account, as RFC 7240 section 2 asks.

    Raises
    ------
    Refusal
        400: the fields ask for an answer that is not asynchronous, or for both ways of handling.
    """
    handling = set()
    for name, _ in listed(fields):
        key, _, value = (part.strip(' "') for part in name.partition("="))
        if key == "respond-sync" or (key == "respond-async" and value not in ("", "true")):
            text = "An export is answered asynchronously. Send Prefer: respond-async."
            raise Refusal(400, [Issue(code="not-supported", text=text, expression=("http.Prefer",))])
        if key == "handling":
            handling.add(value)
    if {"lenient", "strict"} <= handling:
        text = "Prefer asks for both lenient and strict handling. Send one of them."
        raise Refusal(400, [Issue(code="invalid", text=text, expression=("http.Prefer",))])
    return "lenient" in handling
