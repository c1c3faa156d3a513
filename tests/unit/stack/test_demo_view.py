"""What the demo shows is what happened."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sluice_client import File, ImportResult
from sluice_client.models import ItemProblem
from sluice_stack.cli_profiles import Profiles
from sluice_stack.demo_documents import documents
from sluice_stack.demo_view import Pace, further, result_table
from sluice_stack.home import Addresses, Home
from sluice_stack.source.faults import kind_of

_ADDRESSES = Addresses(
    supervisor=1, gateway="http://127.0.0.1:1", auth="http://127.0.0.1:2", kafka="", postgres=""
)


def _result(state: str, message: str | None = None) -> ImportResult:
    problem = ItemProblem(status=404, code="x", message=message) if message else None
    file = File(id="1", name="f", type="file", project="p", size=2**20) if message is None else None
    return ImportResult(item=0, fhir_document_reference="u", state=state, resource=file, error=problem)


def test_the_last_table_counts_every_outcome_and_every_reason() -> None:
    results = [_result("ATTACHED")] * 3 + [_result("SKIPPED")] + [_result("FAILED", "Gone.")] * 2
    out = io.StringIO()
    Console(file=out, width=100).print(result_table(results, 12.3, 4.5))
    rows = {
        cells[0].strip(): cells[1].strip()
        for line in out.getvalue().splitlines()
        if len(cells := line.strip("│").split("│")) == 2
    }
    assert rows["attached"] == "3"
    assert rows["failed"] == rows["Gone."] == "2"
    assert rows["content"] == "4.0 MB"


def test_the_rate_is_of_the_first_nine_tenths() -> None:
    now = 100.0
    pace = Pace(100, lambda: now)
    now = 104.0
    pace.ended(80)
    assert pace.rate is None
    now = 109.0
    pace.ended(90)
    now = 200.0
    pace.ended(100)
    assert pace.rate == pytest.approx(10.0)


def test_the_demo_has_enough_documents_some_faulty_some_twice() -> None:
    wanted = documents("http://source", "run-1")
    assert len(wanted) >= 500
    assert [address for address in wanted if kind_of(address.rpartition("/")[2])]
    assert len(set(wanted)) < len(wanted)


def test_the_same_portal_is_found_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    profiles = Profiles(home, _ADDRESSES)
    assert profiles.portal() is None
    profiles.keep_portal(profiles.operator())
    assert Profiles(home, _ADDRESSES).portal() == profiles.operator()
    assert profiles.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("running", [True, False])
def test_what_to_do_next_begins_with_the_stack_only_if_it_does_not_run(tmp_path: Path, running: bool) -> None:
    said = further(tmp_path / "cli.json", "ann/p", "job", _ADDRESSES, running=running)
    assert said.startswith("make up") is not running
    assert "--project ann/p" in said
