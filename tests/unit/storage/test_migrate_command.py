"""What `sluice-migrate` says where there is no database to migrate."""

from __future__ import annotations

import psycopg
import pytest
from typer.testing import CliRunner

from sluice_stack.processes import free_port
from sluice_storage import migrate
from sluice_storage.migrate import app

_FOREVER = "60"


def _nowhere() -> str:
    return f"postgresql://nobody@127.0.0.1:{free_port()}/sluice"


def test_a_server_that_does_not_answer_is_said_in_plain_words_and_is_a_failure() -> None:
    result = CliRunner().invoke(app, ["--dsn", _nowhere(), "--wait", "0"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Postgres does not answer: ")
    assert "Traceback" not in result.output


def test_a_server_that_answers_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([psycopg.OperationalError("failed to resolve host"), ["0001-first"]])

    def late(_address: str) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(migrate, "migrate", late)
    monkeypatch.setattr(migrate, "_PAUSE", 0.0)
    result = CliRunner().invoke(app, ["--dsn", _nowhere(), "--wait", _FOREVER])
    assert result.exit_code == 0
    assert result.stdout == "applied: 0001-first\n"
