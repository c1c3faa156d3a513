"""For machines and developers: health, metrics, the OpenAPI document and its page."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sluice_gateway.models.account import Health
from sluice_gateway.problems import not_found
from sluice_gateway.routing import Answer, Call, Route

TAG = "Operations"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
_ASSETS = {
    "start.js": "docs/start.js",
    "swagger-ui.css": "swagger-ui/swagger-ui.css",
    "swagger-ui-bundle.js": "swagger-ui/swagger-ui-bundle.js",
}
# Everything the page needs is served from here: it works without the internet, and nothing else may load.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'{more}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def livez(_call: Call) -> Answer:
    """Tell that the process answers."""
    return Answer(Health(status="ok", checks={}))


async def readyz(call: Call) -> Answer:
    """Tell whether everything the gateway needs answers: Postgres, Kafka, the authorization server."""
    checks = await call.gateway.health()
    ready = all(answer == "ok" for answer in checks.values())
    return Answer(Health(status="ok" if ready else "unavailable", checks=checks), 200 if ready else 503)


async def metrics(_call: Call) -> web.Response:
    """Give Prometheus its samples."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def openapi(call: Call) -> Answer:
    """Get this document."""
    return Answer(call.gateway.document, headers={"Cache-Control": "no-cache"})


def _static(name: str, elsewhere: str = "", **values: str) -> web.Response:
    """Give a file, with values in their places; `elsewhere` is where its scripts may read."""
    text = (files("sluice_gateway") / "static" / name).read_text("utf-8")
    for value, shown in values.items():
        text = text.replace(f"{{{{{value}}}}}", escape(shown))
    policy = _POLICY.format(more=f" {elsewhere}" if elsewhere else "")
    return web.Response(
        text=text,
        content_type=_TYPES[name[name.rindex(".") :]],
        charset="utf-8",
        headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"},
    )


async def docs(_call: Call) -> web.Response:
    """Read about the API and try it out."""
    return _static("docs/index.html", title="Sluice API", document="/openapi.json")


async def authorization_docs(call: Call) -> web.Response:
    """Read about the authorization server, in the document that it serves itself."""
    issuer = call.gateway.settings.issuer
    return _static(
        "docs/index.html",
        elsewhere="{0.scheme}://{0.netloc}".format(urlsplit(issuer)),
        title="Sluice authorization",
        document=f"{issuer}/oauth/openapi.json",
    )


async def docs_asset(call: Call) -> web.Response:
    """Get a part of the documentation page."""
    asset = _ASSETS.get(call.path["name"])
    if asset is None:
        raise not_found("page")
    return _static(asset)


ROUTES = (
    Route("GET", "/livez", livez, "Is it alive", TAG, {200: Health}),
    Route("GET", "/readyz", readyz, "Is it ready", TAG, {200: Health, 503: Health}),
    Route("GET", "/metrics", metrics, "Metrics", TAG, {200: str}, media="text/plain"),
    Route("GET", "/openapi.json", openapi, "This document", TAG, {200: dict}),
    Route("GET", "/docs", docs, "Documentation", TAG, {200: str}, media="text/html"),
    Route(
        "GET",
        "/docs/authorization",
        authorization_docs,
        "Documentation of the authorization server",
        TAG,
        {200: str},
        media="text/html",
    ),
    Route(
        "GET",
        "/docs/{name}",
        docs_asset,
        "Part of the documentation",
        TAG,
        {200: str},
        errors=(404,),
        media="text/javascript",
    ),
)
