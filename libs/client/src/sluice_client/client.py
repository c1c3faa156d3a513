"""The client: everything a portal does with Sluice, as typed calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sluice_client.access import AccessCalls
from sluice_client.audit import AuditCalls
from sluice_client.data_submissions import DataSubmissionCalls
from sluice_client.exporting import ExportingCalls
from sluice_client.files import FileCalls
from sluice_client.imports import ImportCalls
from sluice_client.measures import MeasureCalls
from sluice_client.models import Credentials, RateLimit, Registration, User
from sluice_client.oauth import EXPORT_SCOPES, IMPORT_SCOPES
from sluice_client.operating import OperatingCalls
from sluice_client.submissions import SubmissionCalls
from sluice_client.trials import TrialCalls
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
    SubmissionCalls,
    WebhookCalls,
    OperatingCalls,
    TrialCalls,
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

    async def remove_client(self, client: Credentials | Registration) -> None:
        """Have the service remove a client that was signed up; its tokens are void from then on.

        What the client owns stays, and is there for those only with whom it was shared.

        Raises
        ------
        ApiError
            It is not there, or its registration token is another.
        """
        await self.authority.remove(client)

    async def token(self) -> str:
        """Give a valid access token, for calls of your own."""
        return await self.tokens.get()

    async def user(self) -> User:
        """Give whom the token speaks for."""
        return await self.get("/v2/user", User)

    async def rate_limit(self) -> RateLimit:
        """Give what is left of the quota of bulk requests."""
        return (await self.get("/v2/rate_limit", _Rate)).rate
