"""Making a backup: the log's places, the database, then the objects, then the manifest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sluice_backup import database, log, manifest, objects
from sluice_backup.earlier import earlier
from sluice_backup.manifest import ACCEPTED, DATABASE, LISTING, BackupError, FileFacts, Manifest, facts_of
from sluice_backup.settings import Settings
from sluice_contracts.words import counted
from sluice_streaming.kafka import KafkaBackend

_SHOWN = 5
Say = Callable[[str], None]
Now = Callable[[], datetime]


def utc_now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


def make(
    folder: Path,
    settings: Settings,
    say: Say,
    *,
    with_objects: bool = True,
    after: Path | None = None,
    now: Now = utc_now,
) -> Manifest:
    """Make a backup in a folder while everything goes on.

    The database is dumped first: the objects that its rows name are there by then, never change, and are not
    removed while the backup is made. What was accepted before the dump is in it, as rows or as commands.

    Parameters
    ----------
    folder
        Where; it must be empty or not there.
    say
        Takes a line at a time for the operator.
    with_objects
        Copy the objects too; not where the store keeps copies itself.
    after
        An earlier backup: copies of objects that have not changed since are linked and not made again.

    Raises
    ------
    BackupError
        It cannot be made, there is no such earlier backup, or objects that rows name are missing.
    Unavailable
        Kafka does not answer.
    """
    began = now()
    manifest.begin(folder)
    needed = folder / "needed.ndjson"
    if after is not None:
        manifest.read(after)
    firsts = asyncio.run(log.planned(settings.kafka))
    cluster = asyncio.run(KafkaBackend(settings.kafka).cluster())
    with database.connected(settings.postgres) as connection:
        database.hold(connection)
        roles, known = database.roles(connection), database.migrations(connection)
        postgres = str(connection.info.server_version)
        dumped = now()
        database.dump(settings.postgres, folder / DATABASE, needed)
        say("the database is dumped")
        stretches = asyncio.run(log.copy_unplanned(settings.kafka, firsts, folder))
        copied = _copy_objects(settings, folder, needed, after, say) if with_objects else objects.Copied()
    needed.unlink()
    _refuse_missing(copied)
    made = Manifest(
        sluice=version("sluice-backup"),
        migrations=known,
        began_at=began,
        dumped_at=dumped,
        ended_at=now(),
        postgres=postgres,
        cluster=cluster,
        roles=roles,
        log=stretches,
        secrets=settings.fingerprints,
        files=_facts(folder, with_objects=with_objects),
        objects=copied.count if with_objects else None,
        object_bytes=copied.size,
    )
    manifest.write(folder, made)
    return made


def _facts(folder: Path, *, with_objects: bool) -> dict[str, FileFacts]:
    names = (DATABASE, ACCEPTED, *((LISTING,) if with_objects else ()))
    return {name: facts_of(folder / name) for name in names}


def _copy_objects(
    settings: Settings, folder: Path, needed: Path, after: Path | None, say: Say
) -> objects.Copied:
    wanted = manifest.lines_of(needed, str)
    if after is None:
        copied = asyncio.run(objects.copy_out(settings.objects, wanted, folder))
        say(f"{counted(copied.count, 'object is', 'objects are')} copied, {copied.size} bytes")
        return copied
    with earlier(after, folder / "earlier.index") as known:
        copied = asyncio.run(objects.copy_out(settings.objects, wanted, folder, known))
    are = counted(copied.count, "object is", "objects are")
    say(f"{are} copied, {copied.size} bytes; {copied.linked} of them linked")
    return copied


def _refuse_missing(copied: objects.Copied) -> None:
    if copied.missing:
        shown = ", ".join(copied.missing[:_SHOWN])
        which = "that the database names"
        are = counted(len(copied.missing), f"object {which} is", f"objects {which} are")
        raise BackupError(f"{are} missing in the store: {shown}")
