"""Wrong usage of `sluice pull` and `sluice submit-data`: told before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice_client.cli.app import app

URL = "https://fhir.example/r4/$export"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.json").write_text('{"resourceType": "MeasureReport"}')
    (tmp_path / "data.ndjson").write_text('{"resourceType":"Patient","id":"p"}\n')
    (tmp_path / "wrong.json").write_text("hello")
    # Nobody listens there: whatever asked it would end with another code.
    for name, value in {"URL": "http://127.0.0.1:9", "CLIENT_ID": "c", "CLIENT_SECRET": "s"}.items():
        monkeypatch.setenv(f"SLUICE_{name}", value)
    monkeypatch.setenv("SLUICE_CONFIG", str(tmp_path / "config.json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("pull",),
        ("pull", URL, "--job", "0"),
        ("pull", "--job", "0", "--type", "Patient"),
        ("pull", URL, "--cancel"),
        ("pull", URL, "--since", "yesterday"),
        ("submit-data", "m"),
        ("submit-data", "m", "--report", "report.json", "--wait"),
        ("submit-data", "m", "data.ndjson", "--report", "report.json", "--export-url", URL),
        ("submit-data", "m", "--report", "none.json"),
        ("submit-data", "m", "--report", "data.ndjson"),
        ("submit-data", "m", "wrong.json", "--report", "report.json"),
    ],
)
def test_wrong_usage_is_told_clearly_and_asks_nothing(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr
