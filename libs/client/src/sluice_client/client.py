"""The client: everything a portal does with Sluice, as typed calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sluice_client.access import AccessCalls
from sluice_client.api import step
from sluice_client.audit import AuditCalls
from sluice_client.data_submissions import DataSubmissionCalls
from sluice_client.exporting import ExportingCalls
from sluice_client.files import FileCalls
from sluice_client.imports import ImportCalls
from sluice_client.measures import MeasureCalls
from sluice_client.models import Checkup, Credentials, Page, RateLimit, Registration, Source, SourceHealth
from sluice_client.oauth import EXPORT_SCOPES, IMPORT_SCOPES
from sluice_client.webhooks import WebhookCalls


class _Rate(msgspec.Struct):
    rate: RateLimit


class SluiceClient(
    ImportCalls,
    FileCalls,
    ExportingCalls,
    AccessCalls,
    AuditCalls,
    MeasureCalls,
    DataSubmissionCalls,
    WebhookCalls,
):
    """Talks to one Sluice service; an asynchronous context manager.

    Requests that may pass are repeated with growing pauses, as long as the service asks for (`Retry-After`).
    Tokens are got and renewed by themselves.

    Parameters
    ----------
    url
        The gateway's address.
    auth_url
        The authorization server's address, if it is another.
    credentials
        A client's id and secret, or id and key. Without them only `sign_up` can be called.
    scopes
        What tokens are asked for; None: all that the client has.
    patience
        How long to go on trying.
    ca
        A file with certificates (PEM) to trust beside the system's and those that `SSL_CERT_FILE` names.

    Examples
    --------
    >>> async with SluiceClient("https://sluice.example", credentials=credentials) as sluice:
    ...     project = await sluice.create_project("Heart study")
    ...     references = ["https://fhir.example/r4/DocumentReference/1"]
    ...     jobs = await sluice.import_documents(references, project=project.id)
    ...     for job in await sluice.wait_all([job.id for job in jobs]):
    ...         print(job.counts.attached, "of", job.counts.total)
    """

    # -- who we are

    async def sign_up(
        self, name: str, *, scopes: Sequence[str] = IMPORT_SCOPES, initial_token: str | None = None
    ) -> Credentials:
        """Sign up as a client called `name` and use its credentials from now on.

        Keep what it returns: the secret is shown once.

        Raises
        ------
        ApiError
            Sign-up is refused; where it is not open, operators give an `initial_token`.
        """
        credentials = await self.authority.sign_up(name, scopes, initial_token)
        self.tokens.use(credentials)
        return credentials

    async def register_key(
        self,
        name: str,
        *,
        jwks: Mapping[str, Any] | None = None,
        jwks_uri: str | None = None,
        scopes: Sequence[str] = EXPORT_SCOPES,
        initial_token: str | None = None,
    ) -> Registration:
        """Sign up a client that proves itself with a key (SMART Backend Services).

        Parameters
        ----------
        jwks, jwks_uri
            Its public JWK Set, or the address where that is published; one of them.

        Raises
        ------
        ApiError
            Sign-up, a key or the address is refused.

        Examples
        --------
        >>> key = ClientKey.read(Path("key.json"))
        >>> made = await sluice.register_key("night export", jwks=key.public())
        >>> credentials = KeyCredentials(made.client_id, key)
        """
        return await self.authority.register_key(
            name, jwks=jwks, jwks_uri=jwks_uri, scopes=scopes, initial_token=initial_token
        )

    async def token(self) -> str:
        """Give a valid access token, for calls of your own."""
        return await self.tokens.get()

    async def rate_limit(self) -> RateLimit:
        """Give what is left of the quota of bulk requests."""
        return (await self.get("/v2/rate_limit", _Rate)).rate

    async def check_deployment(self) -> Checkup:
        """Have the gateway look the deployment over; needs the scope `ops/health`."""
        return await self.get("/v2/ops/health", Checkup)

    # -- sources (operators)

    async def sources(self) -> list[Source]:
        """List the FHIR servers that documents may be imported from; needs the scope `ops/sources`."""
        return (await self.get("/v2/fhir/sources", Page[Source])).items

    async def add_source(self, name: str, base_url: str, **settings: Any) -> Source:
        """Register a FHIR server; `settings` are further fields of the API's request, such as `auth`.

        Examples
        --------
        >>> auth = {"type": "bearer", "token": token}
        >>> await sluice.add_source("Ward 3", "https://fhir.example/r4", auth=auth)
        """
        body = {"name": name, "base_url": base_url, **settings}
        return await self.call("POST", "/v2/fhir/sources", Source, body=body)

    async def source_health(self, source: str) -> SourceHealth:
        """Tell how a source does; needs the scope `ops/sources`."""
        return await self.get(f"/v2/fhir/sources/{step(source)}/health", SourceHealth)

    async def remove_source(self, source: str) -> None:
        """Remove a source; items that are still to be read from it fail."""
        await self.send("DELETE", f"/v2/fhir/sources/{step(source)}")
