"""What can go wrong, in words to show: every error says what happened and what to do about it."""

from __future__ import annotations


def sentences(message: str, advice: str) -> str:
    """Put what happened and what to do about it on one line; a list of fields has no full stop of its own."""
    if advice and message and message[-1] not in ".!?:":
        message += "."
    return f"{message} {advice}".strip()


class SluiceError(Exception):
    """Any failure of a call; `str(error)` is one line for people.

    Parameters
    ----------
    message
        What happened.
    advice
        What to do about it.
    """

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(sentences(message, advice))
        self.message = message
        self.advice = advice


class ApiError(SluiceError):
    """The service refused a request.

    Parameters
    ----------
    status
        The HTTP status.
    code
        The service's own word for it, stable, such as `not_found`.

    Attributes
    ----------
    location
        What the answer's `Content-Location` names: for an export that exists already (409), that one.
    """

    def __init__(self, status: int, code: str, message: str, advice: str = "") -> None:
        super().__init__(message, advice)
        self.status = status
        self.code = code
        self.location: str | None = None


class AuthenticationError(ApiError):
    """Who you are was not accepted, or you may not do this (401, 403, or no token could be had)."""


class NotFoundError(ApiError):
    """There is no such thing, or it is not yours (404)."""


class ThrottledError(ApiError):
    """The service kept asking to slow down (429).

    Parameters
    ----------
    after
        Seconds until it makes sense to try again, if the service said so.
    """

    def __init__(
        self, status: int, code: str, message: str, advice: str = "", after: float | None = None
    ) -> None:
        super().__init__(status, code, message, advice)
        self.after = after


class UnreachableError(SluiceError):
    """The service could not be reached, or broke off, after all attempts."""


class DownloadError(SluiceError):
    """A file's content is not what the service announced, or cannot be stored here."""


class ExportFolderError(SluiceError):
    """A folder holds another export than the one asked for, or cannot be used."""


class KeyFileError(SluiceError):
    """A file does not hold a key that can be used."""


class WaitTimeoutError(SluiceError):
    """A job had not finished in the time given; it goes on all the same."""


def api_error(
    status: int, code: str, message: str, advice: str | None = None, *, after: float | None = None
) -> ApiError:
    """Give the error that fits an answer's status; without `advice`, with the usual one."""
    if status in (401, 403):
        usual = "Check your credentials and scopes."
        return AuthenticationError(status, code, message, usual if advice is None else advice)
    if status == 429:
        return ThrottledError(status, code, message, "Try again later." if advice is None else advice, after)
    return (NotFoundError if status == 404 else ApiError)(status, code, message, advice or "")
