"""What `$bulk-submit` and `$bulk-submit-status` are asked for (Bulk Data Access 4.0.0, ballot, "Submit").

Everything that is wrong is told in one answer. Codes of earlier drafts (`complete`, `aborted`) are taken too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sluice_gateway.fhir.outcomes import Issue, Refusal
from sluice_gateway.fhir.pull_parameters import parameters_of
from sluice_gateway.fhir.submission_declared import (
    ASKED,
    BASE,
    ENCRYPTION,
    FORMATS,
    HEADER,
    KEY,
    MANIFEST,
    METADATA,
    MOST,
    NAME,
    OAUTH,
    REPLACES,
    STATUS,
    STATUS_SYSTEM,
    SUBMITTED,
    SUBMITTER,
    SubmissionStatus,
)
from sluice_security.guard_urls import UrlRefusedError, parse_url

# Accepted, and without an effect of their own: tokens are got as the source is registered, and what metadata
# mean is agreed on between others.
_IDLE = {
    OAUTH: "Tokens are got as is registered for the source; oauthMetadataUrl itself was not asked.",
    METADATA: "Metadata of the submission are not kept.",
}
_REFUSED = {
    "import": "There are no options of processing.",
}
_SYSTEMS = frozenset({"", STATUS_SYSTEM})
_DRAFT = "http://hl7.org/fhir/uv/bulkdata/"
_TEXTS = ("valueString", "valueUrl", "valueUri", "valueCode", "valueId")
_LONGEST, _LONGEST_URL, _LONGEST_KEY = 255, 8192, 8192

T = TypeVar("T")


_CODES = {
    **{each.value: each for each in SubmissionStatus},
    "complete": SubmissionStatus.COMPLETED,
    "aborted": SubmissionStatus.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Submitter:
    """Which submission: the Identifier of who submits, and the `submissionId`."""

    system: str
    value: str
    name: str


@dataclass(frozen=True, slots=True)
class SubmittedManifest:
    """A manifest, what references in its files are relative to, and how it and they are to be read.

    Parameters
    ----------
    headers
        Header fields of requests, with their values.
    key
        What delivers the key that they are encrypted with.
    oauth
        They are protected by an authorization server, which the submitter named.
    """

    url: str
    base: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    key: str | None = field(default=None, repr=False)
    oauth: bool = False


@dataclass(frozen=True, slots=True)
class Submitted:
    """A request to `$bulk-submit`; `notes` are what the submitter should know of it."""

    submitter: Submitter
    status: SubmissionStatus
    manifest: SubmittedManifest | None = None
    replaces: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reading:
    given: dict[str, list[dict[str, Any]]]
    issues: list[Issue] = field(default_factory=list)

    def wrong(self, name: str, text: str, code: str = "value") -> None:
        place = f"Parameters.parameter.where(name='{name}')"
        self.issues.append(Issue(code=code, text=text, expression=(place,)))

    def one(self, name: str, read: Callable[[dict[str, Any]], T | None], text: str) -> T | None:
        """Read the one parameter of this name, None if there is none; `text` says what it must be."""
        found = self.given.get(name, [])
        if len(found) > 1:
            self.wrong(name, f"{name} must be given once.", "invalid")
        if not found:
            return None
        value = read(found[0])
        if value is None:
            self.wrong(name, f"{name} must be {text}.")
        return value

    def several(self, name: str, read: Callable[[dict[str, Any]], T | None], text: str) -> tuple[T, ...]:
        """Read every parameter of this name; `text` says what each must be."""
        found = self.given.get(name, [])
        if len(found) > MOST:
            self.wrong(name, f"{name} must be given at most {MOST} times.", "too-long")
        values = [value for each in found[:MOST] if (value := read(each)) is not None]
        if len(values) < len(found[:MOST]):
            self.wrong(name, f"{name} must be {text}.")
        return tuple(values)

    def required(self, name: str, read: Callable[[dict[str, Any]], T | None], text: str) -> T | None:
        if name not in self.given:
            self.wrong(name, f"{name} is required.", "required")
        return self.one(name, read, text)

    def ended(self) -> None:
        if self.issues:
            raise Refusal(400, self.issues)


def read_submission(body: bytes) -> Submitted:
    """Read the body of `$bulk-submit`.

    Raises
    ------
    Refusal
        400: with an issue for everything that is wrong.
    """
    reading, submitter = _begun(body, SUBMITTED.names | _REFUSED.keys())
    for name, text in _REFUSED.items():
        if name in reading.given:
            reading.wrong(name, text, "not-supported")
    status = reading.one(STATUS, _status, f"a code: {', '.join(SubmissionStatus)}")
    url = reading.one(MANIFEST, _url, "an absolute http or https URL")
    base = reading.one(BASE, _url, "an absolute http or https URL")
    replaces = reading.one(REPLACES, _url, "an absolute http or https URL")
    headers = reading.several(HEADER, _header, "parts headerName and headerValue")
    key = reading.one(KEY, _key, "a part value, a JSON Web Encryption in its compact form")
    oauth = reading.several(OAUTH, _url, "an absolute http or https URL")
    _check_format(reading, "outputFormat")
    if MANIFEST in reading.given and BASE not in reading.given:
        reading.wrong(BASE, f"{BASE} is required with {MANIFEST}.", "required")
    if MANIFEST not in reading.given and STATUS not in reading.given:
        reading.wrong(STATUS, f"{STATUS} or {MANIFEST} is required.", "required")
    if url is not None and url == replaces:
        reading.wrong(REPLACES, "A manifest cannot replace itself: give the new one an address of its own.")
    reading.ended()
    whole = url is not None and base is not None
    return Submitted(
        submitter,
        status or SubmissionStatus.IN_PROGRESS,
        SubmittedManifest(url or "", base or "", headers, key, bool(oauth)) if whole else None,
        replaces,
        tuple(text for name, text in _IDLE.items() if name in reading.given),
    )


def read_status_request(body: bytes) -> Submitter:
    """Read the body of `$bulk-submit-status`.

    Raises
    ------
    Refusal
        400: with an issue for everything that is wrong.
    """
    reading, submitter = _begun(body, ASKED.names)
    _check_format(reading, "_outputFormat")
    reading.ended()
    return submitter


def _begun(body: bytes, known: frozenset[str]) -> tuple[_Reading, Submitter]:
    reading = _Reading({})
    for number, parameter in enumerate(parameters_of(body)):
        name = parameter.get("name") if isinstance(parameter, dict) else None
        if isinstance(name, str) and name in known:
            reading.given.setdefault(name, []).append(parameter)
            continue
        # Its name is the client's own text, which is not repeated.
        text = f"There is no such parameter; known are {', '.join(sorted(known))}."
        place = (f"Parameters.parameter[{number}]",)
        reading.issues.append(Issue(code="not-supported", text=text, expression=place))
    who = reading.required(SUBMITTER, _identifier, "an Identifier with a value")
    name = reading.required(NAME, _name, f"a text of at most {_LONGEST} characters")
    system, value = who or ("", "")
    return reading, Submitter(system, value, name or "")


def _check_format(reading: _Reading, name: str) -> None:
    given = reading.one(name, _text, "a text")
    if given is not None and given.partition(";")[0].strip() not in FORMATS:
        reading.wrong(name, f"{name} must be application/fhir+ndjson.", "not-supported")


def _text(parameter: dict[str, Any]) -> str | None:
    """Give a value, whichever kind of text it comes as."""
    held = [value for key, value in parameter.items() if key.startswith("value")]
    found = held[0] if len(held) == 1 and any(key in parameter for key in _TEXTS) else None
    return found if isinstance(found, str) and found.strip() and "\0" not in found else None


def _name(parameter: dict[str, Any]) -> str | None:
    text = _text(parameter)
    return text if text is not None and len(text) <= _LONGEST else None


def _url(parameter: dict[str, Any]) -> str | None:
    text = _text(parameter)
    if text is None or len(text) > _LONGEST_URL:
        return None
    try:
        parse_url(text)
    except UrlRefusedError:
        return None
    return text


def _parts(parameter: dict[str, Any], *names: str) -> dict[str, dict[str, Any]]:
    """Give a parameter's parts by their names, none if it has others than these or one of them twice."""
    parts = parameter.get("part")
    if not isinstance(parts, list) or not all(isinstance(each, dict) for each in parts):
        return {}
    given = [each.get("name") for each in parts]
    return dict(zip(given, parts, strict=True)) if len(set(given) & set(names)) == len(given) else {}


def _header(parameter: dict[str, Any]) -> tuple[str, str] | None:
    parts = _parts(parameter, "headerName", "headerValue")
    name, value = (_text(parts.get(each, {})) for each in ("headerName", "headerValue"))
    return None if name is None or value is None else (name, value)


def _key(parameter: dict[str, Any]) -> str | None:
    parts = _parts(parameter, "coding", "value")
    text = _text(parts.get("value", {}))
    coding = parts.get("coding", {}).get("valueCoding", {})
    if not isinstance(coding, dict) or text is None or len(text) > _LONGEST_KEY:
        return None
    system, code = ENCRYPTION
    return text if (coding.get("system", system), coding.get("code", code)) == ENCRYPTION else None


def _identifier(parameter: dict[str, Any]) -> tuple[str, str] | None:
    held = parameter.get("valueIdentifier")
    system = held.get("system", "") if isinstance(held, dict) else None
    value = held.get("value") if isinstance(held, dict) else None
    texts = (system, value)
    if not all(isinstance(text, str) and len(text) <= _LONGEST and "\0" not in text for text in texts):
        return None
    return (str(system), str(value)) if value else None


def _status(parameter: dict[str, Any]) -> SubmissionStatus | None:
    held = parameter.get("valueCoding")
    if not isinstance(held, dict):
        return _CODES.get(_text(parameter) or "")
    system, code = held.get("system", ""), held.get("code")
    known = isinstance(system, str) and (system in _SYSTEMS or system.startswith(_DRAFT))
    return _CODES.get(code) if known and isinstance(code, str) else None
