"""The table of requirements is whole, and every test that it names exists."""

from __future__ import annotations

import ast
import csv
import os
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parent / "docs" / "conformance.md"
# The requirements of Bulk Data Access 2.0.0 on servers: Inferno's numbers of those with SHALL or SHOULD.
BULK_DATA = {
    f"BD-{number}": word
    for number, word in (
        line.split(" ", 1)
        for line in Path(__file__).with_name("bulk_data_requirements.txt").read_text().splitlines()
    )
}
# How many rows there are of the kinds that are numbered here.
NUMBERED = {"BD3": 34, "SBS": 37, "BS": 21, "SL": 31, "IN": 11}
WORDS = {"SHALL", "SHOULD", "SHALL NOT", "SHOULD NOT"}
NOT_MET, NOT_MEANT = "**Not met**: ", "Does not apply: "
_ROW = re.compile(
    r"\| (?P<id>(?:BD|BD3|BS|SBS|SL|IN)-\d+) \| (?P<word>[^|]*) \| (?P<rule>[^|]+) \| (?P<held>[^|]+) \|"
)
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
# The guide's list in "Server Capability Documentation".
QUESTIONS = [
    *("Profiles", "Files", "Supporting resources", "Levels and parameters", "Formats"),
    *("Groups and `_since`", "Associated data"),
]


def rows() -> list[dict[str, str]]:
    """Give the rows: id, word, rule, and what is said to hold it."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if re.match(r"\| \w+-\d", line):
            match = _ROW.fullmatch(line)
            assert match is not None, line
            found.append(match.groupdict())
    return found


@cache
def names_in(path: str) -> frozenset[str]:
    """Give the names of the tests that a file has."""
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_every_requirement_is_in_the_table_once_and_held_by_tests_that_exist() -> None:
    wanted = [*BULK_DATA]
    wanted += [f"{kind}-{number}" for kind, count in NUMBERED.items() for number in range(1, count + 1)]
    assert [row["id"] for row in rows()] == wanted
    for row in rows():
        assert row["word"] == BULK_DATA.get(row["id"], row["word"]), row["id"]
        assert row["word"] in WORDS, row["id"]
        named = _TEST.findall(row["held"])
        for path, name in named:
            assert (TESTS / path).is_file(), (row["id"], path)
            assert name in names_in(path), (row["id"], name)
        if not named:
            assert row["held"].startswith((NOT_MET, NOT_MEANT)), row["id"]
            assert len(row["held"]) > len(NOT_MET) + 20, row["id"]
        elif not row["held"].startswith(NOT_MET):
            assert _TEST.sub("", row["held"]).strip(", ") == "", row["id"]


def test_the_questions_of_the_guide_are_answered() -> None:
    answers = PAGE.read_text(encoding="utf-8").partition("## What this server does")[2].partition("\n## ")[0]
    assert re.findall(r"^- \*\*(.+?)\.\*\* ", answers, re.MULTILINE) == QUESTIONS


def test_links_lead_to_files_and_headings() -> None:
    for target in re.findall(r"\]\((?!https:)([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        path, _, heading = target.partition("#")
        page = PAGE.parent / path if path else PAGE
        headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert not heading or heading in [each.lower().replace(" ", "-") for each in headings], target


def test_the_numbers_and_words_are_those_of_the_published_list() -> None:
    path = os.environ.get("SLUICE_TEST_BULK_DATA_REQUIREMENTS")
    if path is None:
        pytest.skip("SLUICE_TEST_BULK_DATA_REQUIREMENTS names no file")
    with Path(path).open(encoding="utf-8", newline="") as file:
        published = {f"BD-{row['id']}": row["conformance"] for row in csv.DictReader(file)}
    assert {number: word for number, word in published.items() if word in WORDS} == BULK_DATA
