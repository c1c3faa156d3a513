"""Source servers, as operators register and change them."""

from __future__ import annotations

from sluice_fhir.source_auth import BackendServicesAuth, public_jwk, shown
from sluice_fhir.source_store import SourceExistsError, SourceStore
from sluice_fhir.sources import InvalidSourceError, Source, SourceChange, SourceDraft
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.models.base import Listed
from sluice_gateway.models.sources import KeySet, SourceShown
from sluice_gateway.problems import FieldProblem, Problem, invalid, not_found


def _problems(error: InvalidSourceError) -> Problem:
    return invalid([FieldProblem(problem.field, problem.text) for problem in error.problems])


class Sources:
    """The operators' API of sources.

    Parameters
    ----------
    store
        Where they are registered.
    hrefs
        Makes addresses.
    """

    def __init__(self, store: SourceStore, hrefs: Hrefs) -> None:
        self._store = store
        self._hrefs = hrefs

    async def create(self, draft: SourceDraft) -> SourceShown:
        """Register a source; Problem 400 or 409."""
        try:
            return self._show(await self._store.create(draft))
        except InvalidSourceError as error:
            raise _problems(error) from None
        except SourceExistsError:
            raise Problem(
                409, "source_exists", "A source with this base URL is registered.", "Change that one."
            ) from None

    async def list(self) -> Listed[SourceShown]:
        """Give all sources."""
        return Listed[SourceShown](items=[self._show(source) for source in await self._store.list()])

    async def get(self, source: str) -> SourceShown:
        """Give one source; Problem 404."""
        return self._show(await self._found(source))

    async def change(self, source: str, change: SourceChange) -> SourceShown:
        """Change a source; Problem 400 or 404."""
        try:
            changed = await self._store.update(source, change)
        except InvalidSourceError as error:
            raise _problems(error) from None
        if changed is None:
            raise not_found("source")
        return self._show(changed)

    async def delete(self, source: str) -> None:
        """Forget a source; Problem 404."""
        if not await self._store.delete(source):
            raise not_found("source")

    async def keys(self, source: str) -> KeySet:
        """Give the public keys we prove ourselves to a source with; Problem 404."""
        auth = (await self._found(source)).auth
        key = public_jwk(auth) if isinstance(auth, BackendServicesAuth) else None
        return KeySet(keys=[] if key is None else [key])

    async def _found(self, source: str) -> Source:
        found = await self._store.get(source)
        if found is None:
            raise not_found("source")
        return found

    def _show(self, source: Source) -> SourceShown:
        return SourceShown(
            href=self._hrefs.source(source.id),
            id=source.id,
            name=source.name,
            base_url=source.base_url,
            auth=shown(source.auth),
            max_requests_per_second=source.max_requests_per_second,
            max_concurrency=source.max_concurrency,
            scrape_schema=source.scrape_schema,
            attachment_prefixes=list(source.attachment_prefixes),
            content_types=list(source.content_types),
            enabled=source.enabled,
            software=source.software,
            fhir_version=source.fhir_version,
            revision=source.revision,
        )
