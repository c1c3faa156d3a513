"""What a client finds out by itself: the CapabilityStatement and the SMART configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from sluice_gateway.fhir.capabilities import capability_statement
from sluice_gateway.fhir.outcomes import BASE
from sluice_gateway.problems import unavailable
from sluice_gateway.settings import Settings

log = structlog.get_logger(__name__)

SmartSource = Callable[[], Awaitable[dict[str, Any]]]
"""Gives the authorization server's SMART configuration. Any exception means: not now."""

_FRESH_SECONDS = 3600.0
_PAUSE_SECONDS = 5.0


class Discovery:
    """Both documents, as bytes.

    The SMART configuration is the authorization server's own: asked for once an hour, and told as it was
    while that server is away.

    Parameters
    ----------
    smart
        Gives the authorization server's.
    settings
        Name the addresses.
    now
        Unix seconds.
    """

    def __init__(self, smart: SmartSource, settings: Settings, *, now: Callable[[], float]) -> None:
        self._smart = smart
        self._now = now
        self._known: bytes | None = None
        self._known_at = self._tried_at = float("-inf")
        self._asking = asyncio.Lock()
        statement = capability_statement(
            settings.public_url + BASE, settings.issuer, datetime.fromtimestamp(now(), UTC)
        )
        self.capabilities = msgspec.json.encode(statement)

    async def smart_configuration(self) -> bytes:
        """Give the document of SMART App Launch 2.2, "Conformance"; Problem 503 if it was never to be had."""
        async with self._asking:
            now = self._now()
            if now - self._known_at > _FRESH_SECONDS and now - self._tried_at > _PAUSE_SECONDS:
                self._tried_at = now
                await self._ask(now)
        if self._known is None:
            raise unavailable("the authorization server")
        return self._known

    async def _ask(self, now: float) -> None:
        try:
            found = await self._smart()
        except Exception as error:  # whatever is wrong with it, it does not answer
            log.warning("the authorization server's metadata cannot be had", error=type(error).__name__)
            return
        self._known = msgspec.json.encode(found)
        self._known_at = now
