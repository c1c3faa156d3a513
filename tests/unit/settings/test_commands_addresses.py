"""Operators' commands are told where Postgres is as services are: in containers by a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from sluice_auth import operators
from sluice_backup import __main__ as backup
from sluice_status import rebuild
from sluice_storage import migrate, resealing
from sluice_storage.encryption import rewrap
from sluice_storage.postgres_option import postgres_option
from sluice_storage.resources import load

ADDRESS = "postgresql://sluice@db/sluice"
COMMANDS: list[tuple[Any, list[str]]] = [
    (rebuild.command, []),
    (load.command, ["."]),
    (rewrap.main, []),
    (resealing._command, []),
    (migrate.app, []),
    (backup.app, ["create", "x"]),
    (operators.app, ["add", "x"]),
    (operators.app, ["remove", "x"]),
    (operators.app, ["add-user", "x"]),
    (operators.app, ["set-password", "x"]),
    (operators.app, ["set-operator", "x"]),
    (operators.app, ["remove-user", "x"]),
    (operators.app, ["rotate-keys"]),
]


def run(command: Any, words: list[str]) -> Any:
    if not isinstance(command, typer.Typer):
        command, made = typer.Typer(), command
        command.command()(made)
    return CliRunner().invoke(command, words, env={"COLUMNS": "300"})


def noting(seen: list[str]) -> Callable[..., None]:
    def command(postgres: Annotated[str, postgres_option("anybody")] = "") -> None:
        seen.append(postgres)

    return command


@pytest.mark.parametrize(("command", "words"), COMMANDS)
def test_every_command_looks_into_the_file_and_says_so_where_there_is_none(
    command: Any, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SLUICE_POSTGRES", raising=False)
    monkeypatch.setenv("SLUICE_POSTGRES_FILE", str(tmp_path / "absent"))
    ended = run(command, words)
    assert ended.exit_code != 0
    assert "SLUICE_POSTGRES_FILE names" in ended.output
    assert isinstance(ended.exception, SystemExit)


@pytest.mark.parametrize(
    ("words", "variable", "expected"),
    [
        ([], None, ADDRESS),
        (["--postgres", "postgresql://else"], None, "postgresql://else"),
        ([], "postgresql://else", "postgresql://else"),
    ],
)
def test_what_is_said_counts_before_what_is_in_the_file(
    words: list[str],
    variable: str | None,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "postgres").write_text(f"{ADDRESS}\n")
    monkeypatch.setenv("SLUICE_POSTGRES_FILE", str(tmp_path / "postgres"))
    monkeypatch.delenv("SLUICE_POSTGRES", raising=False)
    if variable is not None:
        monkeypatch.setenv("SLUICE_POSTGRES", variable)
    seen: list[str] = []
    assert run(noting(seen), words).exit_code == 0
    assert seen == [expected]


def test_a_command_that_is_told_no_address_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_POSTGRES", raising=False)
    monkeypatch.delenv("SLUICE_POSTGRES_FILE", raising=False)
    seen: list[str] = []
    ended = run(noting(seen), [])
    assert (ended.exit_code, seen) == (2, [])
    assert "SLUICE_POSTGRES is not set" in ended.output
