"""The document says what the router serves, forms are read as it says, and the copy kept is this one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sluice_auth.handlers.token_messages import AnyTokenForm
from sluice_auth.openapi import ROUTES, api
from sluice_openapi.document import document, written
from support.auth_browser import BOTH, REDIRECT, SCOPES, VERIFIER, Browser, add_user, portal
from support.auth_server import AuthServer, auth_server
from support.document_walk import operations, references

ROOT = Path(__file__).parents[3]
HEALTH = {"/livez", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    return document(api())


async def test_the_document_has_exactly_the_operations_that_the_router_serves(shown: dict[str, Any]) -> None:
    async with auth_server() as server:
        served = {
            (route.method, route.resource.canonical)
            for route in server.service.app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }
    told = {(method, path) for method, path, _ in operations(shown)}
    assert {each for each in served if each[1] not in HEALTH} == told


def test_the_copy_in_the_repository_is_the_generated_one() -> None:
    kept = (ROOT / "schemas" / "openapi-auth.json").read_text(encoding="utf-8")
    assert kept == written(api()), "run: make schemas"


async def test_the_server_serves_it_to_scripts_of_other_sites() -> None:
    async with auth_server() as server, server.http.get("/oauth/openapi.json") as answer:
        assert await answer.text() == written(api())
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


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


def test_examples_satisfy_the_schemas_they_stand_beside(shown: dict[str, Any]) -> None:
    found = 0
    for _, _, operation in operations(shown):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            examples = [each["value"] for each in content.get("examples", {}).values()]
            examples += [content["example"]] if "example" in content else []
            schema = {**content["schema"], "components": shown["components"]}
            for example in examples:
                Draft202012Validator(schema).validate(example)
                found += 1
    assert found == sum(len(route.examples) for route in ROUTES)


async def _complete(server: AuthServer, grant: str) -> dict[str, str]:
    """Give a form that the grant is given for."""
    client = await portal(server, grant_types=[*BOTH, "client_credentials"], scope=SCOPES)
    known = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
    form = {"grant_type": grant, **known}
    if grant == "client_credentials":
        return form
    scope = "user/*.rs offline_access"
    code = await Browser(server).code(client, scope=scope)
    by_code = {"code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    if grant == "authorization_code":
        return {**form, **by_code}
    token = await server.ask({**form, "grant_type": "authorization_code", "scope": scope, **by_code})
    return {**form, "refresh_token": token["refresh_token"]}


FORMS = {each.__struct_config__.tag: each for each in AnyTokenForm.__args__}


@pytest.mark.parametrize("grant", FORMS)
async def test_each_grant_needs_what_its_form_declares_and_nothing_else(
    shown: dict[str, Any], grant: str
) -> None:
    declared = shown["components"]["schemas"][FORMS[grant].__name__]
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        complete = await _complete(server, grant)
        assert complete.keys() <= declared["properties"].keys()
        assert {*declared["required"]} <= complete.keys()
        for name in declared["required"]:
            told = await server.ask({n: v for n, v in complete.items() if n != name}, 400)
            assert told["error"] == "invalid_request"
            assert name in told["error_description"]
        least = {*declared["required"], "client_id", "client_secret"}
        assert "access_token" in await server.ask({n: v for n, v in complete.items() if n in least})
