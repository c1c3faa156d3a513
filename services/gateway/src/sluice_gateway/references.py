"""Which texts are the address of a DocumentReference.

The address is checked by a grammar of its own, narrower than RFC 3986, before anything else reads it: two
readers of one URL that differ over an escape, a dot segment or a backslash are how a check is passed and
another host is asked. FHIR R4 sections 2.21.0.1 (ids) and 3.1.0.1.4 (vread) give the shape of the path.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

LONGEST = 2048
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])"
_SEGMENT = r"[A-Za-z0-9_~!$&'()*+,;=:@.-]+"
_ID = r"[A-Za-z0-9.-]{1,64}"
_ABSOLUTE = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://")
_USERINFO = re.compile(r"[A-Za-z]+://[^/?#]*@")
_REFERENCE = re.compile(
    rf"[Hh][Tt][Tt][Pp][Ss]?://{_HOST}(?::(?P<port>[0-9]{{1,5}}))?(?P<base>(?:/{_SEGMENT})*)"
    rf"/DocumentReference/(?P<id>{_ID})(?:/_history/(?P<version>{_ID}))?"
)


def checked_reference(uri: str) -> str:
    """Give `uri` as it is, if it is the absolute address of a DocumentReference or one of its versions.

    Raises
    ------
    ValueError
        It is not; the text is the rule it breaks.
    """
    if len(uri) > LONGEST:
        raise ValueError(f"must be at most {LONGEST} characters")
    match = _REFERENCE.fullmatch(uri)
    if match is None:
        raise ValueError(_broken_rule(uri))
    segments = [*match["base"].split("/"), match["id"], match["version"]] if "/." in uri else ()
    if any(segment in {".", ".."} for segment in segments):
        raise ValueError("must not have dot segments")
    if match["port"] is not None and not 0 < int(match["port"]) < 65536:
        raise ValueError("must have a port from 1 to 65535")
    return uri


def _broken_rule(uri: str) -> str:
    """Say what is wrong with an address that does not have the form."""
    if not _ABSOLUTE.match(uri):
        return "must be an absolute http or https URI"
    if _USERINFO.match(uri):
        return "must not carry a user name or password"
    if "?" in uri or "#" in uri:
        return "must not have a query or fragment"
    return "must end in DocumentReference/{id} or DocumentReference/{id}/_history/{version}"


DocumentReferenceUri = Annotated[
    str,
    AfterValidator(checked_reference),
    WithJsonSchema(
        {
            "type": "string",
            "format": "uri",
            "maxLength": LONGEST,
            "pattern": "/DocumentReference/[A-Za-z0-9.-]{1,64}(/_history/[A-Za-z0-9.-]{1,64})?$",
            "description": "Absolute address of a DocumentReference on a registered source server.",
            "examples": ["https://hapi.fhir.org/baseR4/DocumentReference/44765605"],
        }
    ),
]
"""The address of a DocumentReference as a request carries it."""
