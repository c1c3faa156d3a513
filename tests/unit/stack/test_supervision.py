"""The supervisor's rules: what died is started again, with growing pauses, and each is said in one line."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from sluice_stack import layout
from sluice_stack.home import Addresses, Home
from sluice_stack.layout import WORKERS, Layout, Ports
from sluice_stack.processes import Process, StackError, _claimed, free_port
from sluice_stack.up import parse_scale
from sluice_stack.watch import Watched


@pytest.fixture
def kept_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class Dying:
    """Something that dies whenever it is told to; it counts its starts."""

    def __init__(self) -> None:
        self.starts = 0
        self.refuses = False
        self.process = SimpleNamespace(running=False, exit_code=-9, log=Path("dying.log"))

    def launch(self) -> None:
        if self.refuses:
            raise StackError("port 1 is in use")
        self.starts += 1
        self.process.running = True


def _watched(dying: Dying) -> tuple[Watched, list[str]]:
    said: list[str] = []
    watched = Watched("dying", dying, dying.launch, said.append)  # type: ignore[arg-type]
    watched.start(0.0)
    return watched, said


def test_what_died_is_started_again_after_a_pause() -> None:
    dying = Dying()
    watched, said = _watched(dying)
    dying.process.running = False

    watched.poll(10.0)
    watched.poll(10.4)
    assert dying.starts == 1
    watched.poll(10.5)

    assert dying.starts == 2
    assert said == ["dying was killed by SIGKILL (log: dying.log); starting it again in 0.5 s"]


def test_pauses_grow_while_it_keeps_dying_and_are_short_again_once_it_lives() -> None:
    dying = Dying()
    watched, said = _watched(dying)
    now = 0.0
    for _ in range(8):
        dying.process.running = False
        watched.poll(now)
        now += 100.0
        watched.poll(now)
    pauses = [float(line.rsplit(" ", 2)[1]) for line in said]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]

    watched.poll(now + 61.0)
    dying.process.running = False
    watched.poll(now + 62.0)
    assert said[-1].endswith("in 0.5 s")


def test_a_start_that_fails_is_said_and_tried_again() -> None:
    dying = Dying()
    watched, said = _watched(dying)
    dying.process.running, dying.refuses = False, True
    watched.poll(1.0)
    watched.poll(2.0)
    assert said[-1] == "dying cannot be started: port 1 is in use; starting it again in 1 s"

    dying.refuses = False
    watched.poll(4.0)
    assert dying.starts == 2


def test_a_process_is_stopped_for_certain(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    process = Process("stubborn", [sys.executable, "-c", f"{stubborn}; time.sleep(60)"], tmp_path / "log")
    process.start()
    while "deaf" not in process.last_words():
        time.sleep(0.01)
    process.stop(0.1)
    assert process.exit_code == -9


def test_a_process_that_ended_tells_its_code_and_last_words(tmp_path: Path) -> None:
    process = Process("failing", [sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path / "log")
    process.start()
    assert process.wait(120)
    assert (process.exit_code, process.last_words()) == (1, "no such luck")


def test_secrets_are_made_once_and_are_the_owners_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = home.secrets()
    assert Home(tmp_path / "home").secrets() == first
    assert home.secrets_file.stat().st_mode & 0o777 == 0o600


def test_a_stack_of_an_earlier_version_keeps_its_secrets_and_gets_the_new_ones(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = msgspec.to_builtins(home.secrets())
    old = {name: value for name, value in first.items() if name != "demo_password"}
    home.secrets_file.write_bytes(msgspec.json.encode(old))
    kept = home.secrets()
    assert msgspec.to_builtins(kept) == {**first, "demo_password": kept.demo_password}
    assert kept.demo_password not in ("", first["demo_password"])
    assert home.secrets() == kept
    assert home.secrets_file.stat().st_mode & 0o777 == 0o600


def test_a_second_stack_in_one_home_is_refused_in_one_line(tmp_path: Path) -> None:
    addresses = Addresses(supervisor=7, gateway="http://127.0.0.1:1", auth="", kafka="", postgres="")
    with Home(tmp_path) as home:
        home.announce(addresses)
        with pytest.raises(
            StackError, match=r"^a stack runs already in .*: process 7, http://127\.0\.0\.1:1$"
        ):
            Home(tmp_path).__enter__()
        assert Home(tmp_path).running() == addresses
    assert Home(tmp_path).running() is None


def test_a_port_in_use_is_said_with_the_option_that_changes_it(kept_port: int) -> None:
    with pytest.raises(
        StackError, match=f"^port {kept_port} is in use, and auth needs it: .*SLUICE_AUTH_PORT$"
    ):
        Ports(free_port(), kept_port, free_port(), 0, free_port(), free_port()).check()


def test_ports_come_from_the_environment_where_it_names_them() -> None:
    assert Ports.from_environment({"SLUICE_AUTH_PORT": "18081"}) == Ports(auth=18081)
    with pytest.raises(StackError, match=r"^SLUICE_KAFKA_PORT must be a port, not 'x'$"):
        Ports.from_environment({"SLUICE_KAFKA_PORT": "x"})


@pytest.fixture
def _nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan as if the usual ports were free: a stack may be running on this machine."""
    monkeypatch.setattr(layout, "port_taken", lambda _port: False)


@pytest.mark.usefixtures("_nothing_listens")
def test_each_process_has_a_port_and_a_log_of_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    planned = Layout(home, Ports(), {"fetcher": 3, "attacher": 2}, source=True)
    plans = list(
        planned.plans("kafka:1", dict.fromkeys((*WORKERS, "auth", "gateway"), "dsn"), home.secrets())
    )
    assert len({plan.ready for plan in plans}) == len({plan.log for plan in plans}) == len(plans) == 15


@pytest.mark.usefixtures("_nothing_listens")
def test_only_the_authorization_server_is_told_the_operators_secret(tmp_path: Path) -> None:
    home = Home(tmp_path)
    secrets = home.secrets()
    plans = Layout(home).plans("kafka:1", dict.fromkeys((*WORKERS, "auth", "gateway"), "dsn"), secrets)
    environments = {plan.name: str(plan.environment) for plan in plans}
    for secret in (secrets.operator_secret, secrets.demo_password, secrets.operator_password):
        assert [name for name, environment in environments.items() if secret in environment] == ["auth"]


@pytest.mark.parametrize("value", ["fetcher", "fetcher=", "fetcher=-1", "=2x"])
def test_a_scale_that_makes_no_sense_is_refused(value: str) -> None:
    with pytest.raises(StackError, match="--scale takes SERVICE=N"):
        parse_scale([value])


@pytest.mark.parametrize("scale", [{"gateway": 2}, {"insight": 2}, {"fetcher": 0}, {"nobody": 1}])
def test_a_scale_that_cannot_be_had_is_refused(tmp_path: Path, scale: dict[str, int]) -> None:
    with pytest.raises(StackError):
        Layout(Home(tmp_path), scale=scale)


def test_nobody_is_given_a_port_that_another_was_given_and_has_yet_to_listen_on() -> None:
    given = [free_port() for _ in range(2000)]
    assert len(set(given)) == len(given)


def test_nor_one_that_another_process_was_given() -> None:
    asking = "from sluice_stack.processes import free_port; print(free_port(), flush=True); input()"
    command, pipe = [sys.executable, "-c", asking], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert not _claimed(port)
        other.communicate("\n")
    assert _claimed(port)
