"""What services that read from sources are told, and what they make of a database that is away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, cast

import asyncpg
import pytest
from pydantic import ValidationError

from sluice_fhir.source_settings import SourceSettings
from sluice_fhir.source_store import SourceRegistry
from sluice_security.http_limits import HttpLimits
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import Unavailable, unavailable

SECRET = "5e" * 32


def test_without_settings_the_limits_are_those_of_the_client() -> None:
    assert SourceSettings(secret=SECRET).http_limits == HttpLimits()


def test_every_setting_of_sources_is_a_limit_of_its_own() -> None:
    settings = SourceSettings.model_fields
    elsewhere = {"source_networks", "source_depth"}
    names = [name for name in settings if name.startswith("source_") and name not in elsewhere]
    assert len(names) == 7
    given: dict[str, Any] = {name: 4 + place for place, name in enumerate(names)}
    limits = SourceSettings(secret=SECRET, **given).http_limits
    changed = {getattr(limits, each.name) for each in fields(HttpLimits)} & set(given.values())
    assert changed == set(given.values())


@pytest.mark.parametrize("text", ["", "5e" * 31, "not hex, not base64"])
def test_a_secret_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SourceSettings(secret=text)
    assert [error["loc"] for error in refused.value.errors()] == [("secret",)]


def test_a_secret_is_read_and_not_shown() -> None:
    settings = SourceSettings(secret=SECRET)
    assert settings.secrets == (bytes.fromhex(SECRET),)
    assert SECRET not in repr(settings)


class AwayPool:
    async def fetch(self, _statement: str) -> list[Any]:
        raise ConnectionRefusedError


@pytest.mark.parametrize(
    "look", [lambda registry: registry.get("one"), lambda registry: registry.match("https://h.example/r4")]
)
async def test_a_database_that_is_away_is_told_in_the_readers_words(
    look: Callable[[SourceRegistry], Any],
) -> None:
    pool = cast("asyncpg.Pool", AwayPool())
    with pytest.raises(ConnectionRefusedError):
        await look(SourceRegistry(pool, bytes(32)))
    registry = SourceRegistry(pool, bytes(32), reading=lambda: unavailable("postgres", TRANSIENT))
    with pytest.raises(Unavailable) as away:
        await look(registry)
    assert away.value.what == "postgres"


def test_other_errors_pass_through() -> None:
    with pytest.raises(LookupError), unavailable("postgres", TRANSIENT):
        raise LookupError
