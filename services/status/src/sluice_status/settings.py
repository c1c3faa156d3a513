"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """See each field; without a default it must be set."""

    model_config = SettingsConfigDict(env_prefix="SLUICE_")

    kafka: str = Field(description="bootstrap servers, host:port[,…]")
    postgres: str = Field(description="postgresql:// URL of role sluice_status")
    health: str = Field("", description="host:port of /livez, /readyz and /metrics; empty: none")
    batch: int = Field(10_000, ge=1, le=100_000, description="most events in one transaction")
    state_interval: float = Field(2.0, ge=0, description="seconds between two states told of a running job")
