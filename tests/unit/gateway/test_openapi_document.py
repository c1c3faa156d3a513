"""The document says what the router serves, and the copy in the repository is this one."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sluice_gateway.fhir.outcomes import ALIAS
from sluice_gateway.fhir.queries import parse_search
from sluice_gateway.models.imports import EXAMPLE
from sluice_gateway.openapi import api
from sluice_gateway.routes import ROUTES
from sluice_openapi.document import document, written
from support.document_walk import operations, references
from support.gateway_memory import memory_gateway

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    return document(api())


async def test_the_document_has_exactly_the_operations_that_the_router_serves(shown: dict[str, Any]) -> None:
    async with memory_gateway() as site:
        served = {
            (route.method, route.resource.canonical.rstrip("/") or "/")
            for route in site.client.app.router.routes()
            if route.resource is not None and not route.resource.canonical.startswith(ALIAS)
        }
    told = {(method, path) for method, path, _ in operations(shown)}
    # That HEAD is answered wherever GET is goes without saying (RFC 9110, section 9.3.2).
    assert served - told == {("HEAD", path) for _, path in served - told}
    assert served - told <= {("HEAD", path) for method, path in served if method == "GET"}
    assert told <= served


def test_what_the_document_tells_of_searches_is_understood(shown: dict[str, Any]) -> None:
    told = shown["paths"]["/fhir/{type}"]["get"]["parameters"]
    names = [each["name"] for each in told if each["in"] == "query"]
    given = dict(zip(("_id", "_count", "_summary"), ("1,2", "5", "count"), strict=True))
    assert names == list(given)
    query = parse_search("Patient", given.items())
    assert (query.ids, query.count, query.only_count) == (("1", "2"), 5, True)


def test_the_copy_in_the_repository_is_the_generated_one() -> None:
    kept = (ROOT / "schemas" / "openapi.json").read_text(encoding="utf-8")
    assert kept == written(api()), "run: python -m sluice_gateway.openapi > schemas/openapi.json"


def test_every_reference_leads_somewhere(shown: dict[str, Any]) -> None:
    for reference in set(references(shown)):
        target: Any = shown
        for step in reference.removeprefix("#/").split("/"):
            assert step in target, reference
            target = target[step]


def test_every_schema_is_a_json_schema(shown: dict[str, Any]) -> None:
    for schema in shown["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_operations_have_names_of_their_own_and_words(shown: dict[str, Any]) -> None:
    found = [operation for _, _, operation in operations(shown)]
    names = [operation["operationId"] for operation in found]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] and operation["description"] for operation in found)


def test_every_parameter_in_a_path_is_declared(shown: dict[str, Any]) -> None:
    for _, path, operation in operations(shown):
        declared = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
        assert declared == re.findall(r"{(\w+)}", path)


def test_the_example_satisfies_the_schema_it_stands_beside(shown: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/ImportRequest", "components": shown["components"]}
    Draft202012Validator(schema).validate(EXAMPLE)
    with pytest.raises(Exception, match="MERGE"):
        Draft202012Validator(schema).validate({**EXAMPLE, "conflict_resolution": "MERGE"})


def test_what_needs_a_token_says_so_and_what_does_not_says_that(shown: dict[str, Any]) -> None:
    by_name = {route.name: route for route in ROUTES}
    for _, _, operation in operations(shown):
        route = by_name[operation["operationId"]]
        assert bool(operation["security"]) == (route.scope is not None)
        assert ("401" in operation["responses"]) == (route.scope is not None)


@pytest.mark.parametrize("path", ["/docs", "/docs/authorization"])
async def test_a_page_works_offline_and_reads_nothing_from_elsewhere_but_its_document(path: str) -> None:
    async with memory_gateway() as site:
        page = await site.get(path)
        text = await page.text()
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        issuer = site.gateway.settings.issuer
        document = "/openapi.json" if path == "/docs" else f"{issuer}/oauth/openapi.json"
        assert f'data-document="{document}"' in text
        assert (f"connect-src 'self' {issuer};" in policy) == (path != "/docs")
        # `data:` is in the page already.
        found = re.findall(r'(?:src|href)="([^"]+)"', text)
        assets = [each for each in found if each not in ("data:,", document)]
        assert {"/docs", "/docs/authorization", "/docs/events"} < {*assets}
        assert assets
        for asset in assets:
            assert asset.startswith("/")
            answer = await site.get(asset)
            assert answer.status == 200, asset
        assert json.loads(await (await site.get("/openapi.json")).text())["openapi"].startswith("3.1")
        assert (await site.get("/docs/SHA256SUMS")).status == 404


def test_the_vendored_page_is_the_published_one() -> None:
    folder = ROOT / "services/gateway/src/sluice_gateway/static/swagger-ui"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {file: digest for digest, file in (line.split("  ") for line in lines)}
    assert set(sums) == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    for file, digest in sums.items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
