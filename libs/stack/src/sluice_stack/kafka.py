"""Embedded Kafka: one Apache Kafka broker and controller (KRaft) in a process of its own."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from aiokafka.client import AIOKafkaClient

from sluice_stack import jars
from sluice_stack.apart import run_apart
from sluice_stack.processes import Process, StackError, answers, free_port, port_taken, wait_until

_JVM = (
    "-Xms128m",
    "-Xmx512m",
    # One small heap on few cores: the serial collector and the first compiler start fastest and take least.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENT://127.0.0.1:{client}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs={data}
# There is one broker, so one copy of everything.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# Topics are created by an explicit step.
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A broker that crashed is let in again only when its old session is over; one that a busy machine kept from
# saying that it is there for as long is as if it were away.
broker.session.timeout.ms={session}
broker.heartbeat.interval.ms=1000
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.io.buffer.size=131072
"""


_LOGGING = """\
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %m (%c{1})%n
logger.kafka.name=org.apache.kafka.clients
logger.kafka.level=WARN
"""


class Kafka:
    """A broker with its data in a folder.

    Parameters
    ----------
    home
        The folder that holds its data, configuration and log; made if it is not there.
    port
        The loopback port for clients; 0 picks a free one, which then stays the same over restarts.
    session
        Seconds for which it may be silent to its own controller.
    """

    def __init__(self, home: Path, port: int = 0, *, session: float = 5.0) -> None:
        self._home = home.resolve()
        self.port = port or free_port()
        self._session = session
        self._config = self._home / "server.properties"
        self._process: Process | None = None

    @property
    def bootstrap(self) -> str:
        """What clients connect to: `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def process(self) -> Process:
        """The broker's process."""
        if self._process is None:
            raise StackError("Kafka was never started")
        return self._process

    def start(self, wait: float = 180.0) -> None:
        """Start the broker and wait until it answers.

        Raises
        ------
        StackError
            The port is taken, or the broker did not come up.
        JarError
            Its jars cannot be had.
        """
        self.launch()
        self.wait(wait)

    def launch(self) -> None:
        """Start the broker, formatting its data folder the first time, and do not wait for it.

        Raises
        ------
        StackError
            The port is taken, or the data folder cannot be formatted.
        JarError
            Its jars cannot be had.
        """
        if port_taken(self.port):
            raise StackError(f"port {self.port} is in use, and Kafka needs it: choose another")
        program = jars.load("kafka")
        self._configure()
        jvm = (*_JVM, f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}")
        if not (self._home / "data" / "meta.properties").exists():
            self._format(program.command("format", *self._format_arguments(), jvm=jvm))
        command = program.command("broker", str(self._config), jvm=jvm)
        self._process = Process("Kafka", command, self._home / "kafka.log")
        self._process.start()

    def wait(self, seconds: float = 180.0) -> None:
        """Wait until the broker answers.

        Raises
        ------
        StackError
            It ended, or took longer.
        """
        wait_until(self.ready, self.process, seconds)

    def ready(self) -> bool:
        """Say whether the broker serves clients."""
        if not answers("127.0.0.1", self.port):
            return False
        return run_apart(self._has_brokers())

    async def _has_brokers(self) -> bool:
        client = AIOKafkaClient(bootstrap_servers=self.bootstrap, request_timeout_ms=2000)
        try:
            # It listens before it has joined its own cluster; only then it can be written to.
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except Exception:
            return False
        finally:
            await client.close()

    def stop(self, wait: float = 15.0) -> None:
        """Stop the broker, in order if it does so within `wait` seconds."""
        if self._process is not None:
            self._process.stop(wait)

    def kill(self) -> None:
        """End the broker as a crash would."""
        self.process.kill()

    def _configure(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        text = _PROPERTIES.format(
            client=self.port,
            controller=free_port(),
            data=self._home / "data",
            session=round(self._session * 1000),
        )
        self._config.write_text(text)
        (self._home / "log4j2.properties").write_text(_LOGGING)

    def _format_arguments(self) -> tuple[str, ...]:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # One word, because an id that begins with a dash would be taken for an option.
        return ("format", f"--cluster-id={cluster}", "--config", str(self._config), "--ignore-formatted")

    def _format(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise StackError(
                f"Kafka's data folder could not be formatted: {said[0] if said else 'no reason given'}"
            )
