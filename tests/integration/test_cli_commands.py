"""The command `sluice` as people and scripts use it: a process of its own against a service on loopback."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.cli import Cli
from support.fake_sluice import FakeFile, FakeSluice, json_answer

REFERENCE = "https://fhir.example/r4/DocumentReference/"


@pytest.fixture
async def service() -> AsyncIterator[FakeSluice]:
    async with FakeSluice(polls=3) as service:
        yield service


@pytest.fixture
async def cli(tmp_path: Path, service: FakeSluice) -> Cli:
    cli = Cli(tmp_path)
    done = await cli("login", service.url)
    assert done.code == 0, done.err
    return cli


async def test_login_signs_up_and_keeps_credentials_that_only_their_owner_can_read(
    cli: Cli, service: FakeSluice
) -> None:
    assert stat.S_IMODE(cli.config.stat().st_mode) == 0o600
    kept = json.loads(cli.config.read_text())["profiles"]["default"]
    assert kept["client_secret"] == service.clients[kept["client_id"]]


async def test_login_takes_credentials_there_are_and_checks_them(cli: Cli, service: FakeSluice) -> None:
    service.clients["operator"] = "right"
    profile = ("--profile", "operator", "login", service.url, "--client-id", "operator")
    refused = await cli(*profile, "--client-secret", "wrong")
    assert (refused.code, refused.err.count("\n")) == (3, 1)
    assert "operator" not in json.loads(cli.config.read_text())["profiles"]
    assert (await cli(*profile, SLUICE_CLIENT_SECRET="right")).code == 0
    assert json.loads(cli.config.read_text())["profiles"]["operator"]["client_id"] == "operator"


async def test_who_logs_in_again_stays_who_they_are_unless_the_service_has_forgotten_them(
    cli: Cli, service: FakeSluice
) -> None:
    first = json.loads(cli.config.read_text())
    assert (await cli("login", service.url)).code == 0
    assert json.loads(cli.config.read_text()) == first
    service.clients.clear()
    assert (await cli("login", service.url)).code == 0
    assert json.loads(cli.config.read_text())["profiles"]["default"]["client_id"] in service.clients


async def test_who_logs_out_is_forgotten_here_and_asked_first_if_nobody_else_has_the_secret(
    cli: Cli, service: FakeSluice
) -> None:
    await cli("--profile", "other", "login", service.url)
    refused = await cli("logout", stdin=b"n\n")
    assert refused.code == 1
    assert "is kept nowhere else" in refused.err
    assert (await cli("jobs")).code == 0
    done = await cli("logout", "--yes")
    assert (done.code, "Logged out" in done.out) == (0, True)
    assert list(json.loads(cli.config.read_text())["profiles"]) == ["other"]
    assert (await cli("jobs")).code == 3
    again = await cli("logout")
    assert (again.code, again.err) == (3, "sluice: You are not logged in. Run: sluice login URL\n")
    assert len(service.clients) == 2


async def test_logging_out_removes_the_client_at_the_service_only_if_that_is_asked_for(
    cli: Cli, service: FakeSluice
) -> None:
    service.clients["given"] = "s"
    given = ("--profile", "given", "login", service.url, "--client-id", "given", "--client-secret", "s")
    assert (await cli(*given)).code == 0
    assert (await cli("--profile", "given", "logout", "--remove-client", "--yes")).code == 1
    assert "given" in json.loads(cli.config.read_text())["profiles"]
    done = await cli("logout", "--remove-client", "--yes", "--json")
    assert (done.code, done.json["removed"]) == (0, True)
    assert list(service.clients) == ["given"]
    assert list(json.loads(cli.config.read_text())["profiles"]) == ["given"]


def test_ctrl_c_while_the_command_is_loaded_is_no_traceback() -> None:
    code = """
import sys

class Loading:
    def find_spec(self, name, *_):
        if name == "sluice_client.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Loading())
from sluice_client.cli.entry import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


async def test_without_a_login_a_command_says_how_to_log_in(tmp_path: Path) -> None:
    done = await Cli(tmp_path)("jobs")
    assert (done.code, done.out) == (3, "")
    assert done.err == "sluice: You are not logged in. Run: sluice login URL\n"


async def test_the_environment_is_enough_for_scripts(tmp_path: Path, service: FakeSluice) -> None:
    service.clients["script"] = "s"
    done = await Cli(tmp_path)(
        "jobs", "--json", SLUICE_URL=service.url, SLUICE_CLIENT_ID="script", SLUICE_CLIENT_SECRET="s"
    )
    assert (done.code, done.json) == (0, [])


async def test_a_token_that_was_got_elsewhere_is_used_as_it_is(tmp_path: Path, service: FakeSluice) -> None:
    service.tokens.add("from-the-page")
    done = await Cli(tmp_path)("jobs", "--json", SLUICE_URL=service.url, SLUICE_TOKEN="from-the-page")
    assert (done.code, done.json) == (0, [])
    spent = await Cli(tmp_path)("jobs", SLUICE_URL=service.url, SLUICE_TOKEN="spent")
    assert (spent.code, spent.err.count("\n")) == (3, 1)


async def test_an_import_is_followed_to_its_end_also_without_a_terminal(cli: Cli) -> None:
    (cli.folder / "list.txt").write_text("".join(f"{REFERENCE}{n}\n" for n in range(120)))
    done = await cli("import", "list.txt", "--project", "ann/p", "--tag", "t", "--wait")
    assert done.code == 0, done.err
    assert "120 items: 120 attached" in done.out
    assert "importing: 120 of 120" in done.err


async def test_an_import_with_failures_gives_reasons_and_an_exit_code(cli: Cli) -> None:
    lines = [f"{REFERENCE}1", f"{REFERENCE}2", "https://fhir.example/bad/DocumentReference/2"]
    done = await cli("import", "-", "--project", "ann/p", "--wait", stdin="\n".join(lines).encode())
    assert done.code == 1
    assert "3 items: 2 attached, 1 failed" in done.out
    assert "1 x The source has no such one. (document_not_found)" in done.out


async def test_an_import_for_scripts_prints_json_and_nothing_else(cli: Cli) -> None:
    body = {"items": [{"fhir_document_reference": f"{REFERENCE}1", "project": "ann/p"}], "tags": ["a"]}
    (cli.folder / "import.json").write_text(json.dumps(body))
    done = await cli("import", "import.json", "--wait", "--json", "--conflict", "overwrite", "--tag", "b")
    assert (done.code, done.err) == (0, "")
    assert done.json["jobs"][0]["counts"]["attached"] == 1


async def test_options_reach_the_request(cli: Cli, service: FakeSluice) -> None:
    data = f"{REFERENCE}1".encode()
    options = ("--project", "ann/p", "--tag", "a", "--tag", "b", "--conflict", "AUTORENAME", "--key", "k")
    assert (await cli("import", "-", *options, stdin=data)).code == 0
    ((headers, body),) = service.sent("POST", "/v2/bulk/fhir")
    assert headers["Idempotency-Key"] == "k-0"
    assert (body["tags"], body["conflict_resolution"]) == (["a", "b"], "AUTORENAME")


async def test_jobs_are_listed_shown_followed_and_cancelled(cli: Cli) -> None:
    started = await cli("import", "-", "--project", "ann/p", "--json", stdin=f"{REFERENCE}1".encode())
    job = started.json["jobs"][0]["id"]
    assert job in (await cli("jobs")).out
    assert "completed: 1 item: 1 attached" in (await cli("job", job, "--watch")).out
    other = (await cli("import", "-", "--project", "ann/p", "--json", stdin=f"{REFERENCE}2".encode())).json
    cancelled = await cli("job", other["jobs"][0]["id"], "--cancel", "--json")
    assert cancelled.json["job"]["outcome"] == "cancelled"


async def test_a_jobs_failed_items_are_listed(cli: Cli) -> None:
    lines = f"{REFERENCE}1\nhttps://fhir.example/bad/DocumentReference/2"
    started = await cli("import", "-", "--project", "ann/p", "--json", stdin=lines.encode())
    job = started.json["jobs"][0]["id"]
    done = await cli("job", job, "--failed")
    assert "document_not_found" in done.out
    assert "bad/DocumentReference/2" in done.out
    assert f"{REFERENCE}1" not in done.out
    again = await cli("job", job, "--rerun", "--watch", "--json")
    assert again.json["job"]["id"] != job
    assert again.json["job"]["counts"]["items"] == 1


async def test_what_the_source_did_not_have_is_told_of_a_jobs_items(cli: Cli) -> None:
    lines = f"{REFERENCE}1\nhttps://fhir.example/sparse/DocumentReference/2"
    started = await cli("import", "-", "--project", "ann/p", "--json", stdin=lines.encode())
    job = started.json["jobs"][0]["id"]
    shown = (await cli("job", job, "--watch")).out
    assert "1 without metadata that the source did not have, 1 with further contents, not imported" in shown
    listed = (await cli("job", job, "--items")).out
    assert "no visit_date at the source; 2 further contents not imported" in listed
    items = (await cli("job", job, "--items", "--json")).json["items"]
    assert [(each.get("warnings"), each.get("other_contents")) for each in items] == [
        (None, None),
        (["visit_date"], 2),
    ]
    assert (await cli("job", job, "--items", "--failed")).code == 2


async def test_jobs_of_every_kind_are_chosen_followed_by_their_events_and_cancelled(
    cli: Cli, service: FakeSluice
) -> None:
    service.every_job.other("pull", "bulk-import", service.url)
    service.every_job.other("export", "bulk-export", service.url)
    error = {"status": 502, "code": "source_error", "message": "The source answered badly."}
    service.every_job.items = [{"item": 2, "state": "FAILED", "error": error}]
    chosen = await cli(
        "jobs", "--kind", "bulk-import", "--state", "running", "--since", "2026-01-31", "--json"
    )
    assert [each["id"] for each in chosen.json] == ["pull"]
    asked = service.every_job.asked[-1]
    assert (asked["state"], asked["since"]) == ("RUNNING", "2026-01-31T00:00:00+00:00")

    assert "1 of 3 files ended 1 loaded" in (await cli("job", "pull")).out
    failed = await cli("job", "pull", "--failed")
    assert "The source answered badly." in failed.out
    service.every_job.events = [("FileLoaded", {}), ("JobFinished", {})]
    service.every_job.break_events = 1
    followed = await cli("job", "pull", "--watch")
    assert "completed: 3 files: 3 loaded" in followed.out
    # What broke off went on behind the last event that came.
    assert service.every_job.resumed == ["", "0-0"]
    late = await cli("job", "pull", "--cancel")
    assert (late.code, "has finished already" in late.err) == (1, True)

    assert (await cli("job", "export", "--delete")).code == 1
    assert (await cli("job", "export", "--cancel")).out == "cancelled\n"
    assert (await cli("job", "pull", "--delete")).out == "deleted\n"
    assert service.every_job.others == {}
    assert (await cli("job", "export", "--cancel", "--rerun")).code == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("job", "none"), 4),
        (("files",), 2),
        (("files", "--project", "a/b", "--metadata", "no-sign"), 2),
        (("import", "missing.txt", "--project", "a/b"), 2),
        (("import", "-"), 2),
        (("download", "what"), 1),
        (("nonsense",), 2),
    ],
)
async def test_each_kind_of_error_has_its_exit_code_and_no_traceback(
    cli: Cli, arguments: tuple[str, ...], code: int
) -> None:
    done = await cli(*arguments)
    assert done.code == code
    assert done.err
    assert "Traceback" not in done.err


async def test_a_service_that_is_away_is_one_clear_line(cli: Cli) -> None:
    done = await cli("jobs", SLUICE_URL="http://127.0.0.1:9", SLUICE_AUTH_URL="http://127.0.0.1:9")
    assert done.code == 5
    assert "cannot be reached" in done.err
    assert "Traceback" not in done.err


async def test_an_answer_that_is_not_the_services_is_one_clear_line(cli: Cli, service: FakeSluice) -> None:
    service.faults.append(("GET", "/v2/jobs", json_answer(200, {"items": "<html>"})))
    done = await cli("jobs")
    assert (done.code, done.err.count("\n")) == (1, 1)


async def test_many_problems_are_told_as_one_short_line(cli: Cli, service: FakeSluice) -> None:
    problems = "; ".join(f"items[{n}].project: does not exist" for n in range(100))
    body = {"status": 404, "code": "not_found", "message": problems, "more_info": "Check the id."}
    service.faults.append(("POST", "/v2/bulk/fhir", json_answer(404, body)))
    done = await cli("import", "-", "--project", "ann/p", stdin=f"{REFERENCE}1".encode())
    assert done.code == 4
    assert done.err.count("\n") == 1
    assert done.err.endswith("items[2].project: does not exist; and 97 more. Check the id.\n")


async def test_projects_and_sources_are_made_and_listed(cli: Cli) -> None:
    assert (await cli("projects", "create", "Heart Study")).out == "ann/heart-study\n"
    assert "Heart Study" in (await cli("projects", "list")).out
    (cli.folder / "auth.json").write_text('{"auth": {"type": "bearer", "token": "t"}}')
    made = await cli(
        "sources", "add", "Ward", "https://fhir.example/r4", "--rate", "5", "--settings", "auth.json"
    )
    source = made.out.strip()
    (listed,) = (await cli("sources", "list", "--json")).json
    assert (listed["id"], listed["max_requests_per_second"], listed["auth"]["type"]) == (source, 5, "bearer")
    assert "bearer" in (await cli("sources", "list")).out
    health = (await cli("sources", "health", source)).out
    assert "held" in health
    assert "4.5 (registered: 32)" in health
    assert "left alone until 2026-01-02 03:05:06 UTC" in health
    assert (await cli("sources", "health", source, "--json")).json["recent"][0]["refused"] == 2
    changed = await cli("sources", "change", source, "--rate", "2.5", "--disable", "--json")
    assert (changed.json["max_requests_per_second"], changed.json["enabled"]) == (2.5, False)
    assert changed.json["name"] == "Ward"
    assert (await cli("sources", "change", source)).code == 2
    assert (await cli("sources", "remove", source)).code == 0
    assert (await cli("sources", "list")).out == "No sources yet.\n"


async def test_files_are_listed_shown_and_downloaded_with_their_folders(
    cli: Cli, service: FakeSluice
) -> None:
    folder, inner, outer = "f" * 24, "1" * 24, "2" * 24
    service.files[folder] = FakeFile(folder, "deep", "ann/p", type="folder")
    service.files[inner] = FakeFile(inner, "a.txt", "ann/p", b"inner", parent=folder)
    service.files[outer] = FakeFile(outer, "b.txt", "ann/p", b"outer", metadata={"study": "S1"})
    listed = await cli("files", "--project", "ann/p")
    assert "deep/" in listed.out
    assert "b.txt" in listed.out
    assert "metadata.study" in (await cli("files", outer)).out
    done = await cli("download", "ann/p", "--to", "here", "--json")
    assert {Path(it["path"]).name for it in done.json} == {"a.txt", "b.txt"}
    assert (cli.folder / "here" / "deep" / "a.txt").read_bytes() == b"inner"
    assert (await cli("download", outer)).code == 0
    assert (cli.folder / "b.txt").read_bytes() == b"outer"


async def test_what_a_server_names_does_not_steer_the_terminal(cli: Cli, service: FakeSluice) -> None:
    service.files["1" * 24] = FakeFile("1" * 24, "[red]x\x1b[2J\u202e", "ann/p")
    done = await cli("files", "--project", "ann/p")
    assert "[red]x" in done.out
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out


async def test_a_file_named_to_lead_elsewhere_is_refused(cli: Cli, service: FakeSluice) -> None:
    service.files["1" * 24] = FakeFile("1" * 24, "../outside", "ann/p", b"x")
    done = await cli("download", "1" * 24, "--to", "here")
    assert done.code == 1
    assert not (cli.folder / "outside").exists()
