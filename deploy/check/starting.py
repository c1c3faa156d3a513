"""The stack is started, is confined as it should be, and the demo runs on it."""

from __future__ import annotations

import re
import subprocess
from urllib.error import HTTPError

from containers import CHECKOUT, FETCHERS, SERVICES, Stack, require
from portal import API, ISSUER, answer_of

_HANDLED = re.compile(r'^sluice_messages_handled_total{.*topic="document.fetch".*} (\S+)$', re.MULTILINE)
_ASK_METRICS = (
    "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8100/metrics').read().decode())"
)
# Postgres tells an option's value by its first name.
_SHOWN_AS = {("wal_compression", "on"): "pglz"}


def stores(stack: Stack) -> str:
    """Start the stores, have the schema and the topics made, and what watches."""
    stack.start_stores()
    stack.compose("up", "-d", "--no-deps", "prometheus", "collector", "traces")
    stack.healthy("prometheus")
    return "Kafka, Postgres and the object store answer; schema and topics are made"


def postgres_settings(stack: Stack) -> str:
    """See that Postgres runs with the settings that the compose file gives it."""
    text = (CHECKOUT / "docker-compose.yml").read_text()
    said = dict(re.findall(r"^ {6}- ([a-z_]+)=(\S+)$", text, re.MULTILINE))
    require("shared_buffers" in said, "the compose file's settings were not found")
    for name, value in said.items():
        shown = stack.sql(f"SHOW {name}")
        require(shown == _SHOWN_AS.get((name, value), value), f"Postgres has {name}={shown}, not {value}")
    return f"as in the compose file: {', '.join(sorted(said))}"


def services(stack: Stack) -> str:
    """Start the services, one of them several times, and what is around them."""
    stack.start_services()
    count = len(stack.containers("fetcher"))
    require(count == FETCHERS, f"there are {count} fetchers")
    return f"{len(SERVICES)} services are healthy, with {FETCHERS} fetchers"


def confinement(stack: Stack) -> str:
    """See that services may do nothing but their work, and what the proxy serves."""
    for service in SERVICES:
        require(stack.inside(service, "id", "-u").strip() != "0", f"{service} runs as root")
        writes = stack.inside(service, "sh", "-c", "touch /opt/sluice/x 2> /dev/null && echo written || true")
        require(not writes, f"{service} can write its image")
        capabilities = stack.inside(service, "awk", "/CapEff/ {print $2}", "/proc/self/status")
        require(not int(capabilities, 16), f"{service} has capabilities")
    for version, speaks in (("1.0", False), ("1.1", False), ("1.2", True), ("1.3", True)):
        require(_speaks(stack, version) == speaks, f"the proxy and TLS {version}: not as it should be")
    require(answer_of(stack, f"{API}/fhir/metadata"), "the API does not answer")
    require(answer_of(stack, f"{ISSUER}/oauth/jwks"), "the authorization server does not answer")
    for hidden in ("metrics", "readyz", "livez"):
        try:
            answer_of(stack, f"{API}/{hidden}")
        except HTTPError as error:
            require(error.code == 404, f"/{hidden} is answered with {error.code}")
        else:
            require(False, f"/{hidden} is served to the world")
    return "non-root, read-only, without capabilities; TLS 1.2 and 1.3 only; metrics and health stay inside"


def _speaks(stack: Stack, version: str) -> bool:
    curl = ["curl", "-s", "-o", "/dev/null", "--cacert", str(stack.secrets / "trusted_ca")]
    only = [f"--tlsv{version}", "--tls-max", version]
    # So that this machine's own reluctance is not taken for the proxy's.
    old = ["--ciphers", "DEFAULT@SECLEVEL=0"] if version < "1.2" else []
    return subprocess.run([*curl, *only, *old, f"{API}/fhir/metadata"], check=False).returncode == 0  # noqa: S603


def demo(stack: Stack) -> str:
    """Run the demo: documents and FHIR data are imported, and exported."""
    print(stack.once("demo"))
    return "documents and FHIR data were imported, and exported"


def observed(stack: Stack) -> str:
    """See that Prometheus and the store of traces have seen the demo."""
    prometheus, traces = (
        stack.podman(
            "inspect",
            "--format",
            "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
            *stack.containers(name),
        ).split()[0]
        for name in ("prometheus", "traces")
    )
    return stack.host(
        "deploy/check/observed.py",
        f"--prometheus=http://{prometheus}:9090",
        f"--traces=http://{traces}:16686",
    ).strip()


def scaled(stack: Stack) -> str:
    """See that all processes of the service that was scaled had their share of the work."""
    shares = []
    for container in stack.containers("fetcher"):
        metrics = stack.podman("exec", container, "python", "-c", _ASK_METRICS)
        shares.append(sum(map(float, _HANDLED.findall(metrics))))
    require(len(shares) == FETCHERS and all(shares), f"not every fetcher did something: {shares}")
    return f"the fetchers did {', '.join(f'{share:.0f}' for share in shares)} commands"
