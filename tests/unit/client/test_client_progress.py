"""Progress: a bar on a terminal, few lines without one, nothing when scripts read."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sluice_client import ImportResult, ItemCounts, Job, JobState
from sluice_client.cli.app import json_first
from sluice_client.cli.importing import summary
from sluice_client.cli.progress import JobsProgress, showing
from sluice_client.cli.session import printable
from sluice_client.models import ItemProblem


def job(number: int, attached: int, total: int) -> Job:
    counts = ItemCounts(total=total, attached=attached, pending=total - attached)
    return Job(id=str(number), href="", state=JobState.RUNNING, counts=counts)


def shown(*, terminal: bool, quiet: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with showing(console, "importing", quiet=quiet) as display:
        progress = JobsProgress(display, expected=200)
        for attached in range(101):
            progress(job(1, attached, 100))
        progress(job(2, 100, 100))
    return out.getvalue()


def test_without_a_terminal_there_are_few_lines_and_no_control_characters() -> None:
    text = shown(terminal=False)
    assert text.splitlines()[0].startswith("importing: 0 of 200")
    assert text.splitlines()[-1] == "importing: 200 of 200, 200 attached"
    assert len(text.splitlines()) <= 12
    assert "\x1b" not in text


def test_on_a_terminal_the_sum_of_all_jobs_is_shown() -> None:
    assert "200/200" in shown(terminal=True)


def test_scripts_are_shown_nothing() -> None:
    assert shown(terminal=True, quiet=True) == ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["jobs", "--json"], ["--json", "jobs"]),
        (["--json", "jobs"], ["--json", "jobs"]),
        (["jobs"], ["jobs"]),
        (["files", "--", "--json"], ["files", "--", "--json"]),
    ],
)
def test_json_may_be_asked_for_anywhere(given: list[str], expected: list[str]) -> None:
    assert json_first(given) == expected


def test_control_and_bidi_characters_are_not_printed() -> None:
    assert printable("a\x1b[2J\u202eb") == "a\ufffd[2J\ufffdb"


def ended(number: int, failed: int) -> Job:
    counts = ItemCounts(total=2, attached=2 - failed, failed=failed)
    return Job(id=f"job-{number}", href="", state=JobState.FINISHED, counts=counts)


def test_the_end_of_an_import_names_the_one_job_with_failures() -> None:
    problem = ItemProblem(status=404, code="gone", message="Gone.")
    failed = [ImportResult(item=0, fhir_document_reference="u", state="FAILED", error=problem)]
    assert "sluice job job-2 --failed" in summary([ended(1, 0), ended(2, 1)], failed)
    assert "sluice job ID --failed" in summary([ended(1, 1), ended(2, 1)], failed)
