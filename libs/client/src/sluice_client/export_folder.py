"""The folder an export is downloaded to, and what it remembers so that a broken call can go on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from uuid import uuid4

import msgspec
from msgspec import Struct, field

from sluice_client.errors import ExportFolderError
from sluice_client.export_requests import ExportRequest
from sluice_client.manifests import ExportFile, ExportFileKind
from sluice_contracts.wire import UNREADABLE

STATE = ".sluice-export.json"
"""The name of the file in which a folder remembers its export."""

_TYPE = re.compile(r"[A-Za-z]{1,64}")
_PLACES = {ExportFileKind.OUTPUT: "", ExportFileKind.DELETED: "deleted", ExportFileKind.ERROR: "errors"}


class KeptFile(Struct, kw_only=True):
    """A listed file: what the manifest says of it, its path below the folder, and whether it is all here."""

    file: ExportFile
    name: str
    done: bool = False


class ExportState(Struct, kw_only=True, omit_defaults=True):
    """What a folder remembers of its export.

    Parameters
    ----------
    service
        The service's address.
    request
        What was asked for.
    key
        What makes its start safe to repeat.
    location
        Where the service says how it stands; None until it has answered the kick-off.
    page
        The manifest's page to go on with.
    transaction_time
        What the manifest says.
    listed
        Whether the manifest has been read to its end.
    without_token
        Whether its files are given to whoever knows their addresses, so that no token is sent there.
    deleted
        Whether the service has been told to delete it.
    """

    service: str
    started: datetime
    request: ExportRequest
    key: str = ""
    location: str | None = None
    page: str | None = None
    transaction_time: datetime | None = None
    files: list[KeptFile] = field(default_factory=list)
    listed: bool = False
    without_token: bool = False
    deleted: bool = False

    @property
    def complete(self) -> bool:
        """Whether all files are here."""
        return self.listed and all(kept.done for kept in self.files)


def read_state(folder: Path) -> ExportState | None:
    """Give what a folder remembers, None if there is no export in it.

    Raises
    ------
    ExportFolderError
        It cannot be read.
    """
    path = folder / STATE
    try:
        return msgspec.json.decode(path.read_bytes(), type=ExportState)
    except FileNotFoundError:
        return None
    except (OSError, *UNREADABLE):
        raise ExportFolderError(f"{path} cannot be read.", "Choose another folder, or begin anew.") from None


def nothing_begun(folder: Path) -> ExportFolderError:
    """Give the error of a folder in which no export was begun."""
    return ExportFolderError(f"There is no export in {folder}.", "Say what to export.")


class ExportFolder:
    """A folder while an export is downloaded to it; a context manager, which one process at a time may enter.

    Parameters
    ----------
    path
        Made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: ExportState | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / f"{STATE}.lock").open("ab")
        except OSError as error:
            text = f"{self.path} cannot be used: {error.strerror}."
            raise ExportFolderError(text, "Choose another folder.") from None
        try:
            _hold(self._lock)
            self.state = read_state(self.path)
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            # Closing the file gives the lock back. It is not removed: someone may be waiting to hold it.
            self._lock.close()

    def begin(self, service: str, request: ExportRequest) -> ExportState:
        """Remember a new export, before its kick-off."""
        self.state = ExportState(
            service=service, started=datetime.now(UTC), request=request, key=str(uuid4())
        )
        self.save()
        return self.state

    def save(self) -> None:
        """Write down what is remembered, so that it is there whole whatever happens.

        Raises
        ------
        ExportFolderError
            It cannot be written.
        """
        self._write(self.path / STATE, self.state)

    def forget(self) -> None:
        """Remove the export's files, and what is remembered of it."""
        for kept in self.state.files if self.state is not None else ():
            target = self.target(kept)
            for path in (target, part_of(target)):
                path.unlink(missing_ok=True)
        for name in ("manifest.json", STATE):
            (self.path / name).unlink(missing_ok=True)
        for place in filter(None, _PLACES.values()):
            with suppress(OSError):  # other files are in it
                (self.path / place).rmdir()
        self.state = None

    def add(self, files: Iterable[ExportFile]) -> list[KeptFile]:
        """Take note of files that the manifest lists; give those that are new."""
        state = self._state()
        known = {kept.file.url for kept in state.files}
        new = []
        for file in files:
            if file.url not in known:
                known.add(file.url)
                kept = KeptFile(file=file, name=self._name(file))
                state.files.append(kept)
                new.append(kept)
        return new

    def target(self, kept: KeptFile) -> Path:
        """Give the path of a listed file."""
        return self.path / kept.name

    def write_manifest(self) -> None:
        """Write what the export consists of for people and programs: `manifest.json`."""
        state = self._state()
        files = [
            {"name": kept.name, **msgspec.to_builtins(kept.file, str_keys=True)}
            for kept in sorted(state.files, key=lambda kept: kept.name)
        ]
        for file in files:
            file.pop("url")  # good for nothing once the export is deleted
        told = {"transactionTime": state.transaction_time, "files": files}
        self._write(self.path / "manifest.json", told)

    def _name(self, file: ExportFile) -> str:
        # The server's word becomes part of a path only if it looks like a resource type.
        type_ = file.type if file.type and _TYPE.fullmatch(file.type) else "resources"
        place = _PLACES[file.kind]
        stem = f"{place}{'/' if place else ''}{type_}"
        alike = sum(kept.name.partition(".")[0] == stem for kept in self._state().files)
        return f"{stem}.{alike + 1:04d}.ndjson"

    def _state(self) -> ExportState:
        if self.state is None:
            raise ExportFolderError(f"There is no export in {self.path}.", "Begin one.")
        return self.state

    def _write(self, path: Path, value: Any) -> None:
        fresh = path.with_name(f".{path.name}.new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(msgspec.json.format(msgspec.json.encode(value), indent=2))
            fresh.replace(path)
        except OSError as error:
            text = f"{path} cannot be written: {error.strerror}."
            raise ExportFolderError(text, "Choose another folder.") from None


def part_of(target: Path) -> Path:
    """Give the path under which a file is kept until all of it is here."""
    return target.with_name(f".{target.name}.part")


def _hold(lock: IO[bytes]) -> None:
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows, where two calls at once are the caller's to avoid
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ExportFolderError(
            "Another process is downloading to this folder.", "Wait for it, or choose another folder."
        ) from None
