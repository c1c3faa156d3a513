"""docker-compose.yml runs every service there is, tells each what it asks for, and opens nothing more."""

from __future__ import annotations

import re
from itertools import takewhile

import pytest

from support.deployment import DEPLOY, ROOT, SERVICES, compose, services, settings_of, stage, targets, told

OURS = sorted(name for name, each in services().items() if "build" in each)
WORKERS = [name for name in SERVICES if "SLUICE_HEALTH" in services()[name]["environment"]]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_an_image_target_that_runs_it_and_a_health_check(service: str) -> None:
    assert services()[service]["build"]["target"] == service
    assert targets()[service] == "service"
    assert f"/environments/{service} " in stage(service)
    assert f'"sluice_{service}"' in stage(service)
    assert "sluice_telemetry.probe" in stage("service")


@pytest.mark.parametrize("service", OURS)
def test_every_target_that_is_built_exists(service: str) -> None:
    build = services()[service]["build"]
    assert build["target"] in targets()
    assert build["dockerfile"] == "deploy/Dockerfile"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_only_what_its_settings_know(service: str) -> None:
    known = {f"SLUICE_{name.upper()}" for each in settings_of(service) for name in each.model_fields}
    assert told(service).keys() <= known


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_what_its_settings_require_and_where_everything_is(service: str) -> None:
    fields = {
        f"SLUICE_{name.upper()}": field
        for each in settings_of(service)
        for name, field in each.model_fields.items()
    }
    required = {name for name, field in fields.items() if field.is_required()}
    # Their defaults are for one machine without containers.
    placed = {"SLUICE_KAFKA", "SLUICE_OBJECTS", "SLUICE_PUBLIC_URL", "SLUICE_ISSUER", "SLUICE_LISTEN"}
    assert (required | (placed & fields.keys())) <= told(service).keys()


@pytest.mark.parametrize("service", sorted(services()))
def test_a_secret_that_is_named_is_mounted_and_a_mounted_one_is_declared(service: str) -> None:
    each = services()[service]
    mounted = set(each.get("secrets", []))
    named = {
        value.removeprefix("/run/secrets/")
        for value in each.get("environment", {}).values()
        if value.startswith("/run/secrets/")
    }
    assert named <= mounted
    assert mounted <= compose()["secrets"].keys()


@pytest.mark.parametrize("service", sorted(services()))
def test_no_secret_is_in_an_environment(service: str) -> None:
    for name, value in services()[service].get("environment", {}).items():
        if any(
            word in name
            for word in ("SECRET", "PASSWORD", "SLUICE_POSTGRES", "SLUICE_OBJECTS", "OPERATOR", "KEYS")
        ):
            assert value.startswith("/run/secrets"), name


def test_what_works_in_bulk_gives_way_to_what_people_wait_for() -> None:
    # 1024 is Docker's weight; how nice a process is does not count between containers.
    weights = {name: services()[name].get("cpu_shares", 1024) for name in SERVICES}
    assert max(weights["exporter"], weights["puller"]) * 4 <= min(
        weights[name] for name in ("gateway", "auth", "status")
    )


def test_documents_that_were_begun_are_attached_before_others_begin() -> None:
    weights = {name: services()[name].get("cpu_shares", 1024) for name in SERVICES}
    assert max(weights["fetcher"], weights["scraper"]) < weights["attacher"]


def test_exporters_are_two_where_nobody_says_how_many() -> None:
    assert services()["exporter"]["deploy"]["replicas"] == 2


def test_the_roles_passwords_are_set_from_the_files_that_the_services_read() -> None:
    read = {
        value.removeprefix("/run/secrets/")
        for name, each in services().items()
        if name != "migrate"
        for value in each.get("environment", {}).values()
        if value.startswith("/run/secrets/postgres_")
    }
    assert read == {name for name in services()["migrate"]["secrets"] if name.startswith("postgres_")}


def test_the_script_makes_every_secret_and_no_image_holds_one() -> None:
    script = (DEPLOY / "secrets.sh").read_text()
    roles = script.split("for role in ")[1].split(";")[0].split()
    made = {f"postgres_{role}" for role in roles} | {
        line.split("keep ")[1].split()[0]
        for line in script.splitlines()
        if "keep " in line and "$1" not in line
    }
    assert compose()["secrets"].keys() <= made
    assert "deploy/secrets" in (ROOT / ".dockerignore").read_text().splitlines()
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("service", sorted(services()))
def test_everything_is_restricted(service: str) -> None:
    each = services()[service]
    assert each["cap_drop"] == ["ALL"]
    assert each["security_opt"] == ["no-new-privileges:true"]
    # Kafka's image writes its configuration when it starts.
    assert each.get("read_only") or service == "kafka"
    assert "privileged" not in each


@pytest.mark.parametrize("service", sorted(services()))
def test_everything_that_stays_has_limits(service: str) -> None:
    if services()[service]["restart"] != "no":
        assert services()[service]["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_stands_in_the_way_of_more_processes_of_a_service(service: str) -> None:
    each = services()[service]
    assert not {"container_name", "ports", "volumes", "hostname"} & each.keys()
    assert "SLUICE_INSTANCE" not in told(service)


def test_the_world_reaches_the_proxy_alone() -> None:
    published = {name: each["ports"] for name, each in services().items() if "ports" in each}
    loopback = {
        name for name, ports in published.items() if all(port.startswith("127.0.0.1:") for port in ports)
    }
    assert published.keys() - loopback == {"proxy"}


def test_what_calls_nobody_outside_has_no_way_out() -> None:
    assert compose()["networks"]["inside"] == {"internal": True}
    for name in ("status", "exporter", "expirer", "kafka", "postgres", "objects", "migrate", "topics"):
        assert services()[name]["networks"] == ["inside"], name


@pytest.mark.parametrize("service", WORKERS)
def test_workers_start_when_topics_and_tables_are_there(service: str) -> None:
    waits = services()[service]["depends_on"]
    done = {"condition": "service_completed_successfully"}
    assert (waits["topics"], waits["migrate"]) == (done, done)


def test_the_compose_file_takes_every_variable_that_operations_says_it_takes() -> None:
    text = (ROOT / "docs/operations.md").read_text().split("\n## In containers\n")[1]
    lines = takewhile(lambda line: not line.startswith("## "), text.splitlines())
    rows = [line.split("|")[1] for line in lines if line.startswith("| `")]
    said = set(re.findall(r"`([A-Z_]+)`", " ".join(rows)))
    assert said
    taken = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert said <= taken


def test_what_is_mounted_exists() -> None:
    for each in services().values():
        for volume in each.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
