"""A portal on the stack: what its clients see while operators do their work."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from containers import Stack

from sluice_client import Credentials
from sluice_client.sync import SluiceClient

API, ISSUER = "https://localhost:8443", "https://localhost:8444"
# The demo's FHIR server, which has as many documents of 20 KB below this as anybody asks for.
SOURCE = "https://demo-source:8445/r4/fhir"


def answer_of(stack: Stack, url: str) -> bytes:
    """Get something over TLS, as who trusts the stack's authority."""
    context = ssl.create_default_context(cafile=str(stack.secrets / "trusted_ca"))
    with urlopen(url, timeout=10, context=context) as answer:  # noqa: S310 - an address of the stack
        return bytes(answer.read())


def signing_keys(stack: Stack) -> set[str]:
    """Name the keys that access tokens may be signed with."""
    return {key["kid"] for key in json.loads(answer_of(stack, f"{ISSUER}/oauth/jwks"))["keys"]}


class Portal:
    """A client with a project, from sign-up on; what it imports is never imported twice."""

    def __init__(self, client: SluiceClient) -> None:
        self._client = client
        self._next = 0
        self.project = client.create_project("Operations").id

    def submit(self, count: int) -> list[str]:
        """Import so many further documents; gives the jobs, one for every hundred."""
        numbers = range(self._next, self._next + count)
        self._next += count
        documents = [f"{SOURCE}/DocumentReference/bench-{number:06d}" for number in numbers]
        return [job.id for job in self._client.import_documents(documents, project=self.project)]

    def attached(self, jobs: list[str], seconds: float = 300.0) -> int:
        """Wait for the jobs' ends, and say how many documents became files."""
        return sum(job.counts.attached for job in self._client.wait_all(jobs, timeout=seconds))

    def files(self) -> dict[str, str]:
        """Download all files; gives the SHA-256 of each by its name."""
        found = {}
        with TemporaryDirectory() as folder:
            for file in self._client.files(project=self.project):
                target = Path(folder) / file.id
                self._client.download(file.id, target)
                found[file.name] = hashlib.sha256(target.read_bytes()).hexdigest()
                target.unlink()
        return found


@contextmanager
def portal_on(stack: Stack) -> Iterator[Portal]:
    """Have a portal sign up, and an operator register the source, if the demo has not."""
    ca = stack.secrets / "trusted_ca"
    with SluiceClient(API, auth_url=ISSUER, ca=ca, credentials=operator_of(stack)) as operator:
        if SOURCE not in {source.base_url for source in operator.run(lambda it: it.sources())}:
            operator.run(lambda it: it.add_source("Generic R4 server", SOURCE))
    with SluiceClient(API, auth_url=ISSUER, ca=ca) as client:
        client.sign_up("operations")
        yield Portal(client)


def operator_of(stack: Stack) -> Credentials:
    """Give the operator's client."""
    client_id, _, secret = (stack.secrets / "operator").read_text().strip().partition(":")
    return Credentials(client_id=client_id, client_secret=secret)
