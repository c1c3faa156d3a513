"""How an export's progress is shown: bars on a terminal, lines where there is none."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sluice_client import ExportFile, ExportFileKind
from sluice_client.cli.export_progress import ExportBars, ExportLines, showing_export
from sluice_client.export_run import ExportProgress

FILES = [
    ExportFile(url="1", type="Patient", size=1000),
    ExportFile(url="2", type="Patient", size=3000),
    ExportFile(url="3", type="Condition"),
    ExportFile(url="4", type="OperationOutcome", kind=ExportFileKind.ERROR, size=10),
]


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, height=30, legacy_windows=False)


def play(progress: ExportProgress) -> None:
    progress.started("https://sluice.example/fhir/exports/1")
    progress.running("scheduled", None)
    progress.running("started 40%", 40.0)
    progress.running("started 42%", 42.0)
    for file in FILES:
        progress.listed(file, "name", 0)
    for file in FILES:
        progress.received(file, 5)
        progress.received(file, 0)
        progress.received(file, 7)
        progress.finished(file)


def test_each_type_has_a_bar_that_ends_full() -> None:
    bars = ExportBars(console(terminal=True))
    with bars.shown():
        play(bars)
    ended = {task.description: (task.completed, task.total) for task in bars._types.tasks}
    assert ended == {"Patient": (4000, 4000), "Condition": (7, 7), r"OperationOutcome (error)": (10, 10)}
    (service,) = bars._service.tasks
    assert (service.completed, service.total) == (42.0, 100)


def test_without_a_terminal_little_is_said_and_nothing_twice() -> None:
    shown = console(terminal=False)
    play(ExportLines(shown))
    assert isinstance(shown.file, io.StringIO)
    assert shown.file.getvalue().splitlines() == [
        "exporting: scheduled",
        "exporting: started 40%",
        "Patient: 2 of 2 files",
        "Condition: 1 of 1 file",
        "OperationOutcome (error): 1 of 1 file",
    ]


def test_what_a_service_names_does_not_steer_the_terminal() -> None:
    shown = console(terminal=False)
    lines = ExportLines(shown)
    lines.running("[red]x\x1b[2J", None)
    lines.listed(ExportFile(url="1", type="\x1b[2J"), "name", 0)
    lines.finished(ExportFile(url="1", type="\x1b[2J"))
    assert isinstance(shown.file, io.StringIO)
    assert "\x1b" not in shown.file.getvalue()
    assert "[red]x" in shown.file.getvalue()


@pytest.mark.parametrize(
    ("terminal", "quiet", "kind"),
    [(True, False, ExportBars), (False, False, ExportLines), (True, True, ExportProgress)],
)
def test_what_shows_it_depends_on_who_looks(terminal: bool, quiet: bool, kind: type) -> None:
    with showing_export(console(terminal=terminal), quiet=quiet) as progress:
        assert type(progress) is kind
