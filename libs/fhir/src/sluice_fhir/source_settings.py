"""The settings of services that read from sources."""

from __future__ import annotations

from pydantic import Field

from sluice_security.guard import Network, read_networks
from sluice_security.http_limits import HttpLimits
from sluice_security.settings import NetworkNames, SecretSettings


class SourceSettings(SecretSettings):
    """What a service is told that opens sources' credentials and calls sources (prefix `SLUICE_`).

    Parameters
    ----------
    loopback_sources
        Let registered sources be http and on this machine (development).
    source_networks
        Networks that are not public and that sources may be in all the same, such as a hospital's own:
        `10.20.0.0/16`, several separated by spaces. Nothing else of a source's rules is eased.
    source_connect, source_answer, source_idle
        Seconds to a connection, to an answer's headers, and of silence within a body.
    source_rate, source_rate_window
        The slowest a body may come: bytes per second over so many seconds.
    source_ratio
        How much a body may grow when decompressed.
    source_depth
        How deep the JSON of a document, of what it refers to and of a manifest may nest.
    source_redirects
        How many redirects of one request are followed, each within what is allowed.
    """

    loopback_sources: bool = False
    source_networks: NetworkNames = ""
    source_connect: float = Field(default=10.0, gt=0)
    source_answer: float = Field(default=60.0, gt=0)
    source_idle: float = Field(default=60.0, gt=0)
    source_rate: float = Field(default=1000.0, ge=0)
    source_rate_window: float = Field(default=60.0, gt=0)
    source_ratio: float = Field(default=100.0, ge=1)
    source_depth: int = Field(default=64, ge=1, le=500)
    source_redirects: int = Field(default=3, ge=0, le=20)

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that sources may be in although they are not public."""
        return read_networks(self.source_networks)

    @property
    def http_limits(self) -> HttpLimits:
        """The limits of outgoing HTTP."""
        return HttpLimits(
            connect=self.source_connect,
            answer=self.source_answer,
            read_idle=self.source_idle,
            rate=self.source_rate,
            rate_window=self.source_rate_window,
            ratio=self.source_ratio,
            redirects=self.source_redirects,
        )
