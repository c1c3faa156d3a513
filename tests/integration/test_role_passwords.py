"""The roles get the passwords that the services' own files hold; the server never sees one in the clear."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from sluice_storage import migrate
from sluice_storage.passwords import UnusableAddressError, set_passwords
from support.stack import Database


def accepts(dsn: str, role: str, password: str) -> bool:
    """Check the password against what the server keeps (RFC 5803: the stored key of SCRAM)."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,)).fetchone()
    assert row is not None
    kind, rounds_salt, keys = str(row[0]).split("$")
    assert kind == "SCRAM-SHA-256"
    rounds, salt = rounds_salt.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64encode(stored).decode() == keys.split(":")[0]


def write(folder: Path, name: str, url: str) -> None:
    (folder / name).write_text(url + "\n")


def test_each_role_gets_the_password_of_its_file_and_a_changed_file_changes_it(
    database: Database, tmp_path: Path
) -> None:
    write(tmp_path, "postgres_status", "postgresql://sluice_status:a%2Fb@postgres/sluice")
    write(tmp_path, "postgres_admin", "postgresql://postgres:other@postgres/sluice")
    assert set_passwords(database.dsn, tmp_path) == ["sluice_status"]
    assert accepts(database.dsn, "sluice_status", "a/b")
    write(tmp_path, "postgres_status", "postgresql://sluice_status:next@postgres/sluice")
    set_passwords(database.dsn, tmp_path)
    assert accepts(database.dsn, "sluice_status", "next")
    assert not accepts(database.dsn, "sluice_status", "a/b")


def test_a_file_without_password_is_named_and_changes_nothing(database: Database, tmp_path: Path) -> None:
    write(tmp_path, "postgres_fetcher", "postgresql://sluice_fetcher:first@postgres/sluice")
    set_passwords(database.dsn, tmp_path)
    write(tmp_path, "postgres_fetcher", "postgresql://sluice_fetcher:second@postgres/sluice")
    write(tmp_path, "postgres_scraper", "postgresql://sluice_scraper@postgres/sluice")
    with pytest.raises(UnusableAddressError, match="postgres_scraper"):
        set_passwords(database.dsn, tmp_path)
    assert accepts(database.dsn, "sluice_fetcher", "first")


def test_the_command_takes_the_administrators_address_from_a_file(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLUICE_POSTGRES", raising=False)
    write(tmp_path, "address", database.dsn)
    write(tmp_path, "postgres_expirer", "postgresql://sluice_expirer:mine@postgres/sluice")
    monkeypatch.setenv("SLUICE_POSTGRES_FILE", str(tmp_path / "address"))
    monkeypatch.setenv("SLUICE_ROLE_PASSWORDS", str(tmp_path))
    done = CliRunner().invoke(migrate.app, [])
    assert done.exit_code == 0, done.output
    assert "nothing to apply" in done.output
    assert "mine" not in done.output
    assert accepts(database.dsn, "sluice_expirer", "mine")
