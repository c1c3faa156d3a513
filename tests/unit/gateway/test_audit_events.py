"""AuditEvents are sound R4 resources, and fit the pattern (IHE BALP) that they say they fit."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from sluice_contracts.audit import ACTS, DCM, INTERACTION, LIFECYCLE, REST
from sluice_gateway.fhir.audit_events import PATTERN, audit_event
from sluice_gateway.fhir.audit_queries import id_of, place_of
from sluice_storage.audit.model import Record
from sluice_storage.audit.reading import Written

BASE = "https://api.test/fhir"
AT = datetime(2026, 5, 1, 12, 30, 15, 123456, tzinfo=UTC)
JOB = "00000000-0000-4000-8000-00000000000a"
# R4's value sets, as far as they are used (audit-event-type, audit-event-sub-type).
TYPES = {
    REST[:2],
    *((DCM, str(number)) for number in range(110100, 110115)),
    *((LIFECYCLE, code) for code in ("access", "destroy", "disclose", "receive", "transmit")),
}
SUBTYPES = {
    *((DCM, str(number)) for number in range(110120, 110143)),
    *((INTERACTION, code) for code in ("read", "vread", "delete", "search-type", "transaction", "operation")),
    *((LIFECYCLE, code) for code in ("disclose", "receive")),
    *(("urn:ihe:event-type-code", code) for code in ("ITI-71", "ITI-102")),
}
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def made(**fields: Any) -> dict[str, Any]:
    service = fields.pop("service", "gateway")
    written = Written(7, AT, service, Record(**{"at": AT, **fields}))
    return audit_event(written, id_of((AT, 7)), BASE)


def is_coding(coding: dict[str, str]) -> bool:
    return bool(re.match(r"https?://|urn:", coding["system"])) and bool(re.fullmatch(r"\S+", coding["code"]))


def check(event: dict[str, Any]) -> None:
    """Hold an AuditEvent against R4's definition: cardinalities, types, required codes, no empty element."""
    assert event["resourceType"] == "AuditEvent"
    assert _ID.fullmatch(event["id"])
    assert (event["type"]["system"], event["type"]["code"]) in TYPES
    for subtype in event["subtype"][:-1]:
        assert (subtype["system"], subtype["code"]) in SUBTYPES
    assert event["action"] in set("CRUDE")
    assert _INSTANT.fullmatch(event["recorded"])
    assert event["outcome"] in {"0", "4", "8", "12"}
    assert event["agent"], "1..*"
    assert sum(agent["requestor"] for agent in event["agent"]) == 1
    for agent in event["agent"]:
        assert isinstance(agent["requestor"], bool)
        assert all(map(is_coding, agent["type"]["coding"]))
        assert agent.get("network", {"type": "2"})["type"] in set("12345")
    assert event["source"]["observer"]["display"]
    assert all(map(is_coding, event["source"]["type"]))
    for entity in event.get("entity", []):
        assert is_coding(entity["type"])
        # sev-1: a name or a query, not both.
        assert not {"name", "query"} <= entity.keys()
        for detail in entity.get("detail", []):
            assert detail.keys() == {"type", "valueString"}
    assert "" not in values(event)
    assert [] not in values(event)


def values(part: Any) -> list[Any]:
    if isinstance(part, dict):
        return [each for value in part.values() for each in [value, *values(value)]]
    return [each for item in part for each in values(item)] if isinstance(part, list) else [part]


@pytest.mark.parametrize("act", ACTS)
def test_every_act_makes_a_sound_event_whatever_is_known_of_it(act: str) -> None:
    for client, subject, address, kind, patients in product(
        (None, "portal"),
        (None, "portal", "ann"),
        (None, "192.0.2.1"),
        (None, "Patient", "file"),
        (None, ("p",)),
    ):
        fields = {"client": client, "subject": subject, "address": address, "kind": kind}
        check(made(act=act, patients=patients, **fields))
        check(
            made(
                act=act,
                patients=patients,
                outcome=4,
                reason="not_found",
                entity="e",
                ids=("a", "b"),
                parameters=("code",),
                job=JOB,
                items=2,
                bytes=3,
                request="r",
                trace="t",
                **fields,
            )
        )


KNOWN = {"client": "portal", "subject": "ann", "address": "192.0.2.1", "request": "r"}


def roles(event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {agent["type"]["coding"][0]["code"]: agent for agent in event["agent"]}


@pytest.mark.parametrize(
    ("patients", "pattern"), [(None, "Read"), (("p",), "PatientRead"), (("p", "q"), "Read")]
)
def test_a_read_fits_the_pattern_it_names(patients: tuple[str, ...] | None, pattern: str) -> None:
    event = made(act="read", kind="Observation", entity="o", patients=patients, **KNOWN)
    assert event["meta"]["profile"] == [PATTERN + pattern]
    assert (event["type"]["code"], event["subtype"][0]["code"], event["action"]) == ("rest", "read", "R")
    # The client is where the data go, the server where they are from.
    client, server, user = (roles(event)[code] for code in ("110152", "110153", "IRCP"))
    assert client["who"]["identifier"]["value"] == "portal"
    assert client["network"] == {"address": "192.0.2.1", "type": "2"}
    assert server["who"] == event["source"]["observer"]
    assert server["network"]
    assert user["requestor"]
    assert "network" not in user
    data = [entity for entity in event["entity"] if entity["type"]["code"] == "2"]
    assert [entity["what"]["reference"] for entity in data] == ["Observation/o"]
    assert data[0]["role"]["code"] == "4"
    people = [entity for entity in event["entity"] if entity["type"]["code"] == "1"]
    assert [entity["what"]["reference"] for entity in people] == [
        f"Patient/{each}" for each in patients or ()
    ]
    assert event["entity"][-1]["type"]["code"] == "XrequestId"


def test_a_search_fits_the_pattern_it_names_without_what_was_searched_for() -> None:
    event = made(
        act="search", kind="Observation", parameters=("code", "patient"), patients=("p",), items=3, **KNOWN
    )
    assert event["meta"]["profile"] == [PATTERN + "PatientQuery"]
    assert (event["subtype"][0]["code"], event["action"]) == ("search-type", "E")
    assert roles(event)["110153"]["who"]["identifier"]["value"] == "portal"
    (query,) = [entity for entity in event["entity"] if entity.get("role", {}).get("code") == "24"]
    assert b64decode(query["query"]) == b"Observation?code&patient"
    assert not {"what", "lifecycle", "detail"} & query.keys()


def test_what_was_refused_or_is_not_known_names_no_pattern() -> None:
    known = {"act": "read", "kind": "Patient", "entity": "p", **KNOWN}
    for less in ({"outcome": 4}, {"client": None}, {"address": None}, {"kind": None}, {"act": "disclose"}):
        assert "profile" not in made(**{**known, **less})["meta"]


def test_a_token_is_named_as_its_urn_by_a_security_server() -> None:
    event = made(
        act="token", service="auth", client="c", subject="c", kind="token", entity="j", address="::1"
    )
    assert event["source"]["type"][0]["code"] == "6"
    assert event["entity"][0]["what"]["identifier"]["value"] == "urn:ietf:params:oauth:jti:j"
    assert roles(event).keys() == {"110150", "authserver"}


def test_an_id_names_one_place_and_only_one_spelling_does() -> None:
    id_ = id_of((AT, 7))
    assert place_of(id_) == (AT, 7)
    for other in ("", "7", "-", f"{id_}-1", f"0{id_}", f"{id_}x", "1-", "-1", "9" * 18 + "-1", "\u0661-1"):
        assert place_of(other) is None
