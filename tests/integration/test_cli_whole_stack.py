"""The command `sluice` against the whole stack: import, load, grant, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sluice_stack.cli_profiles import Profiles
from sluice_stack.layout import HTTP_SERVICES
from sluice_stack.source.server import SAMPLE
from sluice_stack.stack import Stack
from support.cli import Cli
from support.stack_export import load_sample


@pytest.fixture
def cli(stack: Stack, tmp_path: Path) -> Cli:
    """Give the command line with the operator's login, and none other."""
    profiles = Profiles(stack.layout.home, stack.addresses)
    config = tmp_path / "config.json"
    config.write_bytes(profiles.path.read_bytes())
    return Cli(tmp_path, config)


async def done(cli: Cli, *arguments: str) -> str:
    finished = await cli(*arguments)
    assert finished.code == 0, finished.err
    return finished.out


async def test_documents_are_imported_listed_and_downloaded(stack: Stack, cli: Cli) -> None:
    source = f"{stack.addresses.source}/r4/fhir"
    known = json.loads(await done(cli, "--profile", "operator", "sources", "list", "--json"))
    if source not in {each["base_url"] for each in known}:
        await done(cli, "--profile", "operator", "sources", "add", "R4", source)
    await done(cli, "login", stack.addresses.gateway, "--auth-url", stack.addresses.auth)
    project = (await done(cli, "projects", "create", "By command")).strip()
    references = "".join(f"{source}/DocumentReference/bench-{n:06d}\n" for n in range(901, 1021))
    (cli.folder / "list.txt").write_text(f"{references}{source}/DocumentReference/none-such\n")
    finished = await cli("import", "list.txt", "--project", project, "--wait", "--json")
    assert finished.code == 1, finished.err
    counts = [job["counts"] for job in finished.json["jobs"]]
    assert sum(each["attached"] for each in counts) == 120
    assert [each["error"]["code"] for each in finished.json["failed"]] == ["document_not_found"]
    files = json.loads(await done(cli, "files", "--project", project, "--json"))
    assert len(files) == 120
    await done(cli, "download", files[0]["id"], "--to", "here")
    assert (cli.folder / "here" / files[0]["name"]).stat().st_size == files[0]["size"]


async def test_what_an_import_would_do_is_told_and_its_files_are_edited(stack: Stack, cli: Cli) -> None:
    source = f"{stack.addresses.source}/r4/fhir"
    known = json.loads(await done(cli, "--profile", "operator", "sources", "list", "--json"))
    if source not in {each["base_url"] for each in known}:
        await done(cli, "--profile", "operator", "sources", "add", "R4", source)
        known = json.loads(await done(cli, "--profile", "operator", "sources", "list", "--json"))
    (registered,) = (each["id"] for each in known if each["base_url"] == source)
    assert source in await done(cli, "--profile", "operator", "sources", "show", registered)
    await done(cli, "login", stack.addresses.gateway, "--auth-url", stack.addresses.auth)
    project = (await done(cli, "projects", "create", "Edited by command")).strip()
    document = f"{source}/DocumentReference/bench-000077"
    tried = json.loads(await done(cli, "schemas", "try", document, "--json"))
    assert tried["metadata"]["document_id"] == "bench-000077"
    assert f"{tried['schema']} " in await done(cli, "schemas", "list")

    item = {"fhir_document_reference": document, "project": project, "name": "a.txt"}
    (cli.folder / "one.json").write_text(json.dumps({"items": [item]}))
    forecast = await done(cli, "import", "one.json", "--dry-run", "--json")
    assert [(each["outcome"], each["name"]) for each in json.loads(forecast)] == [("created", "a.txt")]
    await done(cli, "import", "one.json", "--wait")
    assert "skipped" in await done(cli, "import", "one.json", "--dry-run")

    (file,) = json.loads(await done(cli, "files", "--project", project, "--json"))
    folder = (await done(cli, "mkdir", "reports", "--project", project)).strip()
    await done(cli, "edit", file["id"], "--tag", "x", "--metadata", "study=7", "--metadata", "document_id=")
    await done(cli, "move", file["id"], "--to", folder, "--name", "b.txt")
    (moved,) = json.loads(await done(cli, "files", "--parent", folder, "--json"))
    assert (moved["name"], moved["tags"], moved["metadata"]["study"]) == ("b.txt", ["x"], "7")
    assert moved["metadata"].get("document_id") is None
    assert (await cli("remove", folder)).code != 0
    await done(cli, "remove", folder, "--recursive")
    assert json.loads(await done(cli, "files", "--project", project, "--json")) == []

    await done(cli, "projects", "share", project, "bob", "--write", "--admin")
    assert "write, admin" in await done(cli, "projects", "members", project)
    await done(cli, "projects", "unshare", project, "bob")
    members = json.loads(await done(cli, "projects", "members", project, "--json"))
    me = json.loads(await done(cli, "whoami", "--json"))
    assert [each["username"] for each in members] == [me["username"]] == [project.partition("/")[0]]


async def test_a_project_is_changed_and_deleted_only_when_that_is_confirmed(stack: Stack, cli: Cli) -> None:
    await done(cli, "login", stack.addresses.gateway, "--auth-url", stack.addresses.auth)
    project = (await done(cli, "projects", "create", "By mistake", "--tag", "old")).strip()
    await done(cli, "mkdir", "reports", "--project", project)
    await done(cli, "projects", "change", project, "--description", "to be deleted", "--tag", "")
    shown = json.loads(await done(cli, "projects", "show", project, "--json"))
    assert (shown["name"], shown["description"], shown["tags"]) == ("By mistake", "to be deleted", [])
    refused = await cli("projects", "delete", project, stdin=b"n\n")
    assert refused.code == 1
    assert project in await done(cli, "projects", "list")
    await done(cli, "projects", "delete", project, "--yes")
    gone = await cli("projects", "show", project)
    assert (gone.code, gone.err.count("\n")) == (4, 1)


async def test_what_is_loaded_is_exported_by_who_was_granted_it(stack: Stack, cli: Cli) -> None:
    login = (stack.addresses.gateway, "--auth-url", stack.addresses.auth)
    await done(cli, "load", str(SAMPLE), "--home", str(stack.layout.home.folder))
    dsn = stack.dsn("sluice_loader")
    again = json.loads(await done(cli, "load", str(SAMPLE), "--json", "--postgres", dsn))
    assert all(each["outcome"]["read"] == each["outcome"]["unchanged"] for each in again)
    sample = await load_sample(stack)

    await done(cli, "keys", "new", "--to", "key.json")
    client = (await done(cli, "register", *login, "--key", "key.json")).strip()
    refused = await cli("export", "--system", "--to", "none")
    assert (refused.code, refused.err.count("\n")) == (3, 1)
    await done(cli, "--profile", "operator", "grants", "add", "--client", client, "--all-patients")

    finished = json.loads(await done(cli, "export", "--system", "--to", "all", "--json"))
    assert (finished["complete"], finished["deleted"]) == (True, True)
    for type_, count in sample.counts.items():
        exported = (cli.folder / "all" / f"{type_}.0001.ndjson").read_bytes()
        assert exported.count(b"\n") == count, type_

    chosen = ("--patients", "--type", "Patient", "--patient", ",".join(sample.patients[:2]))
    await done(cli, "export", *chosen, "--elements", "gender", "--early", "--no-wait", "--to", "two")
    await done(cli, "export", "--to", "two", "--gzip")
    exported = (cli.folder / "two" / "Patient.0001.ndjson").read_bytes()
    found = [json.loads(line) for line in exported.splitlines()]
    assert {each["id"] for each in found} == set(sample.patients[:2])
    assert all("gender" in each and "name" not in each for each in found)
    unknown = await cli("export", "--system", "--type", "Nonsense", "--to", "bad")
    assert (unknown.code, unknown.err.count("\n")) == (1, 1)


async def test_the_doctor_finds_the_whole_stack_sound(stack: Stack, cli: Cli) -> None:
    # Other tests register sources that are not there.
    services = {f"service {name}" for name in stack.layout.services if name not in HTTP_SERVICES}
    sound = {"gateway", "clock", "readiness", "authorization", "keys", "token", "postgres", "kafka"}
    sound |= {"objects", "migrations", "topics", "lag", *services}
    for _ in range(20):  # on a busy machine something may be late for a moment, which is told then
        looked = await cli("--profile", "operator", "doctor", "--json")
        found = {each["name"]: each for each in looked.json}
        unsound = {name: found[name]["text"] for name in sound if found[name]["state"] != "ok"}
        if not unsound:
            break
    assert unsound == {}
    assert "dead letters" in found
    told = (await cli("--profile", "operator", "doctor")).out
    assert "migrations: the database has the newest schema" in told


async def test_a_submission_is_given_followed_and_its_data_are_had_patient_by_patient(
    stack: Stack, cli: Cli
) -> None:
    source = f"{stack.addresses.source}/synthea/fhir"
    known = json.loads(await done(cli, "--profile", "operator", "sources", "list", "--json"))
    if source not in {each["base_url"] for each in known}:
        await done(cli, "--profile", "operator", "sources", "add", "Synthea", source)
    await done(cli, "login", stack.addresses.gateway, "--auth-url", stack.addresses.auth)
    which = ("--submitter", "ward-3", "--submission", "2026-01", "--system", "urn:wards")
    await done(cli, "bulk-submit", *which, f"{source}/exports/all", "--base", source)
    opened = json.loads(await done(cli, "bulk-submit-status", *which, "--json"))
    assert not opened["finished"]
    await done(cli, "bulk-submit", *which, "--complete")
    ended = await cli("bulk-submit-status", *which, "--wait")
    assert ended.code == 0, ended.err
    assert "Manifest 1: imported." in ended.out
    (job,) = json.loads(await done(cli, "jobs", "--kind", "bulk-import", "--json"))
    await done(cli, "pull", "--job", job["id"], "--bundles", "brought.ndjson")
    lines = (cli.folder / "brought.ndjson").read_bytes().splitlines()
    first = json.loads(lines[0])
    assert first["entry"][0]["resource"]["resourceType"] == "Patient"
    again = await cli("bulk-submit", *which, f"{source}/exports/other", "--base", source)
    assert (again.code, again.err.count("\n")) == (1, 1)
    strict = await done(cli, "pull", f"{source}/exports/all", "--static", "--strict", "--wait")
    assert "created, 0 updated" in strict or "unchanged" in strict
