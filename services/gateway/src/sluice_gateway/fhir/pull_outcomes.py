"""What became of an import, as NDJSON of OperationOutcomes: one file of all that was read, one of errors.

They are written as they are asked for, from counts and numbers of lines, and hold nothing of the data.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from sluice_contracts.errors import ERROR_TEXTS, ItemError
from sluice_contracts.imports import PulledKind
from sluice_contracts.words import counted
from sluice_gateway.fhir.outcomes import Issue, Severity, operation_outcome
from sluice_gateway.fhir.pull_store import PulledFile, PullRow, PullStore, Unresolved

_AT_ONCE = 500
_LINES = {
    "too_long": ("too-long", "it is longer than a line may be"),
    "not_utf8": ("structure", "it is not UTF-8"),
    "not_json": ("structure", "it is not JSON"),
    "too_deep": ("structure", "it nests too deep"),
    "not_a_resource": ("structure", "it is not a resource"),
    "unknown_type": ("not-supported", "there is no such resource type"),
    "wrong_type": ("value", "its type is not the one the manifest names"),
    "bad_id": ("value", "its id is not one of FHIR's"),
}


async def information(store: PullStore, job: str, row: PullRow) -> AsyncGenerator[bytes]:
    """Write an outcome for each file, and one for all of them."""
    failed = read = invalid = deleted = 0
    after = -1
    while files := await store.files(job, after, _AT_ONCE):
        after = files[-1].item
        for file in files:
            failed += file.failed is not None
            read += file.read
            invalid += file.invalid
            deleted += file.deleted
        yield b"".join([_line(*_told(file)) for file in files])
    total = row.files or 0
    if not total:
        yield _line(
            "information", "informational", "The source's export has no files: there was nothing to import."
        )
        return
    dangling = sum([each.total for each in await store.unresolved(job)])
    text = (
        f"{counted(total, 'file')}: {counted(read, 'line')} read, {invalid} of them not loaded;"
        f" {counted(deleted, 'resource')} deleted."
    )
    if failed:
        text += f" {counted(failed, 'file')} could not be loaded."
    if dangling:
        are = counted(dangling, "resource is", "resources are")
        text += f" {are} referred to that neither the import nor the store has."
    wrong = failed or invalid or dangling
    yield _line("warning" if wrong else "information", "informational", text)


async def errors(store: PullStore, job: str, row: PullRow) -> AsyncGenerator[bytes]:
    """Write an outcome for each thing that went wrong: as many as `PullRow.problems` says."""
    if row.failed is not None:
        yield _line("error", "incomplete", f"The import was not brought to its end. {error_text(row.failed)}")
    after = -1
    while files := await store.files(job, after, _AT_ONCE):
        after = files[-1].item
        for file in files:
            if found := b"".join([_line(*each) for each in _wrong(file)]):
                yield found
            line = 0
            while file.listed and (bad := await store.lines(job, file.item, line, _AT_ONCE)):
                line = bad[-1].line
                yield b"".join([_bad_line(file, each.line, each.code) for each in bad])
    for dangling in await store.unresolved(job):
        yield _dangling(dangling)


def _dangling(found: Unresolved) -> bytes:
    are = counted(found.total, f"{found.type} resource is", f"{found.type} resources are")
    text = f"{are} referred to that neither the import nor the store has."
    if found.ids:
        text += f" The first: {', '.join(f'{found.type}/{each}' for each in found.ids)}."
    return _line("warning", "not-found", text)


def error_text(code: str | None) -> str:
    """Give an item's error in words."""
    try:
        text = ERROR_TEXTS[ItemError(code or "")]
    except ValueError:
        text = ERROR_TEXTS[ItemError.INTERNAL]  # a newer service's code
    return f"{text.message} {text.more_info}"


def _name(file: PulledFile) -> str:
    what = f"{file.type} " if file.type and file.kind == PulledKind.OUTPUT else ""
    listed = "" if file.kind == PulledKind.OUTPUT else f" (list {file.kind})"
    return f"{what}file {file.item + 1}{listed}"


def _told(file: PulledFile) -> tuple[Severity, str, str]:
    if file.failed is not None:
        return "error", "incomplete", f"{_name(file)}: not loaded. {error_text(file.failed)}"
    if file.kind == PulledKind.DELETED:
        text = f"{counted(file.read, 'line')} read, {counted(file.deleted, 'resource')} deleted"
    elif file.kind == PulledKind.ERROR:
        text = f"{counted(file.read, 'problem')} that the source tells of"
    else:
        text = (
            f"{counted(file.read, 'line')} read: {file.created} created, {file.updated} updated,"
            f" {file.unchanged} unchanged, {file.stale} older than what is there"
        )
    severity: Severity = "warning" if file.invalid else "information"
    text = f"{_name(file)}: {text}, {file.invalid} not sound."
    if file.nameless:
        text += f" {counted(file.nameless, 'without an id was', 'without an id were')} given one."
    return severity, "informational", text


def _wrong(file: PulledFile) -> list[tuple[Severity, str, str]]:
    if file.failed is not None:
        status = "" if file.failed_status is None else f" The source answered {file.failed_status}."
        return [("error", "incomplete", f"{_name(file)}: {error_text(file.failed)}{status}")]
    found: list[tuple[Severity, str, str]] = []
    if file.expected is not None and file.expected != file.read:
        read = counted(file.read, "was", "were")
        text = f"{_name(file)}: the manifest says {counted(file.expected, 'line')}, and {read} read."
        found.append(("warning", "incomplete", text))
    if file.kind == PulledKind.ERROR and file.read:
        text = f"{_name(file)}: the source tells of {counted(file.read, 'problem')} of its export."
        found.append(("warning", "incomplete", text))
    if file.invalid > file.listed:
        were = counted(file.invalid, "line was", "lines were")
        text = f"{_name(file)}: {were} not loaded; the first {file.listed} are listed."
        found.append(("warning", "too-costly", text))
    return found


def _bad_line(file: PulledFile, line: int, code: str) -> bytes:
    issue, text = _LINES.get(code, ("processing", "it could not be processed"))
    return _line("error", issue, f"{_name(file)}, line {line}: not loaded, {text}.")


def _line(severity: Severity, code: str, text: str) -> bytes:
    outcome = operation_outcome([Issue(severity=severity, code=code, text=text)])
    return msgspec.json.encode(outcome) + b"\n"
