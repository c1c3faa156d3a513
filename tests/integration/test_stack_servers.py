"""The embedded servers: they come up, keep what was acknowledged over a crash, and die with their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sluice_stack.kafka import Kafka
from sluice_stack.postgres import Postgres
from sluice_stack.processes import StackError
from support.stack import Database

_OWNER = """
import sys, time
from pathlib import Path
from sluice_stack.kafka import Kafka
from sluice_stack.postgres import Postgres
home = Path(sys.argv[1])
postgres, kafka = Postgres(home / "postgres"), Kafka(home / "kafka")
postgres.start()
kafka.start()
print(postgres.process.pid, kafka.process.pid, flush=True)
time.sleep(600)
"""


async def _create(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()


async def _produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait(topic, value)
    await producer.stop()


async def _first(bootstrap: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    record = await consumer.getone()
    await consumer.stop()
    value: bytes = record.value
    return value


async def test_an_acknowledged_record_survives_the_brokers_crash(
    mortal_kafka: Kafka, unique: Callable[[str], str]
) -> None:
    topic = unique("crash")
    await _create(mortal_kafka.bootstrap, topic)
    await _produce(mortal_kafka.bootstrap, topic, b"kept")

    mortal_kafka.kill()
    mortal_kafka.start()

    assert await _first(mortal_kafka.bootstrap, topic) == b"kept"


def test_a_committed_row_survives_the_servers_crash(module_postgres: Postgres) -> None:
    with psycopg.connect(module_postgres.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")

    module_postgres.kill()
    module_postgres.start()

    with psycopg.connect(module_postgres.dsn()) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_a_crash_leaves_no_process_of_the_server(module_postgres: Postgres) -> None:
    family = psutil.Process(module_postgres.process.pid).children(recursive=True)
    assert family

    module_postgres.kill()

    assert not [process for process in family if process.is_running()]
    module_postgres.start()


def test_each_database_is_migrated_and_its_own(database: Database) -> None:
    with psycopg.connect(database.dsn_for("fetcher")) as connection:
        assert connection.execute("SELECT count(*) FROM documents.jobs").fetchone() == (0,)


def test_a_service_writes_only_its_own_schema(database: Database) -> None:
    with (
        psycopg.connect(database.dsn_for("gateway")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("DELETE FROM documents.jobs")


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path, kafka: str) -> None:
    port = int(kafka.rpartition(":")[2])
    with pytest.raises(StackError, match=f"^port {port} is in use, and Kafka needs it"):
        Kafka(tmp_path, port).start()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise exists on Linux only")
def test_servers_die_with_a_killed_owner(scratch: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(scratch)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    processes = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
    assert len(processes) == 2
    processes += processes[0].children()

    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()

    gone, alive = psutil.wait_procs(processes, timeout=120)
    assert not alive
    assert len(gone) == len(processes)
