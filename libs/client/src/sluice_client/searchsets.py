"""Going through FHIR searches, page by page (R4, "Search", section "Paging")."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from msgspec import Raw, Struct

from sluice_client.api import Api, decoded

PER_PAGE = 100
Resource = TypeVar("Resource", bound=Struct)


class _Link(Struct):
    relation: str
    url: str


class _Entry(Struct):
    resource: Raw


class _Page(Struct):
    entry: list[_Entry] = []
    link: list[_Link] = []


async def found(api: Api, path: str, resource: type[Resource]) -> AsyncIterator[Resource]:
    """Give what a search finds, each as a `resource`, from its first page at `path` to the last."""
    following: str | None = path
    while following is not None:
        page = await api.get(following, _Page)
        for each in page.entry:
            yield decoded(each.resource, resource)
        following = next((link.url for link in page.link if link.relation == "next"), None)
