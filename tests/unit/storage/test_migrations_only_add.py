"""A migration takes away nothing that the version before uses, which runs until it is replaced."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sluice_storage

MIGRATIONS = sorted((Path(sluice_storage.__file__).parent / "migrations").glob("*.sql"))
# Before the first release there was no version before.
UNRELEASED = {"0030.pulls-waited", "0034a.pulls-mentions"}
TAKES_AWAY = re.compile(
    r"\bDROP\s+(TABLE|COLUMN|SCHEMA|TYPE|VIEW)\b|\bRENAME\b|\bSET\s+NOT\s+NULL\b"
    r"|\bALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE\b"
    r"|\bADD\s+COLUMN\b(?![^,;]*\bDEFAULT\b)[^,;]*\bNOT\s+NULL\b",
    re.IGNORECASE,
)


# What a function does, it does when it is called.
FUNCTION = re.compile(r"(CREATE(?: OR REPLACE)? FUNCTION\b[^$]*)\$\$.*?\$\$", re.DOTALL | re.IGNORECASE)


def taken(sql: str) -> str | None:
    without_comments = re.sub(r"--[^\n]*", "", sql)
    found = TAKES_AWAY.search(FUNCTION.sub(r"\1", without_comments))
    return found[0] if found else None


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: path.stem)
def test_a_migration_only_adds(path: Path) -> None:
    if path.stem not in UNRELEASED:
        assert taken(path.read_text()) is None


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE a DROP COLUMN b",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ SELECT 1 $$; DROP TABLE a",
        "DO $$ BEGIN DROP TABLE a; END $$",
        "DROP TABLE a",
        "ALTER TABLE a RENAME COLUMN b TO c",
        "ALTER TABLE a ALTER COLUMN b SET NOT NULL",
        "ALTER TABLE a ALTER COLUMN b TYPE text",
        "ALTER TABLE a ADD COLUMN b text NOT NULL, ADD COLUMN c text NOT NULL DEFAULT ''",
    ],
)
def test_what_takes_away_is_noticed(sql: str) -> None:
    assert taken(sql) is not None


def test_what_only_adds_is_let_be() -> None:
    sql = "ALTER TABLE a ADD COLUMN b text NOT NULL DEFAULT ''; -- DROP TABLE a\nCREATE INDEX ON a (b)"
    assert taken(sql) is None
