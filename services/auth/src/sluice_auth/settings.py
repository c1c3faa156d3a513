"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from sluice_auth.client_secrets import SHORTEST, usable_id
from sluice_auth.passwords import acceptable
from sluice_auth.people import fold_name
from sluice_auth.registration import Openness
from sluice_security.scopes import Scopes
from sluice_security.settings import SecretSettings, TlsSettings


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an http(s) address without query")
    return text.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_base_url)]


class KeySettings(SecretSettings):
    """What it takes to reach the store and open its keys, which are sealed under the secret."""

    postgres: str = Field(description="postgresql:// URL of role sluice_auth")
    key_days: float = Field(30.0, gt=0, description="how many days a key signs")
    key_lead: float = Field(600.0, ge=0, description="seconds a key is published before it signs")


class Settings(KeySettings, TlsSettings):
    """See each field; without a default it must be set."""

    listen: str = Field("127.0.0.1:8081", pattern=r"^.*:\d{1,5}$", description="host:port")
    issuer: BaseUrl = Field(description="this service's address as clients see it")
    public_url: BaseUrl = Field(description="the gateway's address as clients see it: tokens are for it")
    audiences: str = Field("", description="further resource servers' addresses, separated by spaces")
    pool: int = Field(8, ge=1, le=64, description="most connections to Postgres")
    token_lifetime: int = Field(300, ge=30, le=300, description="of access tokens, in seconds")
    registration: Openness = Field(Openness.OPEN, description="who may sign up: open, token or closed")
    registration_token: SecretStr = Field(
        SecretStr(""), description="the initial access token that `token` asks for"
    )
    client_scopes: str = Field(
        "bulk/import files/read files/write system/*.rs user/*.rs offline_access",
        description="the most that whoever signs up may have",
    )
    session_hours: float = Field(8.0, gt=0, le=24.0, description="how long a user stays signed in")
    refresh_days: float = Field(
        30.0, gt=0, le=365.0, description="how long a client may act for a user without asking again"
    )
    code_lifetime: float = Field(60.0, gt=0, le=60.0, description="of authorization codes, in seconds")
    bootstrap_operator: SecretStr = Field(
        SecretStr(""), description="client_id:secret of an operator's client to have from the start"
    )
    bootstrap_people: SecretStr = Field(
        SecretStr(""),
        description="people to have from the start, name:password or name:password:operator, spaces between",
    )
    dashboard: bool = Field(True, description="people may sign in at the gateway's page")
    loopback_sources: bool = Field(
        False, description="clients may have their key set on this machine, by http (development only)"
    )
    trusted_proxies: int = Field(0, ge=0, le=8, description="proxies that append to X-Forwarded-For")
    client_failures: int = Field(10, ge=1, description="failed authentications per client, address, minute")
    address_failures: int = Field(100, ge=1, description="failed authentications per address and minute")
    registrations: int = Field(600, ge=1, description="sign-ups per address and hour")

    @field_validator("client_scopes")
    @classmethod
    def _known_scopes(cls, value: str) -> str:
        Scopes.parse(value)
        return value

    @field_validator("bootstrap_operator")
    @classmethod
    def _usable_operator(cls, value: SecretStr) -> SecretStr:
        client_id, _, secret = value.get_secret_value().partition(":")
        if value.get_secret_value() and not (usable_id(client_id) and len(secret) >= SHORTEST):
            raise ValueError(
                f"must be client_id:secret, with a random secret of at least {SHORTEST} characters"
            )
        return value

    @field_validator("bootstrap_people")
    @classmethod
    def _usable_people(cls, value: SecretStr) -> SecretStr:
        for text in value.get_secret_value().split():
            name, _, more = text.partition(":")
            password, _, office = more.partition(":")
            if fold_name(name) is None or not acceptable(password) or office not in ("", "operator"):
                raise ValueError("must be name:password or name:password:operator, separated by spaces")
        return value

    @model_validator(mode="after")
    def _token_for_sign_up(self) -> Settings:
        given = len(self.registration_token.get_secret_value())
        if self.registration is Openness.TOKEN and given < SHORTEST:
            raise ValueError(f"SLUICE_REGISTRATION_TOKEN must have at least {SHORTEST} characters")
        return self

    @property
    def scopes(self) -> Scopes:
        """The most that whoever signs up may have; never an operator's."""
        return Scopes.parse(self.client_scopes).without("ops")

    @property
    def all_audiences(self) -> tuple[str, ...]:
        """Every resource server that tokens may be for; the gateway first."""
        return (self.public_url, *(text.rstrip("/") for text in self.audiences.split()))

    @property
    def people(self) -> list[tuple[str, str, bool]]:
        """Name and password of the people to have from the start, and whether they are operators."""
        told = [text.split(":") for text in self.bootstrap_people.get_secret_value().split()]
        return [(name, password, bool(rest)) for name, password, *rest in told]

    @property
    def operator(self) -> tuple[str, str] | None:
        """The bootstrap operator's client id and secret."""
        client_id, _, secret = self.bootstrap_operator.get_secret_value().partition(":")
        return (client_id, secret) if client_id else None
