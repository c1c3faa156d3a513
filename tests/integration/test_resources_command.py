"""The command that loads a folder."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sluice_storage.resources.load import command
from support.resource_store import lines_of
from support.stack import Database

CANARY = "Wilhelmina-Canary"


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(add_completion=False)
    made.command()(command)
    return made


def run(app: typer.Typer, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_a_folder_is_loaded_packed_or_not_and_again_without_change(
    database: Database, tmp_path: Path, app: typer.Typer
) -> None:
    (tmp_path / "Patient.ndjson").write_bytes(lines_of({"resourceType": "Patient", "id": "a"}))
    packed = gzip.compress(
        lines_of({"resourceType": "Basic", "id": "b"}, {"resourceType": "Basic", "id": "c"})
    )
    (tmp_path / "Basic.ndjson.gz").write_bytes(packed)
    (tmp_path / "notes.txt").write_text("not for us")
    dsn = database.dsn_for("loader")
    status, output = run(app, str(tmp_path), "--postgres", dsn)
    assert status == 0
    rows = [re.findall(r"[\w.]+", line)[:3] for line in output.splitlines() if "ndjson" in line]
    assert rows == [["Basic.ndjson.gz", "2", "2"], ["Patient.ndjson", "1", "1"]]
    status, output = run(app, str(tmp_path), "--postgres", dsn)
    assert status == 0
    rows = [re.findall(r"[\w.]+", line)[:5] for line in output.splitlines() if "ndjson" in line]
    assert rows == [["Basic.ndjson.gz", "2", "0", "0", "2"], ["Patient.ndjson", "1", "0", "0", "1"]]


def test_lines_that_are_not_loaded_are_named_without_what_they_hold(
    database: Database, tmp_path: Path, app: typer.Typer
) -> None:
    bad = b'{"resourceType":"Patient","id":"%b/"}' % CANARY.encode()
    good = {"resourceType": "Patient", "id": "a", "name": [{"family": CANARY}]}
    (tmp_path / "Patient.ndjson").write_bytes(lines_of(good, *([bad] * 30)))
    status, output = run(app, str(tmp_path), "--postgres", database.dsn_for("loader"))
    assert status == 1
    assert "Patient.ndjson line 2: bad_id" in output
    assert "and 10 more" in output
    assert CANARY not in output


def test_a_folder_without_files_is_refused(tmp_path: Path, app: typer.Typer) -> None:
    status, output = run(app, str(tmp_path), "--postgres", "postgresql://nowhere/")
    assert status == 2
    assert "no files" in output
