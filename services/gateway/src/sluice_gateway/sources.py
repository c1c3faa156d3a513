"""Source servers, as operators register and change them."""

from __future__ import annotations

from datetime import UTC, datetime

from sluice_fhir.condition_store import Minute, Shown
from sluice_fhir.conditions import Bounds, Condition, pace, within
from sluice_fhir.source_auth import BackendServicesAuth, public_jwk, shown
from sluice_fhir.source_store import SourceExistsError, SourceStore
from sluice_fhir.sources import InvalidSourceError, Source, SourceChange, SourceDraft
from sluice_gateway.alerts import Alerts, Held
from sluice_gateway.holding_up import Conditions, fails
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.models.base import Listed
from sluice_gateway.models.sources import KeySet, SourceAlert, SourceHealth, SourceMinute, SourceShown
from sluice_gateway.problems import FieldProblem, Problem, invalid, not_found


def _problems(error: InvalidSourceError) -> Problem:
    return invalid([FieldProblem(problem.field, problem.text) for problem in error.problems])


class Sources:
    """The operators' API of sources.

    Parameters
    ----------
    store
        Where they are registered.
    conditions
        How they do.
    alerts
        What was noticed of them.
    hrefs
        Makes addresses.
    """

    def __init__(self, store: SourceStore, conditions: Conditions, alerts: Alerts, hrefs: Hrefs) -> None:
        self._store = store
        self._conditions = conditions
        self._alerts = alerts
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

    async def health(self, source: str) -> SourceHealth:
        """Give how a source does; Problem 404."""
        found = await self._found(source)
        told = health_of(found, await self._conditions.show(source))
        alert = await self._alerts.failing(source)
        return told if alert is None else told.model_copy(update={"alert": _alert(alert)})

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
            clients=list(source.clients),
            type_filters=source.type_filters,
            request_headers=list(source.request_headers),
            software=source.software,
            fhir_version=source.fhir_version,
            revision=source.revision,
        )


def _alert(held: Held) -> SourceAlert:
    return SourceAlert(
        noticed_on=datetime.fromtimestamp(held.at, UTC),
        seconds=held.seconds,
        failed=held.faults,
        ended_well=held.items,
    )


def health_of(source: Source, shown: Shown | None) -> SourceHealth:
    """Tell how a source does; None: nobody has called it yet."""
    told = SourceHealth(
        source=source.id,
        state="unused",
        at_once=source.max_concurrency,
        per_second=source.max_requests_per_second,
        registered_at_once=source.max_concurrency,
        registered_per_second=source.max_requests_per_second,
        held_until=None,
        usual_seconds=None,
        calls_per_second=0.0,
        processes=0,
        recent=[],
        alert=None,
    )
    if shown is None:
        return told
    condition, now = shown.condition, shown.now
    held = condition.held_until > now
    bounds = within(condition, Bounds(source.max_concurrency, source.max_requests_per_second))
    fields = {
        "state": _state(bounds, source, shown, held=held),
        "at_once": round(bounds.allowed, 1),
        "per_second": bounds.rate,
        "held_until": datetime.fromtimestamp(condition.held_until, UTC) if held else None,
        "usual_seconds": condition.usual,
        "calls_per_second": round(pace(condition, now), 2),
        "processes": shown.workers,
        "recent": [_minute(each) for each in shown.recent],
    }
    return told.model_copy(update=fields)


def _state(condition: Condition, source: Source, shown: Shown, *, held: bool) -> str:
    if held:
        return "held"
    if fails(shown):
        return "failing"
    slower = condition.rate is not None and condition.rate != source.max_requests_per_second
    return "slowed" if slower or condition.allowed < source.max_concurrency else "ok"


def _minute(each: Minute) -> SourceMinute:
    return SourceMinute(
        at=datetime.fromtimestamp(each.at, UTC),
        good=each.good,
        refused=each.refused,
        failed=each.failed,
        mean_seconds=each.seconds / each.answered if each.answered else None,
    )
