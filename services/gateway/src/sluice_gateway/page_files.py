"""The page's files, as browsers get them: below an address with their content's hash, compressed once.

The page is plain JavaScript modules and a style sheet; nothing builds it. The address that the modules are
below holds a hash of all of them: browsers keep them for good and never mix two versions.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urlsplit

from aiohttp import hdrs, web

ASSETS = "/dashboard/assets"
_WORTH_PACKING = 1_000
_FOR_GOOD = "public, max-age=31536000, immutable"
_FIELDS = {
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file: its bytes, the same packed if that is worth it, and its content type."""

    data: bytes
    packed: bytes | None
    kind: str

    @classmethod
    def of(cls, name: str, data: bytes) -> PageFile:
        """Make it of a file's content."""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        packed = gzip.compress(data, mtime=0) if len(data) > _WORTH_PACKING else None
        return cls(data, packed, kind)

    def answer(self, request: web.Request, fields: Mapping[str, str]) -> web.Response:
        """Give it as a response, packed for whoever takes that."""
        packed = self.packed if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "") else None
        response = web.Response(body=packed or self.data, headers={**fields, hdrs.VARY: hdrs.ACCEPT_ENCODING})
        response.content_type = self.kind
        if self.kind.startswith("text/"):
            response.charset = "utf-8"
        if packed is not None:
            response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        return response


class PageFiles:
    """The page and its parts.

    Parameters
    ----------
    issuer
        The authorization server's address: the one other place that the page may talk to.
    """

    def __init__(self, issuer: str) -> None:
        folder = files("sluice_gateway") / "static" / "dashboard"
        read = {part.name: part.read_bytes() for part in folder.iterdir()}
        template = read.pop("index.html").decode()
        digest = hashlib.sha256()
        for name in sorted(read):
            digest.update(f"{name}\0{len(read[name])}\0".encode() + read[name])
        self.version = digest.hexdigest()[:16]
        self._parts = {name: PageFile.of(name, data) for name, data in read.items()}
        # All modules at once, instead of each when another is found to import it.
        preloads = "\n    ".join(
            f'<link rel="modulepreload" href="{ASSETS}/{self.version}/{name}">'
            for name in sorted(read)
            if name.endswith(".js")
        )
        page = template.replace("{{assets}}", f"{ASSETS}/{self.version}").replace("{{preloads}}", preloads)
        self._page = PageFile.of("index.html", page.encode())
        authority = "{0.scheme}://{0.netloc}".format(urlsplit(issuer))
        self._policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            f"connect-src 'self' {authority}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )

    def page(self, request: web.Request) -> web.Response:
        """Give the page itself, which is asked for anew each time."""
        fields = {**_FIELDS, "Content-Security-Policy": self._policy, hdrs.CACHE_CONTROL: "no-cache"}
        return self._page.answer(request, fields)

    def part(self, request: web.Request, version: str, name: str) -> web.Response | None:
        """Give one of its parts; None if there is no such."""
        found = self._parts.get(name)
        if found is None or version != self.version:
            return None
        return found.answer(request, {hdrs.CACHE_CONTROL: _FOR_GOOD})
