"""What browsers are told and trusted with: pages, headers, cookies, and proof that a form is this server's.

Everything works without scripts, so none is allowed to run; nothing is loaded from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sluice_auth.client_secrets import draw
from sluice_auth.errors import OAuthError
from sluice_contracts.ids import Keys, derived

_HEADERS = {
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
    # Not `no-referrer`: browsers would then say `Origin: null` of this server's own forms.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "publickey-credentials-get=(), geolocation=(), camera=(), microphone=()",
}


class Pages:
    """Renders pages.

    Parameters
    ----------
    base
        The path of the issuer, before `/oauth`.
    """

    def __init__(self, base: str) -> None:
        self._templates = Environment(
            loader=PackageLoader("sluice_auth", "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        source, _, _ = self._templates.loader.get_source(self._templates, "style.css")  # type: ignore[union-attr]
        style_hash = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        self._policy = (
            f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none';"
            " frame-ancestors 'none'; form-action 'self'"
        )
        self._templates.globals.update(base=base, style=Markup(source))  # noqa: S704 - a file of this package

    def show(self, page: str, status: int = 200, *, leads_to: str = "", **values: Any) -> web.Response:
        """Give a page. `leads_to` is where its form's answer may redirect, as the policy's source."""
        return web.Response(
            text=self._templates.get_template(f"{page}.html").render(values),
            status=status,
            content_type="text/html",
            charset="utf-8",
            headers={**_HEADERS, "Content-Security-Policy": f"{self._policy} {leads_to}".rstrip()},
        )


def see_other(location: str) -> web.Response:
    """Send the browser elsewhere by GET: never 307, which would send a password along (RFC 9700 4.12)."""
    return web.Response(status=303, headers={**_HEADERS, "Location": location})


class Cookies:
    """The two cookies: whose session it is, and which browser was shown a sign-in form.

    Over https their names bind them to this host alone (`__Host-`), so that no neighbour can set them.
    """

    def __init__(self, issuer: str) -> None:
        self._secure = urlsplit(issuer).scheme == "https"
        prefix = "__Host-" if self._secure else ""
        self._session, self._form = f"{prefix}sluice-session", f"{prefix}sluice-form"

    def session(self, request: web.Request) -> str | None:
        """Give the session's id, as the browser has it."""
        return request.cookies.get(self._session) or None

    def form(self, request: web.Request) -> str | None:
        """Give what marks the browser that a sign-in form was shown to."""
        return request.cookies.get(self._form) or None

    def begin(self, response: web.Response, session: str, lifetime: float) -> None:
        """Let the browser keep a session."""
        self._set(response, self._session, session, int(lifetime))

    def mark(self, response: web.Response, mark: str) -> None:
        """Let the browser keep its mark until it is closed."""
        self._set(response, self._form, mark, None)

    def end(self, response: web.Response) -> None:
        """Let the browser forget the session."""
        self._set(response, self._session, "", 0)

    def _set(self, response: web.Response, name: str, value: str, max_age: int | None) -> None:
        response.set_cookie(
            name, value, path="/", httponly=True, samesite="Lax", secure=self._secure, max_age=max_age
        )


def _proof(key: bytes, cookie: str, purpose: str, then: str) -> str:
    said = f"{purpose}\0{cookie}\0{then}".encode("utf-8", "surrogatepass")
    return hmac.digest(key, said, "sha256").hex()


class FormProof:
    """Proves that a form was made by this server for this browser, to do this.

    Parameters
    ----------
    secrets
        The deployment's secrets, newest first, which keys are derived from.
    issuer
        Forms come from its origin.
    """

    def __init__(self, secrets: Keys, issuer: str, *, new_mark: Callable[[], str] = draw) -> None:
        self._keys = derived(secrets, b"sluice forms")
        parts = urlsplit(issuer)
        self._origin = f"{parts.scheme}://{parts.netloc}".lower()
        self.new_mark = new_mark

    def make(self, cookie: str, purpose: str, then: str = "") -> str:
        """Give the proof for a form that a browser with that cookie is shown."""
        return _proof(self._keys[0], cookie, purpose, then)

    def check(
        self, request: web.Request, proof: str | None, cookie: str | None, purpose: str, then: str = ""
    ) -> None:
        """Refuse a form that another site's page sent, or that was made for another browser or purpose.

        Raises
        ------
        OAuthError
            `access_denied`, 403.
        """
        origin = request.headers.get("Origin")
        elsewhere = origin is not None and origin.lower() != self._origin
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        given = (proof or "").encode("ascii", "replace").decode()
        made = cookie is not None and any(
            compare_digest(_proof(key, cookie, purpose, then), given) for key in self._keys
        )
        if elsewhere or site not in ("same-origin", "none") or not made:
            raise OAuthError("access_denied", "The form was not sent from this server's page.", 403)
