"""`sluice pull` and `sluice submit-data`, in processes of their own against a service on loopback."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.cli import Cli
from support.fake_pulls import outcome
from support.fake_sluice import FakeSluice, json_answer

URL = "https://fhir.example/r4/$export"
REPORT = '{"resourceType": "MeasureReport", "type": "data-collection"}'


@pytest.fixture
async def service() -> AsyncIterator[FakeSluice]:
    async with FakeSluice() as service:
        yield service


@pytest.fixture
async def cli(tmp_path: Path, service: FakeSluice) -> Cli:
    service.clients["portal"] = "secret"
    login = {"SLUICE_URL": service.url, "SLUICE_CLIENT_ID": "portal", "SLUICE_CLIENT_SECRET": "secret"}
    cli = Cli(tmp_path, environment=login)
    (tmp_path / "report.json").write_text(REPORT)
    (tmp_path / "data.ndjson").write_text('{"resourceType":"Patient","id":"p"}\n')
    return cli


async def test_an_import_says_how_it_goes_and_what_became_of_each_file(cli: Cli, service: FakeSluice) -> None:
    since = ("--since", "2026-01-31", "--elements", "id,name")
    done = await cli("pull", URL, "--type", "Patient,Condition", "--type", "Goal", *since, "--wait")
    assert done.code == 0, done.err
    assert done.err.splitlines() == [
        "job 0",
        "the source exports",
        "the source exports: 45%",
        "loading: 40%",
        "loading: 100%",
    ]
    assert done.out.splitlines() == [
        "Patient file 1: 3 lines read.",
        "1 file",
        "as of 2026-01-31T11:00:00+00:00, which is --since of the next",
    ]
    (begun,) = service.pulls.pulls
    given = [(each["name"], next(reversed(each.values()))) for each in begun.body["parameter"]]
    assert given == [
        ("exportUrl", URL),
        ("_since", "2026-01-31T00:00:00Z"),
        *(("_type", each) for each in ("Patient", "Condition", "Goal")),
        *(("_elements", each) for each in ("id", "name")),
    ]


async def test_what_could_not_be_loaded_is_listed_counted_and_makes_the_exit_code_1(
    cli: Cli, service: FakeSluice
) -> None:
    service.pulls.errors = [outcome("error", f"line {n}: not sound") for n in range(30)]
    service.pulls.errors += [outcome("warning", "the manifest says 4 lines")]
    done = await cli("pull", URL, "--wait", "--problems", "2")
    assert done.code == 1
    assert done.out.splitlines()[-4:] == [
        "",
        "error: line 0: not sound",
        "error: line 1: not sound",
        "and 29 more: sluice pull --job 0 --problems 31",
    ]
    as_json = await cli("pull", "--job", "0", "--wait", "--json")
    assert (as_json.code, as_json.err) == (1, "")
    assert (as_json.json["errors"], as_json.json["warnings"], len(as_json.json["problems"])) == (30, 1, 20)
    service.pulls.errors = service.pulls.errors[-1:]
    warned = await cli("pull", "--job", "0")
    assert (warned.code, warned.out.splitlines()[-1]) == (0, "warning: the manifest says 4 lines")


async def test_after_ctrl_c_it_goes_on_and_is_followed_by_its_id(cli: Cli, service: FakeSluice) -> None:
    service.pulls.hold_end = asyncio.Event()
    process = await cli.start("pull", URL, "--wait")
    await service.pulls.polled.wait()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    service.pulls.told = ("40%",)
    how = "sluice: interrupted; the import goes on; to follow it: sluice pull --job 0 --wait"
    assert err.decode().splitlines()[-1] == how
    looked = await cli("pull", "--job", "0")
    assert (looked.code, looked.out) == (0, "40%; to follow it: sluice pull --job 0 --wait\n")
    service.pulls.hold_end.set()
    done = await cli("pull", "--job", "0", "--wait")
    assert done.code == 0, done.err
    assert len(service.pulls.pulls) == 1


async def test_ctrl_c_at_the_kick_off_still_says_which_import_it_began(cli: Cli, service: FakeSluice) -> None:
    service.pulls.hold_answer = asyncio.Event()
    process = await cli.start("pull", URL)
    await service.pulls.asked.wait()
    process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.2)
    service.pulls.hold_answer.set()
    _, err = await process.communicate()
    assert (process.returncode, len(service.pulls.pulls)) == (130, 1)
    assert "sluice pull --job 0 --wait" in err.decode()


async def test_without_waiting_it_is_started_and_can_be_cancelled(cli: Cli, service: FakeSluice) -> None:
    started = await cli("pull", URL, "--static", "--key", "night")
    assert (started.code, started.out) == (0, "to follow it: sluice pull --job 0 --wait\n")
    again = await cli("--json", "pull", URL, "--static", "--key", "night")
    assert again.json["job"] == "0"
    assert (await cli("pull", "--job", "0", "--cancel")).out == "cancelled\n"
    gone = await cli("pull", "--job", "0", "--wait")
    assert (gone.code, gone.err.count("\n")) == (4, 1)


@pytest.mark.parametrize(("status", "code"), [(400, 1), (403, 3)])
async def test_a_refusal_is_the_services_words_on_one_line(
    cli: Cli, service: FakeSluice, status: int, code: int
) -> None:
    body = outcome("error", "exportUrl must be on a registered source server.", "not-supported")
    service.faults.append(("POST", "/fhir/", json_answer(status, body)))
    done = await cli("pull", URL, "--wait")
    assert (done.code, done.err.count("\n")) == (code, 1), done.err
    assert "registered source server" in done.err


async def test_data_for_a_measure_are_stored_with_their_report(cli: Cli, service: FakeSluice) -> None:
    done = await cli("submit-data", "m", "data.ndjson", "--report", "report.json")
    assert (done.code, done.out) == (0, "stored 1 MeasureReport, 1 Patient; 2 of them new\n"), done.err
    assert [each["name"] for each in service.pulls.submitted[0]["parameter"]] == ["measureReport", "resource"]


async def test_data_for_a_measure_are_pulled_and_followed_like_any_import(
    cli: Cli, service: FakeSluice
) -> None:
    asked = ("submit-data", "m", "--report", "report.json", "--export-url", URL, "--since", "2026-01-31")
    done = await cli(*asked, "--strict", "--wait")
    assert (done.code, done.out.splitlines()[1]) == (0, "1 file"), done.err
    (begun,) = service.pulls.pulls
    named = [each["name"] for each in begun.body["parameter"]]
    assert named == ["measureReport", "exportUrl", "_strict", "_since"]
    started = await cli(*asked)
    assert (started.code, started.out) == (0, "to follow it: sluice pull --job 1 --wait\n")
