"""A scrape schema that cannot be used ends the service before it takes anything on, with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sluice_fhir.scrape_schema import SchemaError
from sluice_scraper.__main__ import serve
from sluice_scraper.settings import Settings
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.service import Context
from support.scrape_source import SCHEMAS


async def test_an_unusable_schema_is_named_with_its_place_before_anything_starts(tmp_path: Path) -> None:
    folder = tmp_path / "scrape"
    shutil.copytree(SCHEMAS, folder)
    bad = folder / "synthea.json"
    bad.write_text(bad.read_text().replace('"path": "status"', '"path": "status.frist()"'))
    settings = Settings(postgres="postgresql:///nowhere", secret="ab" * 32, scrape_schemas=folder)
    with capture_logs() as logs, pytest.raises(SchemaError):
        await serve(Context("scraper"), settings, MemoryBroker())
    [said] = logs
    assert said["file"] == str(bad)
    assert said["problems"] == [
        "/values/1: there is no function frist(); correct the FHIRPath expression 'status.frist()'"
    ]
