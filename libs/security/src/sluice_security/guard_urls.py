"""Which URLs may be asked for: those under what an operator registered, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from yarl import URL

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure
from sluice_security.guard import is_loopback_host

_LONGEST = 8192
# Space, controls and the backslash, which browsers and some servers read as a slash.
_NEVER = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_USERINFO = re.compile(r"[^/?#]*//[^/?#]*@")
_DOTS = frozenset({".", ".."})
# How often a path is decoded by a server and what stands before it, at most.
_DECODED = 3


class UrlRefusedError(ValueError):
    """The text is no URL that may be asked for. The message says why, without the URL."""


def parse_url(text: str | URL) -> URL:
    """Read an absolute http or https URL, in the one spelling that everything else compares.

    Host in lower case, default port left out, dot segments resolved, fragment dropped.

    Raises
    ------
    UrlRefusedError
        Not such a URL, or one that readers may take apart differently: userinfo, backslashes, control
        characters, dot segments hidden behind percent signs or before path parameters.
    """
    if isinstance(text, str):
        if len(text) > _LONGEST:
            raise UrlRefusedError("longer than 8192 characters")
        if _NEVER.search(text):
            raise UrlRefusedError("holds spaces, control characters or backslashes")
        if _USERINFO.match(text):
            raise UrlRefusedError("carries userinfo")
        try:
            url = URL(text)
        except ValueError:
            raise UrlRefusedError("not a URL") from None
    else:
        url = text
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise UrlRefusedError("not an absolute http or https URL")
    if "@" in url.raw_authority:
        raise UrlRefusedError("carries userinfo")
    if url.port is None or not 0 < url.port < 65536 or "%" in url.raw_host:
        raise UrlRefusedError("has no usable host and port")
    if _hides_dots(url.raw_path):
        raise UrlRefusedError("hides dot segments")
    return url.with_fragment(None) if url.raw_fragment else url


def _hides_dots(path: str) -> bool:
    """Tell whether some server would find a dot segment in a path that has none in its plain spelling.

    Some decode it twice; some leave out path parameters (`/..;x/`, RFC 3986 section 3.3) before they resolve.
    """
    for _ in range(_DECODED):
        if "%" not in path and ";" not in path:
            return False
        path = unquote(path)
        if not _DOTS.isdisjoint(part.partition(";")[0] for part in re.split(r"[/\\]", path)):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Prefix:
    """A registered place: everything at or below one path of one origin."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str, *, loopback: bool = False) -> Prefix:
        """Read a registered base URL.

        Parameters
        ----------
        text
            An https URL without query; http too for this machine's own addresses if `loopback` is set.

        Raises
        ------
        UrlRefusedError
            It is not one. The text says why.
        """
        url = parse_url(text)
        if url.raw_query_string or "?" in text or "#" in text:
            raise UrlRefusedError("has a query or fragment")
        host, port = url.raw_host, url.port
        if host is None or port is None:
            raise UrlRefusedError("has no usable host and port")
        if is_loopback_host(host):
            if not loopback:
                raise UrlRefusedError("is on this machine, which the settings do not allow")
        elif url.scheme != "https":
            raise UrlRefusedError("is not https")
        return cls(url.scheme, host, port, url.raw_path.rstrip("/"))

    def covers(self, url: URL) -> bool:
        """Tell whether a URL that `parse_url` gave is at or below this place."""
        path = url.raw_path
        return (
            url.raw_host == self.host
            and url.scheme == self.scheme
            and url.port == self.port
            and path.startswith(self.path)
            and (len(path) == len(self.path) or path[len(self.path)] == "/")
        )

    @property
    def url(self) -> str:
        """The place as a URL, without a slash at its end."""
        return str(
            URL.build(scheme=self.scheme, host=self.host, port=self.port, path=self.path, encoded=True)
        )


def place_of(text: str, *, loopback: bool = False) -> Prefix:
    """Give the place that a URL is at, whatever its query; otherwise as `Prefix.parse`.

    Raises
    ------
    UrlRefusedError
        It may not be asked for. The text says why.
    """
    parse_url(text)
    return Prefix.parse(text.partition("#")[0].partition("?")[0], loopback=loopback)


class Allowlist:
    """The registered places that one request, and every redirect of it, must stay within."""

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        self.prefixes = tuple(prefixes)

    def check(self, text: str | URL, status: int | None = None) -> URL:
        """Give the URL, ready to be asked for.

        Raises
        ------
        SourceFailure
            `SOURCE_ADDRESS_REFUSED`: no registered place covers it. `status` is that of the answer that
            pointed there, if one did.
        """
        try:
            url = parse_url(text)
        except UrlRefusedError:
            raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED, status) from None
        for prefix in self.prefixes:
            if prefix.covers(url):
                return url
        raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED, status)
