"""Which piece gets which: the service is put together here, once, from its settings and its store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from urllib.parse import urlsplit

from aiohttp import web

from sluice_auth.app import Part, make_app
from sluice_auth.authentication import Authenticator, Limits
from sluice_auth.authorization import AuthorizationService
from sluice_auth.client_secrets import digest
from sluice_auth.code_grants import AuthorizationCode, RefreshToken
from sluice_auth.consents import ConsentService
from sluice_auth.grants import ClientCredentials, Grant, TokenService
from sluice_auth.guarded_keys import check_address
from sluice_auth.handlers.authorize import AuthorizeHandlers, Browsing
from sluice_auth.handlers.browser import Cookies, FormProof, Pages
from sluice_auth.handlers.consents import ConsentHandlers
from sluice_auth.handlers.discovery import DiscoveryHandlers, DocumentHandlers
from sluice_auth.handlers.registration import RegistrationHandlers
from sluice_auth.handlers.token import TokenHandlers
from sluice_auth.keyring import PURPOSE, Keyring, Schedule
from sluice_auth.model import GrantType
from sluice_auth.openapi import api
from sluice_auth.passwords import Passwords
from sluice_auth.ports import KeyStore, Store
from sluice_auth.registration import Openness, Policy, RegistrationService
from sluice_auth.remote_keys import Fetch, RemoteKeys
from sluice_auth.revocation import Judge, RevocationService
from sluice_auth.sessions import Attempts, SessionService
from sluice_auth.settings import KeySettings, Settings
from sluice_auth.throttle import Throttle
from sluice_openapi.document import written
from sluice_security.callers import Origins
from sluice_security.sealing import Seal
from sluice_telemetry.health import HealthEndpoints

# Two processes' clocks, and a request that is under way.
_MARGIN = 120.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Service:
    """The service, ready to serve once its keys are read."""

    app: web.Application
    keyring: Keyring


@cache
def _document() -> str:
    return written(api())


def make_keyring(settings: KeySettings, keys: KeyStore, *, now: Clock) -> Keyring:
    """Make the keyring, without reading it yet."""
    schedule = Schedule(period=settings.key_days * 86_400.0, lead=settings.key_lead, keep=300.0 + _MARGIN)
    return Keyring(keys, Seal(settings.secrets, PURPOSE), schedule=schedule, now=now)


def assemble(
    settings: Settings,
    store: Store,
    keys: KeyStore,
    *,
    now: Clock,
    monotonic: Clock,
    fetch: Fetch,
    passwords: Passwords | None = None,
    ready: Callable[[], bool | str] = lambda: True,
    away: tuple[type[Exception], ...] = (),
) -> Service:
    """Put the service together.

    Parameters
    ----------
    now, monotonic
        The wall clock (Unix seconds), and a clock for limits.
    fetch
        Reads a key set that a client registered by its address.
    passwords
        Hashes them; by default at their full cost.
    ready
        True, or why the service cannot do its work now.
    away
        See `sluice_auth.app.make_app`.
    """
    keyring = make_keyring(settings, keys, now=now)
    authenticator = _authenticator(settings, store, RemoteKeys(fetch, monotonic=monotonic), now, monotonic)
    tokens = TokenService(
        store,
        authenticator,
        keyring,
        grants=_grants(settings, now),
        issuer=settings.issuer,
        audiences=settings.all_audiences,
        lifetime=settings.token_lifetime,
        now=now,
    )
    judge = Judge(keyring, settings.issuer, settings.all_audiences, now)
    origins = Origins(settings.trusted_proxies)
    parts: list[Part] = [
        TokenHandlers(tokens, RevocationService(store, authenticator, judge, now=now), origins),
        RegistrationHandlers(_registration(settings, store, now, monotonic), origins, settings.issuer),
        DiscoveryHandlers(
            keyring,
            settings.issuer,
            settings.scopes,
            registration=settings.registration is not Openness.CLOSED,
        ),
        DocumentHandlers(_document()),
        HealthEndpoints(ready),
        *_for_people(settings, store, passwords or Passwords(), origins, now=now, monotonic=monotonic),
    ]
    return Service(make_app(parts, origins=origins, away=away), keyring)


def _grants(settings: Settings, now: Clock) -> dict[GrantType, Grant]:
    return {
        GrantType.CLIENT_CREDENTIALS: ClientCredentials(),
        GrantType.AUTHORIZATION_CODE: AuthorizationCode(
            lifetime=float(settings.token_lifetime),
            refresh_lifetime=settings.refresh_days * 86_400.0,
            now=now,
        ),
        GrantType.REFRESH_TOKEN: RefreshToken(now=now),
    }


def _for_people(
    settings: Settings,
    store: Store,
    passwords: Passwords,
    origins: Origins,
    *,
    now: Clock,
    monotonic: Clock,
) -> tuple[Part, ...]:
    attempts = Attempts(
        name=Throttle(settings.client_failures, 60.0, now=monotonic),
        address=Throttle(settings.address_failures, 60.0, now=monotonic),
    )
    sessions = SessionService(
        store, passwords, attempts=attempts, lifetime=settings.session_hours * 3_600.0, now=now
    )
    authorizations = AuthorizationService(
        store,
        issuer=settings.issuer,
        audiences=settings.all_audiences,
        code_lifetime=settings.code_lifetime,
        now=now,
    )
    base = urlsplit(settings.issuer).path.rstrip("/")
    browsing = Browsing(
        Pages(base),
        Cookies(settings.issuer),
        FormProof(settings.secrets, settings.issuer),
        base,
        settings.refresh_days,
    )
    return (
        AuthorizeHandlers(authorizations, sessions, browsing, origins),
        ConsentHandlers(ConsentService(store, now=now), sessions, browsing),
    )


def _authenticator(
    settings: Settings, store: Store, keys: RemoteKeys, now: Clock, monotonic: Clock
) -> Authenticator:
    limits = Limits(
        client=Throttle(settings.client_failures, 60.0, now=monotonic),
        address=Throttle(settings.address_failures, 60.0, now=monotonic),
    )
    return Authenticator(
        store, token_url=f"{settings.issuer}/oauth/token", fetched=keys, limits=limits, now=now
    )


def _registration(settings: Settings, store: Store, now: Clock, monotonic: Clock) -> RegistrationService:
    policy = Policy(
        openness=settings.registration,
        scopes=settings.scopes,
        lifetime=float(settings.token_lifetime),
        initial_token=digest(settings.registration_token.get_secret_value()),
    )
    return RegistrationService(
        store,
        policy,
        attempts=Throttle(settings.registrations, 3_600.0, now=monotonic),
        check_address=partial(check_address, loopback=settings.loopback_sources),
        now=now,
    )
