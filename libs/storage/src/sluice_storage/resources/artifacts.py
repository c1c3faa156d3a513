"""Looking up Measures, Libraries and ValueSets by what others call them: canonical URL, or type and id.

What a measure needs depends on many artifacts. So a look-up gives a `Stamp`, which is cheap and says whether
the same would be found as before; the body, which may be megabytes, is read by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import asyncpg
import msgspec
from msgspec import Struct

from sluice_storage.resources.tables import table_of

KINDS = ("Measure", "Library", "ValueSet")
"""The types that can be looked up by canonical URL."""


class Name(Struct, frozen=True):
    """What an artifact is called.

    `id` is its id; or else `url` is its canonical URL and `version` its business version, None: the newest.
    """

    kind: str
    id: str | None = None
    url: str | None = None
    version: str | None = None


class Stamp(Struct, frozen=True):
    """One state of a resource: its type, its id and the version that the store gave it."""

    type: str
    id: str
    version: int


class Artifacts:
    """Artifacts as they are now.

    Parameters
    ----------
    pool
        Connections of a role that may read the schema `fhir`.
    order
        Makes business versions comparable: the highest is the newest.
    """

    def __init__(self, pool: asyncpg.Pool, order: Callable[[str], tuple[tuple[int, str], ...]]) -> None:
        self._pool = pool
        self._order = order

    async def find(self, names: Sequence[Name]) -> list[Stamp | None]:
        """Give what each name means now; None: there is nothing of that name.

        Of several with the same canonical URL and version, the one that was stored last is meant.
        """
        by_id = await self._by_id({(name.kind, name.id) for name in names if name.id is not None})
        by_url: dict[Name, Stamp] = {}
        for kind in KINDS:
            wanted = sorted(
                {name for name in names if name.kind == kind and name.url is not None},
                key=lambda name: (name.url, name.version or ""),
            )
            if wanted:
                by_url |= await self._by_url(kind, wanted)
        return [by_url.get(name) if name.id is None else by_id.get((name.kind, name.id)) for name in names]

    async def body(self, stamp: Stamp) -> bytes | None:
        """Give the JSON of that state; None if it is not there any more."""
        found = await self._pool.fetchval(
            f"""
            SELECT body FROM {table_of(stamp.type)}
            WHERE id = $1 AND version = $2 AND superseded_by IS NULL AND NOT deleted
            """,  # noqa: S608
            stamp.id,
            stamp.version,
        )
        return None if found is None else bytes(found)

    async def _by_id(self, names: set[tuple[str, str]]) -> dict[tuple[str, str], Stamp]:
        if not names:
            return {}
        kinds, ids = zip(*sorted(names), strict=True)
        rows = await self._pool.fetch(
            """
            SELECT r.type, r.id, r.version FROM unnest($1::text[], $2::text[]) AS n (kind, id)
            JOIN fhir.resources r ON r.type = n.kind AND r.id = n.id
            WHERE r.superseded_by IS NULL AND NOT r.deleted
            """,
            list(kinds),
            list(ids),
        )
        return {(row["type"], row["id"]): Stamp(row["type"], row["id"], row["version"]) for row in rows}

    async def _by_url(self, kind: str, names: Sequence[Name]) -> dict[Name, Stamp]:
        # From a URL's digest to before what follows it: with any version, or with none.
        rows = await self._pool.fetch(
            f"""
            SELECT n.place, r.id, r.version, r.seq
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (url, version, place)
            CROSS JOIN LATERAL (SELECT md5(n.url) || coalesce(md5(n.version), '') AS key) k
            JOIN {table_of(kind)} r ON fhir.canonical_key(r.body) COLLATE "C" >= k.key
                AND fhir.canonical_key(r.body) COLLATE "C" < k.key || 'g'
                AND r.superseded_by IS NULL AND NOT r.deleted
            """,  # noqa: S608
            [name.url for name in names],
            [name.version for name in names],
        )
        known: dict[Name, list[tuple[int, Stamp]]] = {}
        for row in rows:
            stamp = Stamp(kind, row["id"], row["version"])
            known.setdefault(names[row["place"] - 1], []).append((row["seq"], stamp))
        return {name: await self._newest(kind, several) for name, several in known.items()}

    async def _newest(self, kind: str, several: list[tuple[int, Stamp]]) -> Stamp:
        if len(several) == 1:
            return several[0][1]
        rows = await self._pool.fetch(
            f"""
            SELECT seq, convert_from(body, 'UTF8')::json -> 'version' AS version FROM {table_of(kind)}
            WHERE seq = ANY($1::bigint[])
            """,  # noqa: S608
            [seq for seq, _ in several],
        )
        versions = {row["seq"]: self._order(_text(row["version"])) for row in rows}
        return max(several, key=lambda each: (versions.get(each[0], ()), each[0]))[1]


def _text(raw: str | None) -> str:
    """Read a version; one that is no text is none."""
    version = None if raw is None else msgspec.json.decode(raw)
    return version if isinstance(version, str) else ""
