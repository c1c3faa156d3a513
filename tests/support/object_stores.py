"""The kinds of object stores that a suite is held to: a folder, memory, and S3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.s3_fake import fake_s3

KINDS = ("folder", "memory", "s3")


@asynccontextmanager
async def store_address(kind: str, folder: Path) -> AsyncIterator[str]:
    """Give the address of an empty store of the kind; a folder or an S3 may be opened by it again."""
    if kind == "folder":
        yield f"file://{folder}/objects%20here"
    elif kind == "memory":
        yield "memory:///"
    else:
        async with fake_s3() as (fake, endpoint):
            yield f"s3://test:test@bucket/some/prefix?endpoint={endpoint}&region=us-east-1"
            assert fake.uploads == {}
