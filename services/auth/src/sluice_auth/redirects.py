"""Redirect addresses: which may be registered, which request's matches, and what is sent there.

RFC 6749 section 3.1.2, RFC 8252 sections 7.3 and 8.3, RFC 9700 section 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

# RFC 3986's characters alone: nothing that a browser would read otherwise than this server does.
_ADDRESS = re.compile(r"[A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]{1,2000}")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:]+\]")
_LOOPBACK = frozenset({"127.0.0.1", "[::1]"})
# What this server adds; an address that has one already would say two things.
_OURS = frozenset({"code", "state", "iss", "error", "error_description", "error_uri"})


def origin(uri: str) -> str:
    """Give scheme, host and port of a redirect address that is registered."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def policy_source(uri: str) -> str:
    """Write a registered address's origin as a source of a Content-Security-Policy (CSP 3 section 2.3.1).

    It has no way to write an IPv6 address, so that becomes the scheme.
    """
    parts = urlsplit(uri)
    return f"{parts.scheme}:" if "[" in parts.netloc else origin(uri)


def check_redirect(uri: str) -> None:
    """Refuse an address that people are not sent back to: https, or http on the user's own machine.

    Raises
    ------
    ValueError
        The text says why, without the address.
    """
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise ValueError("is malformed") from None
    host = _host(parts)
    if _ADDRESS.fullmatch(uri) is None or _HOST.fullmatch(host) is None or port == 0:
        raise ValueError("is malformed")
    if parts.username is not None or "@" in parts.netloc:
        raise ValueError("must not hold a user name")
    if any(part in (".", "..") for part in re.sub("%2e", ".", parts.path, flags=re.IGNORECASE).split("/")):
        raise ValueError("must not climb")
    if not _OURS.isdisjoint(name for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError("holds a parameter that is the server's to add")
    if parts.scheme != "https" and not (
        parts.scheme == "http" and (host in _LOOPBACK or host == "localhost")
    ):
        raise ValueError("must be https, or http to the user's own machine")


def matches(registered: Sequence[str], uri: str) -> bool:
    """Tell whether a request's address is one that is registered: character for character.

    But for the port at a loopback address, which a program on the user's machine learns only when it opens it
    (RFC 8252 section 7.3).
    """
    return uri in registered or any(_same_but_port(known, uri) for known in registered)


def is_loopback(uri: str) -> bool:
    """Tell whether whoever receives what is sent there is any program on the user's machine."""
    return urlsplit(uri).scheme == "http"


def with_parameters(uri: str, parameters: dict[str, str | None]) -> str:
    """Add what is told to the client; the address may have a query of its own."""
    told = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"{uri}{'&' if '?' in uri else '?'}{told}"


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2].lower().removesuffix(f":{parts.port}")


def _same_but_port(known: str, uri: str) -> bool:
    try:
        check_redirect(uri)
    except ValueError:
        return False
    one, other = urlsplit(known), urlsplit(uri)
    return _host(one) in _LOOPBACK and (one.scheme, _host(one), one.path, one.query) == (
        other.scheme,
        _host(other),
        other.path,
        other.query,
    )
