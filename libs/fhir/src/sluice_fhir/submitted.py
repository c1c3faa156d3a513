"""What a submitter of data hands over for reading them: header fields and a key.

The fields are sent with requests for its manifests and files, which are encrypted with the key (Bulk Data
Access 4.0.0, ballot, "Manifest and File Security"). Both are secrets: between services they are sealed, bound
to their job.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from sluice_contracts.errors import ItemError
from sluice_contracts.ids import Keys
from sluice_fhir.source_auth import NoAuth
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from sluice_security.sealing import Seal, SealBrokenError

_PURPOSE = "submitted access"
_AUTHORIZATION = "authorization"
_LONGEST_VALUE = 4096
_VALUE = re.compile(r"[!-~](?:[\t -~]*[!-~])?")


class Submitted(Struct, frozen=True, kw_only=True):
    """What is to be sent along with requests for a manifest and its files, and what they are decrypted with.

    Parameters
    ----------
    headers
        Header fields, by their names in lower case.
    key
        The content encryption key, if manifest and files are encrypted.
    """

    headers: dict[str, str] = {}
    key: bytes | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __bool__(self) -> bool:
        return bool(self.headers) or self.key is not None

    def authorizing(self, source: Source) -> Source:
        """Give the source without its own credentials, if the submitter's take their place."""
        return msgspec.structs.replace(source, auth=NoAuth()) if _AUTHORIZATION in self.headers else source


NOTHING = Submitted()
_decode = msgspec.json.Decoder(Submitted).decode


class SubmittedSeal:
    """Seals what a submitter handed over, for its job.

    Parameters
    ----------
    secrets
        The deployment's secrets.
    """

    def __init__(self, secrets: Keys) -> None:
        self._seal = Seal(secrets, _PURPOSE)

    def close(self, submitted: Submitted, job: str) -> str | None:
        """Seal it as a text; None if it is nothing."""
        if not submitted:
            return None
        return base64.b64encode(self._seal.close(msgspec.json.encode(submitted), job)).decode()

    def open(self, sealed: str | None, job: str) -> Submitted:
        """Give back what was sealed for the job.

        Raises
        ------
        SourceFailure
            `SOURCE_AUTHORIZATION`: it does not open here, because the secret was replaced since.
        """
        if sealed is None:
            return NOTHING
        try:
            return _decode(self._seal.open(base64.b64decode(sealed, validate=True), job))
        except (SealBrokenError, binascii.Error, msgspec.DecodeError):
            raise SourceFailure(ItemError.SOURCE_AUTHORIZATION) from None


def permitted_headers(given: Iterable[tuple[str, str]], source: Source) -> dict[str, str]:
    """Give header fields by their names in lower case, if the source takes them from submitters.

    Raises
    ------
    ValueError
        In words that repeat no value: a name that its operators did not permit, or that is there twice; a
        value that is no header's.
    """
    found: dict[str, str] = {}
    for name, value in given:
        lower = name.lower()
        if lower not in source.request_headers:
            raise ValueError("its operators have not permitted a header field of this name for the source")
        if lower in found:
            raise ValueError("a header field is given twice")
        if len(value) > _LONGEST_VALUE or not _VALUE.fullmatch(value):
            raise ValueError("a value is not that of a header field")
        found[lower] = value
    return found


def sent_along(credentials: Mapping[str, str], submitted: Mapping[str, str]) -> Mapping[str, str]:
    """Join our credentials and the submitter's header fields, all of which stay at the first hop's origin."""
    return {**credentials, **submitted} if submitted else credentials
