"""A failing test tells what the services complained of meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from support.stack_logs import complaints

SINCE = datetime(2026, 1, 2, tzinfo=UTC)


def line(level: str, day: int, event: str) -> str:
    return f'{{"event":"{event}","level":"{level}","timestamp":"2026-01-{day:02}T00:00:00Z"}}\n'


def test_only_complaints_of_the_time_asked_for_are_told_and_what_is_no_line_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "quiet.log").write_text(line("info", 3, "fine") + line("error", 1, "long ago"))
    (tmp_path / "insight.log").write_text(
        "Old\n"
        + line("error", 1, "long ago")
        + line("warning", 3, "late")
        + "Traceback\n\n"
        + line("info", 3, "fine")
    )
    ((name, text),) = complaints(tmp_path, SINCE)
    assert name == "complaints of insight"
    assert text.splitlines() == [line("warning", 3, "late").strip(), "Traceback"]


def test_the_last_complaints_are_told_and_long_ones_cut(tmp_path: Path) -> None:
    (tmp_path / "insight.log").write_text("".join(line("error", 3, f"{n} " + "x" * 999) for n in range(99)))
    ((_, text),) = complaints(tmp_path, SINCE)
    assert (len(text.splitlines()), "98 xx" in text) == (15, True)
    assert max(map(len, text.splitlines())) == 300
