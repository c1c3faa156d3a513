"""Pages of lists: `limit`, `offset`, links to the neighbours and the length of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from sluice_gateway.models.base import Link, PageQuery

TOTAL_HEADER = "X-Total-Matching-Query"
Filters = Mapping[str, str | Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is wanted."""

    limit: int
    offset: int

    @classmethod
    def of(cls, query: PageQuery) -> Window:
        """Give the window a query asks for."""
        return cls(query.limit, query.offset)


def address(href: str, filters: Filters, window: Window) -> str:
    """Give the address of one page of a list at `href`."""
    kept: dict[str, str | Sequence[str]] = {key: value for key, value in filters.items() if value}
    query = urlencode({**kept, "offset": str(window.offset), "limit": str(window.limit)}, doseq=True)
    return f"{href}?{query}"


def links(href: str, filters: Filters, window: Window, total: int) -> list[Link]:
    """Give the links to the next and the previous page, as far as there are such."""
    found: list[Link] = []
    if window.limit and window.offset + window.limit < total:
        after = Window(window.limit, window.offset + window.limit)
        found.append(Link(rel="next", href=address(href, filters, after)))
    if window.limit and window.offset > 0:
        before = Window(window.limit, max(0, window.offset - window.limit))
        found.append(Link(rel="prev", href=address(href, filters, before)))
    return found
