"""What the server says of itself is what it does, and where its tokens come from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from sluice_auth.handlers.discovery import smart_configuration
from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.search import SearchError, compile_filter
from sluice_fhir.search_table import parameters
from sluice_gateway.fhir.capabilities import NOT_EXPORTED, OAUTH_URIS
from sluice_gateway.fhir.declared import FHIR_ROUTES
from sluice_gateway.fhir.discovery import Discovery
from sluice_gateway.fhir.queries import parse_search
from sluice_security.authority import HttpAuthority
from sluice_security.scopes import Scopes
from support.auth_server import auth_server
from support.gateway_memory import Site, memory_gateway
from support.tokens import AUDIENCE

SMART = "/fhir/.well-known/smart-configuration"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with memory_gateway() as found:
        yield found


async def capabilities(site: Site) -> dict[str, Any]:
    answer = await site.get("/fhir/metadata")
    assert answer.status == 200
    found: dict[str, Any] = await answer.json(content_type="application/fhir+json")
    return found


async def test_the_statement_names_the_guide_the_server_and_every_type(site: Site) -> None:
    shown = await capabilities(site)
    (rest,) = shown["rest"]
    assert (shown["fhirVersion"], shown["kind"], rest["mode"]) == ("4.0.1", "instance", "server")
    assert shown["implementation"]["url"] == f"{AUDIENCE}/fhir"
    assert "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data" in shown["instantiates"]
    assert {resource["type"] for resource in rest["resource"]} == RESOURCE_TYPES
    for resource in rest["resource"]:
        assert [each["code"] for each in resource["interaction"]] == ["read", "vread", "search-type"]


def test_the_statement_says_of_types_what_there_are_routes_for() -> None:
    served = {(route.method, route.path.removeprefix("/fhir")) for route in FHIR_ROUTES}
    ways = {way for way in served if way[1].startswith("/{type}") and way[0] != "HEAD"}
    # read, vread, and search-type in both of its forms: what the statement says of every type.
    assert ways == {
        ("GET", "/{type}/{id}"),
        ("GET", "/{type}/{id}/_history/{vid}"),
        ("GET", "/{type}"),
        ("POST", "/{type}/_search"),
    }
    operations = {(method, path) for method, path in served if path.endswith("$export")}
    levels = ("/$export", "/Patient/$export", "/Group/{id}/$export")
    assert operations == {(method, level) for method in ("GET", "POST") for level in levels}


async def test_the_statement_has_the_operations_that_there_are_routes_for(site: Site) -> None:
    (rest,) = (await capabilities(site))["rest"]
    told = {("", each["name"]): each["definition"] for each in rest["operation"]}
    for resource in rest["resource"]:
        told |= {
            (resource["type"], each["name"]): each["definition"] for each in resource.get("operation", ())
        }
    places = [route.path.removeprefix("/fhir/").split("/") for route in FHIR_ROUTES]
    served = {(place[0] * (len(place) > 1), place[-1][1:]) for place in places if place[-1].startswith("$")}
    assert set(told) == served
    base = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/"
    assert {key: definition for key, definition in told.items() if key[1] == "export"} == {
        ("", "export"): f"{base}export",
        ("Patient", "export"): f"{base}patient-export",
        ("Group", "export"): f"{base}group-export",
    }
    # A Bundle sent to the base is a transaction or a batch.
    assert ("POST", "/fhir") in {(route.method, route.path) for route in FHIR_ROUTES}
    assert [each["code"] for each in rest["interaction"]] == ["transaction", "batch"]


async def test_every_search_parameter_that_is_told_of_can_be_used(site: Site) -> None:
    (rest,) = (await capabilities(site))["rest"]
    for resource in rest["resource"]:
        for parameter in resource["searchParam"]:
            told_not = [each["url"] for each in parameter.get("extension", ())]
            assert told_not in ([], [NOT_EXPORTED])
            if told_not:
                with pytest.raises(SearchError):
                    compile_filter(resource["type"], f"{parameter['name']}=x")
                parse_search(resource["type"], [(parameter["name"], "x")])
            elif parameter["type"] != "composite":
                compile_filter(resource["type"], f"{parameter['name']}:missing=true")
            else:
                assert parameters(resource["type"])[parameter["name"]].components


async def test_the_addresses_of_oauth_are_those_that_the_authorization_server_names(site: Site) -> None:
    issuer = site.gateway.settings.issuer
    named = smart_configuration(issuer, Scopes.parse("system/*.rs"), registration=True)
    (rest,) = (await capabilities(site))["rest"]
    (extension,) = rest["security"]["extension"]
    assert extension["url"] == OAUTH_URIS
    assert {each["url"]: each["valueUri"] for each in extension["extension"]} == {
        "authorize": named["authorization_endpoint"],
        "token": named["token_endpoint"],
        "register": named["registration_endpoint"],
        "manage": named["management_endpoint"],
        "introspect": named["introspection_endpoint"],
        "revoke": named["revocation_endpoint"],
    }
    assert rest["security"]["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"


async def test_the_smart_configuration_is_the_authorization_servers_also_while_that_is_away(
    site: Site,
) -> None:
    expected = await site.authority.smart_configuration()
    for away, later in ((False, 0.0), (True, 10.0), (True, 7200.0)):
        site.authority.away = away
        site.now.at += later
        answer = await site.get(SMART)
        assert (answer.status, await answer.json(content_type="application/json")) == (200, expected)


@pytest.mark.parametrize("accept", ["application/fhir+xml", "text/html", "image/png;q=1, */*;q=0"])
async def test_the_smart_configuration_is_json_whatever_is_accepted(site: Site, accept: str) -> None:
    answer = await site.get(SMART, headers={"Accept": accept})
    assert (answer.status, answer.content_type) == (200, "application/json")
    found = await answer.json()
    addresses = [value for name, value in found.items() if name.endswith(("_endpoint", "_uri"))]
    assert addresses
    assert all(address.startswith("https://") for address in addresses)


async def test_a_smart_configuration_that_was_never_to_be_had_is_asked_for_again_soon(site: Site) -> None:
    site.authority.away = True
    assert (await site.get(SMART)).status == 503
    site.authority.away = False
    site.now.at += 6
    assert (await site.get(SMART)).status == 200


async def test_the_authorization_servers_document_is_passed_on_as_it_is(site: Site) -> None:
    async with auth_server() as server:
        authority = HttpAuthority(server.http.session, str(server.http.make_url("/")))
        discovery = Discovery(authority.smart_configuration, site.gateway.settings, now=site.now)
        async with server.http.get("/.well-known/smart-configuration") as answer:
            assert msgspec.json.decode(await discovery.smart_configuration()) == await answer.json()


def test_routes_with_names_of_their_own_come_before_those_that_take_any() -> None:
    paths = [route.path for route in FHIR_ROUTES]
    taking_any = [at for at, path in enumerate(paths) if path.startswith("/fhir/{type}")]
    assert taking_any == list(range(len(paths) - len(taking_any), len(paths)))
