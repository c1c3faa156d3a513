"""Server-sent events, read as they come (HTML Standard, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable

from msgspec import Struct


class ServerEvent(Struct, frozen=True):
    """One event; `id` is empty if it has none, `data` are its lines of data."""

    type: str
    id: str
    data: str


async def server_events(pieces: AsyncIterable[bytes]) -> AsyncGenerator[ServerEvent]:
    """Give the events of a stream, cut anywhere into pieces; comments, and what breaks off, are left out."""
    held = b""
    fields: list[tuple[str, str]] = []
    async for piece in pieces:
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            text = line.removesuffix(b"\r").decode(errors="replace")
            if text:
                name, _, value = text.partition(":")
                fields.append((name, value.removeprefix(" ")))
                continue
            if event := _event(fields):
                yield event
            fields = []


def _event(fields: list[tuple[str, str]]) -> ServerEvent | None:
    data = [value for name, value in fields if name == "data"]
    if not data:
        return None
    given = dict(fields)
    return ServerEvent(given.get("event") or "message", given.get("id", ""), "\n".join(data))
