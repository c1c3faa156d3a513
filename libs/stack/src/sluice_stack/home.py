"""The folder in which one stack keeps its data, its secrets and its word that it runs."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
from msgspec import Struct

from sluice_stack.processes import StackError


class Secrets(Struct, frozen=True, kw_only=True):
    """What a stack makes up once and keeps.

    `secret` is the services' (hex), `master_keys` wrap what contents are encrypted under (hex, the newest
    first), the operator is an OAuth client with every `ops/` scope, the source's are what the demo source's
    protected bases ask for, and the passwords are those of two people who can sign in to the page: `demo`,
    and `operator`, who is one.
    """

    secret: str
    master_keys: str
    operator_id: str
    operator_secret: str
    source_bearer: str
    source_client_secret: str
    demo_password: str
    operator_password: str

    @classmethod
    def new(cls) -> Secrets:
        """Make new ones."""
        return cls(
            secret=secrets.token_hex(32),
            master_keys=secrets.token_hex(32),
            operator_id="stack-operator",
            operator_secret=secrets.token_urlsafe(32),
            source_bearer=secrets.token_urlsafe(24),
            source_client_secret=secrets.token_urlsafe(24),
            demo_password=secrets.token_urlsafe(12),
            operator_password=secrets.token_urlsafe(12),
        )


class Addresses(Struct, frozen=True, kw_only=True):
    """Where a running stack is; `source` is None if the demo source does not run."""

    supervisor: int
    gateway: str
    auth: str
    kafka: str
    postgres: str
    source: str | None = None


class Home:
    """The folder of one stack. Hold it (`with home:`) while the stack runs.

    Parameters
    ----------
    folder
        Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lock: IO[str] | None = None

    @classmethod
    def usual(cls) -> Home:
        """Give the home that `SLUICE_HOME` names, `.sluice` here without it."""
        return cls(Path(os.environ.get("SLUICE_HOME") or ".sluice"))

    @property
    def logs(self) -> Path:
        """Where the services' logs are."""
        return self.folder / "logs"

    @property
    def objects(self) -> Path:
        """Where the object store keeps its files."""
        return self.folder / "objects"

    @property
    def secrets_file(self) -> Path:
        """Where the secrets are kept, readable to the owner alone."""
        return self.folder / "secrets.json"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StackError(f"a stack runs already in {self.folder}{self._by_whom()}") from None
        self._lock = lock
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            (self.folder / "addresses.json").unlink(missing_ok=True)
            # Closing the file gives the lock back; the kernel does the same for a process that dies.
            self._lock.close()
            self._lock = None

    def protect(self) -> None:
        """Make the folders that hold health information, or traces of it, the owner's alone."""
        for folder in (self.objects, self.logs, self.folder / "kafka"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    def secrets(self) -> Secrets:
        """Give the stack's secrets, made up the first time."""
        path = self.secrets_file
        kept = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
        # A stack of an earlier version has not made all of them up yet.
        made = msgspec.convert({**msgspec.to_builtins(Secrets.new()), **kept}, Secrets)
        if len(kept) < len(Secrets.__struct_fields__):
            self._keep(path, msgspec.json.format(msgspec.json.encode(made)))
        return made

    def _keep(self, path: Path, text: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        new.replace(path)

    def announce(self, addresses: Addresses) -> None:
        """Write down where the stack is, for whoever asks `running`."""
        text = msgspec.json.format(msgspec.json.encode(addresses))
        (self.folder / "addresses.json").write_bytes(text)

    def running(self) -> Addresses | None:
        """Say where the stack is that runs in this folder, None if none does."""
        path = self.folder / "addresses.json"
        if not path.exists() or not self._held():
            return None
        return msgspec.json.decode(path.read_bytes(), type=Addresses)

    def _held(self) -> bool:
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def _by_whom(self) -> str:
        path = self.folder / "addresses.json"
        if not path.exists():
            return ", just starting or stopping"
        addresses = msgspec.json.decode(path.read_bytes(), type=Addresses)
        return f": process {addresses.supervisor}, {addresses.gateway}"
