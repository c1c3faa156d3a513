"""`sluice measures` as operators use it, against a gateway on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sluice_client import ApiError, Credentials, SluiceClient
from support.cli import Cli
from support.gateway_real import listening_gateway, signed_in
from support.measure_http import EXAMPLES, VISITS
from support.stack import Database


@pytest.fixture
async def variables(database: Database) -> AsyncIterator[dict[str, Any]]:
    async with (
        listening_gateway(database) as (site, url),
        signed_in(site, url, "ops", "ops/measures") as found,
    ):
        yield found


async def test_measures_are_loaded_listed_and_say_what_they_need(
    variables: dict[str, Any], tmp_path: Path
) -> None:
    sluice = Cli(tmp_path)
    files = [str(path) for path in sorted(EXAMPLES.glob("*.json"))]
    assert (await sluice("measures", "list", **variables)).out.strip() == "No measures yet."
    done = await sluice("measures", "load", *files, **variables)
    assert (done.code, done.out) == (0, "stored 2 Library, 2 Measure, 3 ValueSet; 7 of them new\n"), done.err
    again = await sluice("measures", "load", *files, **variables)
    assert again.out.endswith("0 of them new\n")
    listed = await sluice("--json", "measures", "list", **variables)
    assert {each["id"] for each in listed.json} == {VISITS, "stated-needs"}
    shown = await sluice("measures", "list", **variables)
    assert VISITS in shown.out
    needed = await sluice("measures", "requirements", VISITS, **variables)
    assert "http://example.org/sluice/ValueSet/asthma" in needed.out
    as_json = await sluice("--json", "measures", "requirements", VISITS, **variables)
    types = {each["type"] for each in as_json.json}
    assert types == {"Condition", "Coverage", "Encounter", "Observation", "Patient"}
    period = ("--start", "2031-01-01", "--end", "2031-12-31")
    of_a_year = await sluice("--json", "measures", "requirements", VISITS, *period, **variables)
    assert {each["type"] for each in of_a_year.json} == types
    half = await sluice("measures", "requirements", VISITS, *period[:2], **variables)
    assert half.code == 2


async def test_the_period_that_is_measured_is_said_to_the_service(variables: dict[str, Any]) -> None:
    who = Credentials(client_id="ops", client_secret="s")
    async with SluiceClient(
        variables["SLUICE_URL"], auth_url=variables["SLUICE_AUTH_URL"], credentials=who
    ) as sluice:
        for half in ({"start": date(2031, 1, 1)}, {"end": date(2031, 12, 31)}):
            with pytest.raises(ApiError, match="both periodStart and periodEnd"):
                await sluice.data_requirements("any", **half)


async def test_what_goes_wrong_is_told_in_a_line_with_a_code(
    variables: dict[str, Any], tmp_path: Path
) -> None:
    sluice = Cli(tmp_path)
    (tmp_path / "not.json").write_text("hello")
    wrong = await sluice("measures", "load", str(tmp_path / "not.json"), **variables)
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    missing = await sluice("measures", "requirements", "none", **variables)
    assert missing.code == 4
    assert "There is no such" in missing.err
