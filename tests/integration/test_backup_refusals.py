"""What a backup and a restore refuse, what they hold off, and topics that begin anew."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import obstore
import psycopg
import pytest
from pydantic import SecretStr

from sluice_backup import database as dumped
from sluice_backup import log, making, restoring
from sluice_backup.manifest import BackupError, opened
from sluice_backup.settings import Settings
from sluice_contracts.commands import CancelDocumentImport
from sluice_contracts.topics import JOBS_DOCUMENT_IMPORT
from sluice_stack.kafka import Kafka
from sluice_storage.catalogue.blobs import Blobs
from sluice_storage.objects import ObjectStore, name_of, plain_name
from sluice_storage.objects_address import open_backend
from sluice_storage.pool import open_pool
from sluice_streaming.kafka import KafkaBackend, KafkaTuning
from sluice_streaming.messages import Message, Partition
from support.histories import job_number
from support.object_stores import KEYS
from support.stack import Database
from support.streams import Recorder

SECRET = "ab" * 32
HASH = bytes(range(32))
OBJECT = UUID(bytes=HASH[:16])


def settings_of(database: Database, kafka: Kafka, folder: Path) -> Settings:
    return Settings(postgres=database.dsn, kafka=kafka.bootstrap, objects=folder.as_uri(), secret=SECRET)


def run(database: Database, statement: str, *values: object) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(statement, values or None)


async def commit(kafka: Kafka, offset: int) -> None:
    """Commit a place of the fetcher's, which then leaves the group."""
    backend = KafkaBackend(kafka.bootstrap, tuning=KafkaTuning(session=2.0))
    consumer = backend.consumer("fetcher", [JOBS_DOCUMENT_IMPORT.name], Recorder())
    await consumer.start()
    async with asyncio.timeout(120):
        while not await consumer.poll(0.5, 10):
            continue
    await consumer.commit({Partition(JOBS_DOCUMENT_IMPORT.name, number): offset for number in range(8)})
    await consumer.stop()


def test_what_is_not_empty_is_not_restored_over_unless_that_is_said(
    module_kafka: Kafka, database: Database, tmp_path: Path
) -> None:
    settings = settings_of(database, module_kafka, tmp_path / "objects")
    asyncio.run(log.make_topics(module_kafka.bootstrap, 1, fresh=False))
    backup = tmp_path / "backup"
    made = making.make(backup, settings, print)
    assert opened(backup) == made
    cancel = Message(JOBS_DOCUMENT_IMPORT, job_number(1), CancelDocumentImport(job=job_number(1)))
    assert asyncio.run(log.publish(settings.kafka, (), [cancel])) == 1
    asyncio.run(commit(module_kafka, 1))
    with pytest.raises(BackupError, match="the database is not empty"):
        restoring.restore(backup, made, settings, print)
    with pytest.raises(BackupError, match="Kafka has records"):
        restoring.restore(backup, made, settings, print, replace=True)
    other = settings.model_copy(update={"secret": SecretStr("cd" * 32)})
    with pytest.raises(BackupError, match="SLUICE_SECRET is not what it was"):
        restoring.restore(backup, made, other, print, replace=True)
    with (
        psycopg.connect(database.dsn, application_name="sluice-status"),
        pytest.raises(BackupError, match="stop the services first; connected are sluice-status"),
    ):
        restoring.restore(backup, made, settings, print, replace=True)
    run(database, "DELETE FROM auth.clients; CREATE SCHEMA newer; CREATE TABLE newer.things (id int)")
    assert restoring.restore(backup, made, settings, print, replace=True, fresh_topics=True) == 0
    assert not asyncio.run(log.used(settings.kafka))
    with dumped.connected(database.dsn) as connection:
        assert dumped.migrations(connection) == made.migrations
        assert connection.execute("SELECT to_regclass('newer.things')").fetchone() == (None,)


def test_a_backup_after_another_links_what_has_not_changed_and_stands_alone(
    module_kafka: Kafka, database: Database, tmp_path: Path
) -> None:
    settings = settings_of(database, module_kafka, tmp_path / "objects")
    asyncio.run(log.make_topics(module_kafka.bootstrap, 1, fresh=False))
    store, _ = open_backend(settings.objects)
    names = [UUID(int=number) for number in range(4)]
    kept, changed, damaged, new = map(name_of, names)
    encrypted = "INSERT INTO files.blobs (sha256, size, stored_on, object) VALUES (%s, 3, now(), %s)"
    for number, name in enumerate(names[:3]):
        run(database, encrypted, bytes([number]) * 32, name)
        obstore.put(store, name_of(name), b"one")
    first = tmp_path / "first"
    # Well after the objects were stored: what is newer than the earlier backup is copied.
    making.make(first, settings, print, now=lambda: datetime.now(UTC) + timedelta(minutes=10))
    (first / "objects" / damaged).unlink()
    (first / "objects" / damaged).write_bytes(b"o")
    run(database, encrypted, bytes([3]) * 32, names[3])
    obstore.put(store, new, b"new")
    obstore.put(store, changed, b"other")
    with pytest.raises(BackupError, match="it is no backup"):
        making.make(tmp_path / "none", settings, print, after=tmp_path / "nowhere")
    said: list[str] = []
    second = tmp_path / "second"
    made = making.make(second, settings, said.append, after=first)
    assert said[-1] == "4 objects are copied, 14 bytes; 1 of them linked"
    assert (second / "objects" / kept).samefile(first / "objects" / kept)
    assert (second / "objects" / changed).read_bytes() == b"other"
    shutil.rmtree(first)
    assert opened(second) == made
    assert {each.name for each in second.iterdir()} == {*made.files, "manifest.json", "objects"}
    # Objects that were stored after an earlier backup began are copied, however alike they look.
    third = tmp_path / "third"
    making.make(third, settings, said.append, after=second)
    assert said[-1] == "4 objects are copied, 14 bytes; 0 of them linked"


def test_an_object_that_rows_name_and_that_is_not_there_is_told(
    module_kafka: Kafka, database: Database, tmp_path: Path
) -> None:
    settings = settings_of(database, module_kafka, tmp_path / "objects")
    asyncio.run(log.make_topics(module_kafka.bootstrap, 1, fresh=False))
    run(database, "INSERT INTO files.blobs (sha256, size, stored_on) VALUES (%s, 3, now())", HASH)
    encrypted = "INSERT INTO files.blobs (sha256, size, stored_on, object) VALUES (%s, 3, now(), %s)"
    run(database, encrypted, HASH[::-1], OBJECT)
    with pytest.raises(BackupError, match=r"2 objects .* are missing in the store: "):
        making.make(tmp_path / "one", settings, print)
    with pytest.raises(BackupError, match="it is no backup, or one that broke off"):
        opened(tmp_path / "one")
    store, _ = open_backend(settings.objects)
    obstore.put(store, plain_name(HASH), b"abc")
    with pytest.raises(BackupError, match=f"1 object .* is missing in the store: {name_of(OBJECT)}"):
        making.make(tmp_path / "still one", settings, print)
    obstore.put(store, name_of(OBJECT), b"abc")
    made = making.make(tmp_path / "two", settings, print)
    assert (made.objects, made.object_bytes) == (2, 6)
    copy = tmp_path / "two" / "objects" / name_of(OBJECT)
    copy.write_bytes(b"abd")
    with pytest.raises(BackupError, match="is not as it was backed up"):
        opened(tmp_path / "two")


async def test_what_is_to_be_removed_stays_while_a_backup_is_made(database: Database, tmp_path: Path) -> None:
    objects = ObjectStore.from_url((tmp_path / "objects").as_uri(), KEYS)
    stored = await objects.put(b"abc")
    assert stored.object is not None
    path = tmp_path / "objects" / name_of(stored.object)
    removed = (
        "INSERT INTO files.blobs (sha256, size, stored_on, removed_at, object)"
        " VALUES (%s, 3, now(), now(), %s)"
    )
    run(database, removed, stored.sha256, stored.object)
    pool = await open_pool(database.dsn_for("attacher"), size=2)
    try:
        blobs = Blobs(pool, objects, lambda: datetime.now(UTC))
        with dumped.connected(database.dsn) as connection:
            dumped.hold(connection)
            assert await blobs.sweep() == 0
            assert path.exists()
        # The server lets go of what a connection held soon after its end.
        async with asyncio.timeout(120):
            while not await blobs.sweep():  # noqa: ASYNC110 - the server is waited for
                await asyncio.sleep(0.05)
        assert not path.exists()
    finally:
        await pool.close()
