"""Every operation of the authorization server against whoever must not pass: generated from its routes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice_auth.handlers.routing import Proof, Route
from sluice_auth.openapi import ROUTES
from support.auth_server import AuthServer, auth_server, body_of

HERE = Path(__file__).parent
PUBLIC = {
    "/oauth/revoked",
    "/oauth/jwks",
    "/oauth/openapi.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/smart-configuration",
}
# By the operation's name, the test that holds what a client or person is told and may do to their own.
HELD = {
    "register": "test_auth_registration.py::test_sign_up_can_ask_for_an_initial_access_token",
    "token": "test_auth_codes.py::test_a_code_is_worth_nothing_to_another_client",
    "revoke": "test_auth_revocation.py::test_only_its_own_client_revokes_a_token",
    "introspect": "test_auth_revocation.py::"
    "test_introspection_tells_a_client_of_its_own_tokens_and_an_operator_of_all",
    "authorize": "test_auth_authorize.py::test_a_consent_is_for_one_user_one_client_and_one_resource",
    "sign_in": "test_auth_pages.py::test_a_forged_form_neither_signs_in_nor_consents_nor_withdraws",
    "sign_out": "test_auth_pages.py::test_a_session_ends_by_signing_out_and_by_time",
    "consent": "test_auth_pages.py::test_what_was_shown_is_what_is_consented_to",
    "consents": "test_auth_pages.py::test_a_session_ends_by_signing_out_and_by_time",
    "withdraw": "test_auth_pages.py::test_nobody_withdraws_for_another_user",
}


def of(proof: Proof) -> list[Route]:
    return [route for route in ROUTES if route.proof is proof]


def name(route: Route) -> str:
    return route.name


def test_only_what_is_meant_to_be_public_is_public() -> None:
    assert {route.path for route in of(Proof.NONE)} == PUBLIC


def test_every_route_is_held_against_whoever_may_not_see() -> None:
    generated = {route.name for route in of(Proof.NONE) + of(Proof.REGISTRATION)}
    assert {route.name for route in ROUTES} - generated == HELD.keys()
    for place in HELD.values():
        file, _, test = place.partition("::")
        assert f"def {test}(" in (HERE / file).read_text(encoding="utf-8"), place


async def _others(server: AuthServer, client: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Give headers of whoever does not manage a client."""
    other = await server.sign_up()
    held = {
        "another's registration token": other["registration_access_token"],
        "its own secret": client["client_secret"],
        "its own access token": (await server.token(client))["access_token"],
        "garbage": "garbage",
    }
    return {"nobody": {}, **{who: {"Authorization": f"Bearer {token}"} for who, token in held.items()}}


@pytest.mark.parametrize("route", of(Proof.REGISTRATION), ids=name)
async def test_whoever_does_not_manage_a_client_is_told_the_same_as_of_none(route: Route) -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        for who, headers in (await _others(server, client)).items():
            told = []
            for client_id in (client["client_id"], "unknown"):
                path = route.path.format(client_id=client_id)
                body = {"client_id": client_id, "client_name": "taken over"}
                async with server.http.request(route.method, path, headers=headers, json=body) as answer:
                    told.append((await body_of(answer, 401), sorted(answer.headers)))
            assert told[0] == told[1], who
        assert await server.token(client), "it is as it was"


@pytest.mark.parametrize("route", of(Proof.CLIENT), ids=name)
async def test_who_does_not_prove_which_client_it_is_learns_and_does_nothing(route: Route) -> None:
    async with auth_server() as server:
        client, other = await server.sign_up(), await server.sign_up()
        token = (await server.token(client))["access_token"]
        form = {"grant_type": "client_credentials", "token": token}
        for proof in (
            {},
            {"client_id": client["client_id"], "client_secret": "wrong"},
            {"client_id": client["client_id"], "client_secret": other["client_secret"]},
            {"client_id": "unknown", "client_secret": client["client_secret"]},
        ):
            async with server.http.request(route.method, route.path, data={**form, **proof}) as answer:
                assert (await body_of(answer, 401))["error"] == "invalid_client"
        mine = {"token": token, **{each: client[each] for each in ("client_id", "client_secret")}}
        assert (await server.ask(mine, path="/oauth/introspect"))["active"], "it is as it was"
