"""The API against its own document: whatever is asked, no server error, and answers are as it says.

Requests are made from the document by Schemathesis, sound and unsound, in as many rounds as there is time for
(`support.fuzz_time`), one at least.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.documented import CHECKS, cases, kept, operations, served_apart
from support.gateway_real import RealSite, real_gateway
from support.stack import Database

DOCUMENT = kept("openapi.json")


OPERATIONS = operations(DOCUMENT)
_LONGEST_LINE = 8000
SCOPES = "bulk/import files/read files/write system/*.cruds user/*.cruds"
OPERATORS = (
    "ops/sources ops/access ops/groups ops/dead-letters ops/health ops/jobs ops/measures ops/resources"
    " ops/audit"
)
OF_CLIENTS = frozenset({"Webhooks"})
"""What only a client that acts for itself may do."""
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "Webhooks": ("/v2/webhooks", {"url": "https://portal.example.org/hook"}),
    "Sources": ("/v2/fhir/sources", {"name": "Made", "base_url": "https://fhir.example.org/made"}),
    "Groups": ("/v2/fhir/groups", {"name": "made"}),
    "Grants": ("/v2/fhir/grants", {"client": "other", "all_patients": True}),
}
"""What is made by a request of the tag, so that half of the others are about one that is there."""


@dataclass
class Served:
    """A gateway that runs in a thread of its own."""

    url: str
    site: RealSite
    loop: asyncio.AbstractEventLoop

    def headers(self, tag: str, lifetime: int = 3600) -> dict[str, str]:
        """Give what a sound request carries: the token of whoever may make it."""
        who = (
            {"subject": "portal", "scopes": ""} if tag in OF_CLIENTS else {"scopes": f"{SCOPES} {OPERATORS}"}
        )
        return self.site.bearer(lifetime=lifetime, **who)

    def made(self, tag: str) -> str | None:
        """Make what requests of this tag are about; gives its id, None if that is nothing."""
        if tag not in MADE:
            return None
        path, body = MADE[tag]

        async def make() -> str:
            answer = await self.site.post(path, json=body, headers=self.headers(tag))
            found = await answer.json()
            if answer.status == 409:
                found = (await (await self.site.get(path, headers=self.headers(tag))).json())["items"][0]
            return str(found["id"])

        return asyncio.run_coroutine_threadsafe(make(), self.loop).result(30)


@pytest.fixture(scope="module")
def served(module_database: Database) -> Iterator[Served]:
    with served_apart(real_gateway(module_database, bulk_limit=10**6), "gateway") as (site, loop):
        yield Served(str(site.client.make_url("")).rstrip("/"), site, loop)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_is_asked_is_answered_as_the_document_says(
    served: Served, fuzzing: Callable[[Callable[[], None]], None], name: str
) -> None:
    operation = OPERATIONS[name]
    raw = operation.definition.raw
    tag, statuses = raw["tags"][0], set[int]()
    there = served.made(tag) if "{id}" in operation.path else None

    # A stream of events ends with its token.
    lifetime = 2 if "text/event-stream" in raw["responses"].get("200", {}).get("content", {}) else 3600

    @given(case=cases(operation), known=st.just(False) if there is None else st.booleans())
    @settings(max_examples=12, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Any, known: bool) -> None:
        headers = served.headers(tag, lifetime)
        if known and there is not None and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = there
        answer = case.call(base_url=served.url, headers=headers)
        if len(answer.request.url) > _LONGEST_LINE:
            return  # HTTP's own affair: the request does not reach the API
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS, headers=headers)

    fuzzing(ask)
    # Nobody is asked in vain: the token is one that may.
    assert statuses - {401, 403} or not raw.get("security")


def test_every_operation_is_asked() -> None:
    declared = {each["operationId"] for path in DOCUMENT["paths"].values() for each in path.values()}
    assert set(OPERATIONS) == declared
