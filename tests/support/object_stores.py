"""The kinds of object stores that a suite is held to: a folder, memory, and S3; and master keys for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sluice_storage.encryption.keys import MasterKeys
from support.s3_fake import fake_s3

MASTER_KEYS = "6d61737465722d6b65792d6f662d7468652d74657374732d616c6f6e652d2d2d"
KEYS = MasterKeys.read(MASTER_KEYS)
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
