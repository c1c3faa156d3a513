"""The API against its own document: whatever is asked, no server error, and answers are as it says.

Requests are made from the document by Schemathesis, sound and unsound, the same in every run; `make fuzz`
makes many more, and others each time.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.gateway_real import RealSite, real_gateway
from support.stack import Database

DOCUMENT = json.loads((Path(__file__).parents[2] / "schemas" / "openapi.json").read_text(encoding="utf-8"))


def _operations() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations():
        operation: Any = each.ok()  # type: ignore[union-attr] # the document is sound, or this fails
        found[operation.definition.raw["operationId"]] = operation
    return found


OPERATIONS = _operations()
_LONGEST_LINE = 8000
EXAMPLES = int(os.environ.get("SLUICE_FUZZ_EXAMPLES", "12"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SCOPES = "bulk/import files/read files/write ops/sources ops/access ops/groups system/*.cruds user/*.cruds"


@dataclass
class Served:
    """A gateway that runs in a thread of its own, since Schemathesis waits for its answers."""

    url: str
    site: RealSite

    def headers(self) -> dict[str, str]:
        """Give what a sound request carries."""
        return self.site.bearer(scopes=SCOPES, lifetime=3600)


@pytest.fixture(scope="module")
def served(module_database: Database) -> Iterator[Served]:
    ready, found = threading.Event(), list[Served]()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async with real_gateway(module_database, bulk_limit=10**6) as site:
            found.append(Served(str(site.client.make_url("")).rstrip("/"), site))
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="gateway")
    thread.start()
    with ExitStack() as stack:
        stack.callback(loop.close)
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, ended.set)
        assert ready.wait(30)
        yield found[0]


def cases(operation: Any) -> st.SearchStrategy[Any]:
    """Give requests for an operation, sound ones and such as are not, where there can be any."""
    sound = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if not (operation.path_parameters or operation.query or operation.headers or operation.body):
        return sound  # type: ignore[no-any-return]
    return st.one_of(sound, operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))


@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_is_asked_is_answered_as_the_document_says(served: Served, name: str) -> None:
    @given(case=cases(OPERATIONS[name]))
    @settings(
        max_examples=EXAMPLES,
        derandomize="SLUICE_FUZZ_EXAMPLES" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        headers = served.headers()
        answer = case.call(base_url=served.url, headers=headers)
        if len(answer.request.url) > _LONGEST_LINE:
            return  # HTTP's own affair: the request does not reach the API
        case.validate_response(answer, checks=CHECKS, headers=headers)

    ask()


def test_every_operation_is_asked() -> None:
    declared = {each["operationId"] for path in DOCUMENT["paths"].values() for each in path.values()}
    assert set(OPERATIONS) == declared
