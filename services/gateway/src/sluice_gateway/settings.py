"""Settings of the gateway, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from sluice_security.guard import Network, read_networks
from sluice_security.settings import NetworkNames, SecretSettings, TlsSettings
from sluice_storage.encryption.settings import MasterKeySettings

_PLACE = r"[a-z0-9-]+=https?://[^,=\s]+"


class Settings(SecretSettings, TlsSettings, MasterKeySettings):
    """What the gateway is told, beside the secret, the master keys and its certificate.

    Parameters
    ----------
    kafka
        `host:port`, several separated by commas.
    postgres
        `postgresql://` URL of the role `sluice_gateway`.
    objects
        URL of the object store.
    listen
        `host:port` to serve on; port 0 takes a free one.
    public_url
        The outside URL of this API, which addresses in answers begin with. Also the audience of its tokens.
    issuer
        The authorization server's outside URL, as tokens name it.
    issuer_url
        Where its keys are read, if not at `issuer`.
    loopback_sources
        Let sources be http and on this machine (development).
    source_networks
        Networks that are not public and that sources may be in all the same; see `SourceSettings`.
    scrape_schemas
        Folder of scrape schemas; none: those in the package.
    body_limit
        The most bytes of a request's body. A job is one Kafka record, which has a limit of its own.
    bundle_limit
        The most bytes of a Bundle that is stored, or of data that is submitted: it is held in memory.
    bulk_limit
        Bulk requests that a client may make in five minutes.
    pool
        The most connections to Postgres.
    export_running
        How many exports of one client and subject may run at once.
    export_refuse_duplicates
        Refuse an export that asks for the same as one that its owner has not deleted.
    export_retry_after
        The most seconds that a client is asked to wait between two polls of an export.
    export_retry_after_milliseconds
        Write `Retry-After` of a running export in milliseconds, for clients that were made for such servers.
    export_early_polls
        How many polls in a row that come too early are answered all the same, of an export or bulk import.
    import_retry_after
        The most seconds that a client is asked to wait between two polls of a bulk import.
    insight
        Where insight answers; without it nobody is told when jobs will end.
    webhook_hours
        How long a webhook's ping, or what is delivered again, is tried; as for the service that delivers.
    services
        Where other services answer health checks, as `name=http://host:port`, several separated by commas;
        operators who check the deployment are told what these say.
    trusted_proxies
        How many proxies stand in front and append to `X-Forwarded-For` where a request came from.
    import_relative_location
        Give a bulk import's `Content-Location` without scheme and host, for clients that expect it so.
    """

    kafka: str = Field(default="127.0.0.1:9092", min_length=1)
    postgres: str = Field(min_length=1)
    objects: str = "file:///var/lib/sluice/objects"
    listen: str = Field(default="127.0.0.1:8080", pattern=r"^.*:\d{1,5}$")
    public_url: str = Field(default="http://127.0.0.1:8080", pattern=r"^https?://\S+$")
    issuer: str = Field(default="http://127.0.0.1:8081", pattern=r"^https?://\S+$")
    issuer_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    loopback_sources: bool = False
    source_networks: NetworkNames = ""
    scrape_schemas: Path | None = None
    body_limit: int = Field(default=2_000_000, ge=1024, le=4_000_000)
    bundle_limit: int = Field(default=32_000_000, ge=1024, le=256_000_000)
    bulk_limit: int = Field(default=1000, ge=1)
    pool: int = Field(default=8, ge=2, le=100)
    export_running: int = Field(default=10, ge=1)
    export_refuse_duplicates: bool = False
    export_retry_after: int = Field(default=30, ge=1, le=3600)
    export_retry_after_milliseconds: bool = False
    export_early_polls: int = Field(default=10, ge=0)
    import_retry_after: int = Field(default=120, ge=1, le=3600)
    import_relative_location: bool = False
    trusted_proxies: int = Field(default=0, ge=0, le=8)
    insight: str | None = Field(default=None, pattern=r"^https?://\S+$")

    webhook_hours: float = Field(default=24.0, gt=0)
    services: str = Field(default="", pattern=rf"^$|^{_PLACE}(,\s*{_PLACE})*$")

    @field_validator("public_url", "issuer", "issuer_url", "insight")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        # Tokens name both exactly, without a slash at the end.
        return value.rstrip("/") if value is not None else None

    @property
    def services_by_name(self) -> dict[str, str]:
        """Where other services answer health checks."""
        named = (each.strip().split("=", 1) for each in self.services.split(",") if each)
        return {name: url.rstrip("/") for name, url in named}

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that sources may be in although they are not public."""
        return read_networks(self.source_networks)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - an empty host means every address
