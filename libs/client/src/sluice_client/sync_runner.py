"""Waiting for the calls of the asynchronous client, in a program without asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sluice_client import client as asynchronous
from sluice_client.errors import SluiceError
from sluice_client.oauth import AnyCredentials
from sluice_client.transport import Patience

T = TypeVar("T")


class Runner:
    """A context manager that has an asynchronous client and a loop of its own."""

    def __init__(
        self,
        url: str,
        *,
        auth_url: str | None = None,
        credentials: AnyCredentials | None = None,
        scopes: Sequence[str] | None = None,
        patience: Patience | None = None,
        ca: Path | None = None,
    ) -> None:
        self._client = asynchronous.SluiceClient(
            url, auth_url=auth_url, credentials=credentials, scopes=scopes, patience=patience, ca=ca
        )
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        runner = asyncio.Runner()
        try:
            runner.run(self._client.__aenter__())
        except BaseException:
            runner.close()
            raise
        self._runner = runner
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            try:
                self._runner.run(self._client.__aexit__(kind, error, trace))
            finally:
                self._runner.close()
                self._runner = None

    def run(self, call: Callable[[asynchronous.SluiceClient], Coroutine[Any, Any, T]]) -> T:
        """Do anything with the asynchronous client and wait for it.

        Examples
        --------
        >>> sluice.run(lambda client: client.add_source("Ward 3", "https://fhir.example/r4"))
        """
        if self._runner is None:
            raise SluiceError("The client is not open.", "Use it in `with`.")
        return self._runner.run(call(self._client))

    def gathered(self, call: Callable[[asynchronous.SluiceClient], AsyncIterator[T]]) -> list[T]:
        """Go through something to its end, and give all of it."""

        async def all_of(client: asynchronous.SluiceClient) -> list[T]:
            return [each async for each in call(client)]

        return self.run(all_of)
