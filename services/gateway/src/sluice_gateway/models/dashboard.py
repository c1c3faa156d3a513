"""What the page for people is told about where it runs."""

from __future__ import annotations

from sluice_gateway.models.base import AnswerModel


class DashboardConfig(AnswerModel):
    """Which client the page is, and where people sign in."""

    client_id: str
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    management_endpoint: str
    redirect_uri: str
    scope: str
