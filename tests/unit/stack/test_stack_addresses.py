"""What `make up` prints can be copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice_stack import up
from sluice_stack.home import Home
from sluice_stack.layout import Layout, Ports
from sluice_stack.stack import Stack


def test_addresses_stay_whole_in_a_narrow_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up.console, "width", 40)
    stack = Stack(Layout(Home(tmp_path), Ports.free(), source=True))
    up.show(stack)
    lines = capsys.readouterr().out.splitlines()
    config = tmp_path / "cli.json"
    for whole in (stack.dsn(), f"{stack.layout.gateway_url}/docs", f"export SLUICE_CONFIG={config}"):
        assert any(line.endswith(whole) for line in lines)
