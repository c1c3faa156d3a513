"""Fixtures of bulk imports over HTTP: a real database, a real source, our services.

A module that says `pytest_plugins = ["support.pulling_http"]` has them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.gateway_real import RealSite, real_gateway
from support.pulling import PullSite, pull_site
from support.stack import Database
from support.submitting import Provider

EARLY = 10_000
"""Tests poll as often as they like."""


@pytest.fixture
async def pull(database: Database) -> AsyncIterator[PullSite]:
    """A source, and what a puller touches."""
    async with pull_site(database) as found:
        yield found


@pytest.fixture
async def site(database: Database, pull: PullSite) -> AsyncIterator[RealSite]:
    """A gateway whose commands that puller carries out."""
    async with real_gateway(database, producer=pull.broker.producer(), export_early_polls=EARLY) as found:
        yield found


@pytest.fixture
def provider(site: RealSite, pull: PullSite) -> Provider:
    """A submitter of that source's data."""
    return Provider(site, pull)
