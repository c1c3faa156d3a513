"""What kick-offs look like, what manifests are read as, and keys that prove who a client is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc import jws

from sluice_auth.assertion import verify
from sluice_client import (
    ClientKey,
    ExportLevel,
    ExportRequest,
    KeyCredentials,
    KeyFileError,
    Patience,
    SluiceClient,
    SluiceError,
)
from sluice_client.export_requests import kick_off
from sluice_client.manifests import ExportFileKind, read_manifest
from sluice_security.keys import make_key_pair
from support.fake_sluice import FakeSluice, hang_up

WHEN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_get_says_every_parameter() -> None:
    asked = kick_off(
        ExportRequest(
            level=ExportLevel.GROUP,
            group="a b/c",
            types=("Patient", "Condition"),
            since=WHEN,
            until=WHEN,
            type_filters=("Condition?code=1&x=2", "Patient?active=true"),
            elements=("id", "Patient.name"),
            include_associated_data=("LatestProvenanceResources",),
            organize_output_by="Patient",
            allow_partial_manifests=True,
            output_format="ndjson",
            lenient=True,
        )
    )
    parts = urlsplit(asked.path)
    assert (asked.method, parts.path, asked.body) == ("GET", "/Group/a%20b%2Fc/$export", None)
    assert asked.headers["Prefer"] == "respond-async, handling=lenient"
    assert sorted(parse_qsl(parts.query)) == [
        ("_elements", "id,Patient.name"),
        ("_outputFormat", "ndjson"),
        ("_since", "2026-01-31T12:00:00Z"),
        ("_type", "Patient,Condition"),
        ("_typeFilter", "Condition?code=1&x=2"),
        ("_typeFilter", "Patient?active=true"),
        ("_until", "2026-01-31T12:00:00Z"),
        ("allowPartialManifests", "true"),
        ("includeAssociatedData", "LatestProvenanceResources"),
        ("organizeOutputBy", "Patient"),
    ]


@pytest.mark.parametrize(
    ("level", "path"), [(ExportLevel.SYSTEM, "/$export"), (ExportLevel.PATIENT, "/Patient/$export")]
)
def test_without_parameters_the_path_is_all(level: ExportLevel, path: str) -> None:
    assert kick_off(ExportRequest(level=level)).path == path


@pytest.mark.parametrize(
    "request_",
    [
        ExportRequest(level=ExportLevel.PATIENT, patients=("1", "Patient/2")),
        ExportRequest(type_filters=("Observation?code=a,b",)),
        ExportRequest(types=tuple(f"T{n:050d}" for n in range(50))),
    ],
    ids=["patients", "commas", "length"],
)
def test_what_an_address_cannot_say_is_posted(request_: ExportRequest) -> None:
    asked = kick_off(request_)
    assert (asked.method, "?" in asked.path) == ("POST", False)
    assert asked.body is not None
    given = asked.body["parameter"]
    assert [it["valueString"] for it in given if it["name"] == "_type"] == list(request_.types)
    assert [it["valueString"] for it in given if it["name"] == "_typeFilter"] == list(request_.type_filters)
    patients = [it["valueReference"]["reference"] for it in given if it["name"] == "patient"]
    assert patients == ["Patient/1", "Patient/2"][: len(request_.patients)]


@pytest.mark.parametrize(
    "request_",
    [
        ExportRequest(level=ExportLevel.GROUP),
        ExportRequest(group="g"),
        ExportRequest(patients=("1",)),
        ExportRequest(since=datetime(2026, 1, 1)),  # noqa: DTZ001 - that it has no zone is the point
    ],
)
def test_a_request_that_contradicts_itself_is_refused_before_it_is_sent(request_: ExportRequest) -> None:
    with pytest.raises(SluiceError):
        kick_off(request_)


def _manifest(**more: Any) -> bytes:
    return json.dumps(
        {"transactionTime": "2026-01-31T12:00:00Z", "requiresAccessToken": True, **more}
    ).encode()


@pytest.mark.parametrize(
    "extension",
    [
        {"size": 7, "sha256": "A" * 64},
        {"https://sluice.example/file": {"size": 7, "sha256": "a" * 64}},
        {"https://sluice.example/file-size": 7, "https://sluice.example/file-sha256": "a" * 64},
        [
            {"url": "https://sluice.example/file-size", "valueInteger64": 7},
            {"url": "https://sluice.example/file-sha256", "valueString": "a" * 64},
        ],
        [
            {
                "url": "x",
                "extension": [{"url": "size", "valueDecimal": 7}, {"url": "sha256", "valueCode": "a" * 64}],
            }
        ],
    ],
)
def test_size_and_digest_are_found_in_an_extension_of_any_version(extension: Any) -> None:
    output = [{"type": "Patient", "url": "https://f/1", "count": 3, "extension": extension}]
    (file,) = read_manifest(_manifest(output=output)).files
    assert (file.type, file.count, file.size, file.sha256) == ("Patient", 3, 7, "a" * 64)


@pytest.mark.parametrize("extension", [None, 5, "x", [], [5], {"size": -1, "sha256": "short"}, [{"url": 5}]])
def test_an_extension_that_says_nothing_is_no_error(extension: Any) -> None:
    (file,) = read_manifest(_manifest(output=[{"url": "https://f/1", "extension": extension}])).files
    assert (file.size, file.sha256, file.type) == (None, None, None)


def test_every_list_of_a_manifest_is_read_by_both_names_of_errors() -> None:
    entry = [{"type": "OperationOutcome", "url": "u"}]
    link = [{"relation": "self", "url": "x"}, {"relation": "next", "url": "n"}]
    read = read_manifest(_manifest(output=entry, deleted=entry, error=entry, outcome=entry, link=link))
    kinds = [file.kind for file in read.files]
    assert kinds == [ExportFileKind.OUTPUT, ExportFileKind.DELETED, *[ExportFileKind.ERROR] * 2]
    assert read.next == "n"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"transactionTime": "yesterday"}'])
def test_what_is_no_manifest_is_one_clear_error(body: bytes) -> None:
    with pytest.raises(SluiceError, match="manifest is none"):
        read_manifest(body)


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_an_assertion_passes_every_check_of_the_server(algorithm: str, tmp_path: Path) -> None:
    pair = make_key_pair(algorithm)
    path = tmp_path / "key.json"
    private = {name: value for name, value in pair.private.items() if name != "use"}
    path.write_text(json.dumps({"keys": [{**private, "key_ops": ["sign"]}]}))
    key = ClientKey.read(path)
    assert key.public() == pair.public
    url = "https://auth.example/oauth/token"
    made = [ClientKey(private, clock=lambda: 1_000.0).assertion("me", url) for _ in range(2)]
    proofs = [verify(each, key.public()["keys"], client="me", token_url=url, now=1_000.0) for each in made]
    assert proofs[0].jti != proofs[1].jti
    assert jws.extract_compact(made[0].encode()).headers()["typ"] == "JWT"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"keys": []}',
        '{"kty": "oct", "k": "c2VjcmV0", "kid": "1", "d": ""}',
        '{"kty": "EC", "crv": "P-384", "kid": "1", "d": "AA", "x": "AA", "y": "AA"}',
        json.dumps(make_key_pair().public),
    ],
)
def test_a_file_without_a_usable_private_key_is_one_clear_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    with pytest.raises(KeyFileError):
        ClientKey.read(path)
    with pytest.raises(KeyFileError, match="cannot be read"):
        ClientKey.read(tmp_path / "none")


def test_a_key_is_never_shown() -> None:
    pair = make_key_pair()
    credentials = KeyCredentials("me", ClientKey(pair.private))
    assert pair.private["d"] not in repr(credentials)


async def test_each_attempt_for_a_token_has_an_assertion_of_its_own() -> None:
    pair = make_key_pair()
    async with FakeSluice() as service:
        async with SluiceClient(service.url) as client:
            made = await client.register_key("night", jwks=pair.public)
        wish = service.registrations[made.client_id]
        assert (wish["token_endpoint_auth_method"], wish["jwks"]) == ("private_key_jwt", pair.public)
        service.faults.append(("POST", "/oauth/token", hang_up))
        credentials = KeyCredentials(made.client_id, ClientKey(pair.private))
        quick = Patience(attempts=3, first=0.001)
        async with SluiceClient(service.url, credentials=credentials, patience=quick) as client:
            assert await client.token() in service.tokens
        sent = [body for _, body in service.sent("POST", "/oauth/token")]
        assert len(sent) == len(set(sent)) == 2
