"""Restoring a backup: into empty stores, over a log that begins anew (ADR 45)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sluice_backup import database, log, objects, unfinished
from sluice_backup.making import Say
from sluice_backup.manifest import DATABASE, BackupError, Manifest
from sluice_backup.settings import Settings
from sluice_contracts.words import counted
from sluice_storage.migrate import migrate, packaged


def fits(manifest: Manifest, settings: Settings) -> None:
    """Make sure that this version and this secret can do something with a backup.

    Raises
    ------
    BackupError
        They cannot; the text says why.
    """
    unknown = sorted(set(manifest.migrations) - set(packaged()))
    if unknown:
        raise BackupError(f"the backup is of a newer Sluice: migration {unknown[0]} is not known here")
    if settings.fingerprints and not set(manifest.secrets) <= set(settings.fingerprints):
        raise BackupError(
            "SLUICE_SECRET is not what it was at the backup: what is sealed under that does not open; "
            "put the secret of then in its place first"
        )


def restore(
    folder: Path,
    manifest: Manifest,
    settings: Settings,
    say: Say,
    *,
    replace: bool = False,
    fresh_topics: bool = False,
    with_objects: bool = True,
) -> int:
    """Make everything what it was, and have jobs that were under way go on; give how many commands that took.

    Parameters
    ----------
    manifest
        The backup's, which was looked at (`sluice_backup.manifest.opened`).
    replace
        Remove what is in the database and the object store.
    fresh_topics
        Remove the topics with all their records, and make them anew.
    with_objects
        Restore the objects too.

    Raises
    ------
    BackupError
        Something is in the way, or failed; it can be tried again.
    Unavailable
        Kafka does not answer.
    """
    fits(manifest, settings)
    if with_objects and manifest.objects is None:
        raise BackupError("the backup has no objects: restore them by the store's own means, and say so")
    _look(settings, replace=replace, fresh_topics=fresh_topics, with_objects=with_objects)
    asyncio.run(log.make_topics(settings.kafka, settings.kafka_replication, fresh=fresh_topics))
    if replace:
        with database.connected(settings.postgres) as connection:
            database.clear(connection)
        if with_objects:
            asyncio.run(objects.clear(settings.objects))
    database.restore(settings.postgres, folder / DATABASE, manifest.roles)
    newer = migrate(settings.postgres)
    say(f"the database is restored{', and brought to this version' if newer else ''}")
    if with_objects:
        copied = asyncio.run(objects.copy_in(settings.objects, folder))
        say(f"{counted(copied, 'object is', 'objects are')} restored")
    with database.connected(settings.postgres) as connection:
        database.forget_log(connection, {each.key for each in log.accepted_in(folder)})
        return asyncio.run(
            log.publish(settings.kafka, log.accepted_in(folder), unfinished.messages(connection))
        )


def resume(settings: Settings) -> int:
    """Have every job that has not ended go on from its rows; give how many commands that took.

    It is for a log that was lost while the database was not. At any other time it repeats work, and changes
    nothing by that.

    Raises
    ------
    BackupError
        The database does not answer.
    Unavailable
        Kafka does not answer.
    """
    with database.connected(settings.postgres) as connection:
        return asyncio.run(log.publish(settings.kafka, (), unfinished.messages(connection)))


def _look(settings: Settings, *, replace: bool, fresh_topics: bool, with_objects: bool) -> None:
    """Refuse what would mix two deployments."""
    with database.connected(settings.postgres) as connection:
        running = database.services(connection)
        if running:
            raise BackupError(f"stop the services first; connected are {', '.join(running)}")
        if not replace and not database.empty(connection):
            raise BackupError("the database is not empty: --replace removes what is in it")
    if with_objects and not replace and not asyncio.run(objects.empty(settings.objects)):
        raise BackupError("the object store is not empty: --replace removes what is in it")
    if not fresh_topics and asyncio.run(log.used(settings.kafka)):
        raise BackupError(
            "Kafka has records: it counts as done what the backup lacks. Restore over an empty one, or have "
            "the topics made anew by --fresh-topics"
        )
