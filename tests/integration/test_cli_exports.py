"""`sluice export` and what goes with it, in processes of their own against a service on loopback."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluice_auth.assertion import claimed
from support.cli import Cli
from support.fake_exports import ndjson
from support.fake_sluice import FakeSluice, json_answer


@pytest.fixture
async def service() -> AsyncIterator[FakeSluice]:
    async with FakeSluice() as service:
        yield service


@pytest.fixture
async def cli(tmp_path: Path, service: FakeSluice) -> Cli:
    cli = Cli(tmp_path)
    done = await cli("login", service.url)
    assert done.code == 0, done.err
    return cli


async def test_signing_up_asks_for_importing_and_exporting(cli: Cli, service: FakeSluice) -> None:
    (wish,) = service.registrations.values()
    assert wish["scope"] == "bulk/import files/read files/write system/*.rs"


async def test_an_export_says_how_it_goes_and_what_it_came_to(cli: Cli, service: FakeSluice) -> None:
    service.exports.files["Condition"] = ndjson("Condition", 20)
    done = await cli("export", "--group", "ward", "--type", "Patient,Condition", "--to", "out")
    assert done.code == 0, done.err
    assert "exporting: started 40%" in done.err
    assert "Condition: 1 of 1 file" in done.err
    assert "23 resources" in done.out
    assert (cli.folder / "out" / "Condition.0001.ndjson").read_bytes() == ndjson("Condition", 20)
    (export,) = service.exports.exports
    assert export.url == "/fhir/Group/ward/$export"
    assert export.query == [("_type", "Condition,Patient")]
    assert export.deleted


async def test_every_option_is_asked_for(cli: Cli, service: FakeSluice) -> None:
    done = await cli(
        *("export", "--patients", "--to", "out", "--type", "Patient", "--since", "2026-01-31"),
        *("--until", "2026-02-01T12:00:00+01:00", "--type-filter", "Patient?active=true", "--early"),
        *(
            "--elements",
            "id,name",
            "--patient",
            "1",
            "--patient",
            "2",
            "--include",
            "LatestProvenanceResources",
        ),
        *("--by-patient", "--lenient", "--keep", "--json", "--no-gzip", "--at-once", "1"),
    )
    assert done.code == 0, done.err
    assert (done.json["complete"], done.json["location"]) == (True, f"{service.url}/fhir/exports/0")
    (export,) = service.exports.exports
    assert (export.method, export.prefer, export.deleted) == (
        "POST",
        "respond-async, handling=lenient",
        False,
    )
    assert export.body is not None
    assert [next(iter(it.values())) for it in export.body["parameter"]] == [
        *("_since", "_until", "organizeOutputBy", "allowPartialManifests", "includeAssociatedData"),
        *("_type", "_elements", "_elements", "_typeFilter", "patient", "patient"),
    ]
    given = {it["name"]: it for it in export.body["parameter"]}
    assert given["_since"]["valueInstant"] == "2026-01-31T00:00:00Z"


async def test_an_export_is_started_listed_and_taken_up_by_its_folder(cli: Cli, service: FakeSluice) -> None:
    started = await cli("export", "--system", "--to", "exports/night", "--no-wait")
    assert (started.code, started.out) == (0, "started; to go on: sluice export --to exports/night\n")
    (listed,) = (await cli("exports", "list", "--json")).json
    assert (listed["folder"], listed["state"], listed["level"]) == ("exports/night", "running", "system")
    done = await cli("export", "--to", "exports/night")
    assert done.code == 0, done.err
    assert "complete" in (await cli("exports", "list")).out
    assert len(service.exports.exports) == 1


async def test_after_ctrl_c_it_goes_on_and_nothing_is_started_twice(cli: Cli, service: FakeSluice) -> None:
    service.exports.hold_files = asyncio.Event()
    process = await cli.start("export", "--system", "--to", "out")
    await service.exports.downloading.wait()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode().endswith("sluice: interrupted; to go on: sluice export --to out\n")
    service.exports.hold_files.set()
    done = await cli("export", "--system", "--to", "out")
    assert done.code == 0, done.err
    assert len(service.exports.exports) == 1


async def test_an_export_is_deleted_here_and_at_the_service(cli: Cli, service: FakeSluice) -> None:
    await cli("export", "--system", "--to", "out", "--keep")
    assert (await cli("exports", "delete", "out")).code == 0
    assert service.exports.exports[0].deleted
    assert not list((cli.folder / "out").glob("*.ndjson"))
    assert (await cli("exports", "delete", "out")).code == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("export", "--to", "empty"), 2),
        (("export", "--system"), 2),
        (("export", "--system", "--patients", "--to", "x"), 2),
        (("export", "--type", "Patient", "--to", "x"), 2),
        (("export", "--system", "--patient", "1", "--to", "x"), 1),
        (("export", "--system", "--since", "yesterday", "--to", "x"), 2),
        (("export", "--system", "--to", "file/x"), 2),
        (("keys", "new", "--to", "file"), 2),
        (("keys", "new", "--alg", "HS256"), 2),
        (("register", "http://127.0.0.1:9"), 2),
        (("register", "http://127.0.0.1:9", "--jwks", "file"), 2),
    ],
)
async def test_wrong_usage_is_told_clearly_and_starts_nothing(
    cli: Cli, service: FakeSluice, arguments: tuple[str, ...], code: int
) -> None:
    (cli.folder / "file").write_text("here already")
    done = await cli(*arguments)
    assert done.code == code, done.err
    assert done.err
    assert "Traceback" not in done.err
    assert service.exports.exports == []


async def test_another_request_in_the_same_folder_is_one_clear_line(cli: Cli, service: FakeSluice) -> None:
    await cli("export", "--system", "--to", "out", "--no-wait")
    done = await cli("export", "--group", "g", "--to", "out")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "another request" in done.err


async def test_a_refusal_is_the_services_words_on_one_line(cli: Cli, service: FakeSluice) -> None:
    issue = {"severity": "error", "code": "not-found", "details": {"text": "There is no such group."}}
    body = {"resourceType": "OperationOutcome", "issue": [issue]}
    service.faults.append(("GET", "/fhir/Group", json_answer(404, body)))
    done = await cli("export", "--group", "none", "--to", "out")
    assert (done.code, done.err.count("\n")) == (4, 1)
    assert "There is no such group." in done.err


@pytest.mark.parametrize(("severity", "code"), [("error", 1), ("information", 0)])
async def test_errors_that_the_service_reports_with_an_export_show_in_the_exit_code(
    cli: Cli, service: FakeSluice, severity: str, code: int
) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": "processing"}]}
    service.exports.reported = json.dumps(outcome).encode() + b"\n"
    done = await cli("export", "--system", "--to", "out")
    assert done.code == code
    assert ("reports 1 error:" in done.err) is (code == 1)
    assert (cli.folder / "out" / "errors" / "OperationOutcome.0001.ndjson").exists()


async def test_a_made_key_is_registered_logged_in_with_and_readable_to_its_owner_alone(
    cli: Cli, service: FakeSluice
) -> None:
    made = await cli("keys", "new", "--alg", "rs384", "--to", "key.json")
    assert (made.code, made.json["keys"][0]["alg"]) == (0, "RS384")
    key = cli.folder / "key.json"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert json.loads(key.read_text())["keys"][0]["d"] not in made.out + made.err
    night = ("--profile", "night")
    registered = await cli(*night, "register", service.url, "--key", "key.json")
    assert registered.code == 0, registered.err
    wish = service.registrations[registered.out.strip()]
    assert (wish["jwks"], wish["scope"]) == (made.json, "system/*.rs")
    assert (await cli(*night, "export", "--system", "--to", "out")).code == 0
    assert claimed(service.assertions[0]) == (registered.out.strip(), made.json["keys"][0]["kid"])
    again = await cli(
        *night, "login", service.url, "--client-id", registered.out.strip(), "--key", "key.json"
    )
    assert again.code == 0, again.err


async def test_a_key_set_is_registered_by_file_or_address_without_its_private_half(
    cli: Cli, service: FakeSluice
) -> None:
    made = await cli("keys", "new", "--to", "key.json")
    (cli.folder / "jwks.json").write_text(made.out)
    by_file = await cli("register", service.url, "--jwks", "jwks.json", "--name", "night", "--json")
    assert by_file.code == 0, by_file.err
    assert service.registrations[by_file.json["client_id"]]["jwks"] == made.json
    by_url = await cli(
        "register", service.url, "--jwks-url", "https://me.example/jwks", "--scope", "system/*.r"
    )
    assert service.registrations[by_url.out.strip()]["jwks_uri"] == "https://me.example/jwks"
    private = await cli("register", service.url, "--jwks", "key.json")
    assert private.code == 2
    assert "private key" in private.err
    assert len(service.registrations) == 3
