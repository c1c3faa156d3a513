"""Looking at what could be exported: reading by id, and searching a type."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Iterable
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from sluice_fhir.stored import decoded
from sluice_gateway.auditing import note
from sluice_gateway.conditions import has_it
from sluice_gateway.fhir.outcomes import refused
from sluice_gateway.fhir.preferences import check_accept, lenient, listed, weight
from sluice_gateway.fhir.queries import MOST, parse_search
from sluice_gateway.fhir.routing import fhir_route
from sluice_gateway.routing import Answer, Call

TAG = "FHIR resources"
_ITEM = "/{type}/{id}"
_VERSION = _ITEM + "/_history/{vid}"
_MOST_FIELDS = 1000
_LENIENT = "`handling=lenient` goes on without parameters that are not understood."
# What every type has; its own parameters are R4's, which the CapabilityStatement lists.
_SEARCHED: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("_id", "query", "Ids, separated by commas.", {"type": "string"}),
    ("_count", "query", f"The most on a page, up to {MOST}.", {"type": "integer", "minimum": 0}),
    (
        "_summary",
        "query",
        "`count`: only how many there are.",
        {"type": "string", "enum": ["count", "false"]},
    ),
    ("Prefer", "header", _LENIENT, {"type": "string"}),
)
_JSON = frozenset({"application/fhir+json", "application/json", "application/json+fhir"})


async def read_resource(call: Call) -> Answer | web.Response:
    """Read a resource as it is now (R4 section 3.1.0.1), with its version as ETag.

    Operators (scope `ops/audit`) read the audit trail as AuditEvents.

    A Binary is given as what it holds, unless FHIR JSON is accepted (R4 section 2.37.4). What the token's
    scopes and grants do not let see does not exist: the answer is 404, as for what never was.
    """
    return await _shown(call)


async def read_version(call: Call) -> Answer | web.Response:
    """Read a resource by its version (vread, R4 section 3.1.0.2): the current one, for no other is told."""
    return await _shown(call, call.path["vid"])


async def head_resource(call: Call) -> Answer | web.Response:
    """Ask about a resource: the header fields that reading it gives, without the resource."""
    return await _shown(call)


async def head_version(call: Call) -> Answer | web.Response:
    """Ask about a resource by its version: the header fields that reading it gives, without the resource."""
    return await _shown(call, call.path["vid"])


async def _shown(call: Call, version: str | None = None) -> Answer | web.Response:
    type_, id_ = call.path["type"], call.path["id"]
    accepted = call.headers.getall(hdrs.ACCEPT, ())
    formats = call.request.query.getall("_format", ())
    as_content = type_ == "Binary" and not formats and not _wants_json(accepted)
    if not as_content:
        check_accept(accepted, formats)
    reading = call.gateway.reading
    if call.gateway.audit_trail.answers(call.principal, type_):
        stored = await call.gateway.audit_trail.read(id_, version)
    elif version is None:
        stored = await reading.read(call.principal, type_, id_)
    else:
        stored = await reading.read_version(call.principal, type_, id_, version)
    note(call.request, patients=tuple(sorted(stored.patients)) or None)
    headers: dict[str, str] = {
        hdrs.ETAG: f'W/"{stored.version}"',
        hdrs.LAST_MODIFIED: format_datetime(stored.updated, usegmt=True),
        hdrs.CACHE_CONTROL: "private, no-cache",
        hdrs.VARY: "Accept, Authorization",
    }
    if has_it(call.request, (headers[hdrs.ETAG],), stored.updated):
        return Answer(status=304, headers=headers)
    if as_content:
        return await _content(stored.body or b"{}", headers)
    return Answer(stored.body, headers=headers)


async def search_resources(call: Call) -> Answer:
    """Search a type: by `_id`, by any search parameter of R4's for the type, page by page (`_count`).

    With the scope `ops/audit` a search of AuditEvent is one of the audit trail, the newest first, by `date`,
    `type`, `subtype`, `action`, `outcome`, `agent`, `address`, `entity` and `patient`.

    A page may have fewer than were asked for, and still a link to the next one: looking goes on there. How
    many there are (`_summary=count`) is told for searches by `_id` and for those without parameters.
    """
    return await _found(call, call.request.query.items())


async def search_resources_by_form(call: Call) -> Answer:
    """Search a type by the fields of a form (R4 section 3.1.1.2), which are in nobody's logs.

    Parameters in the address count as well. Links to further pages are addresses as of a search by GET.
    """
    try:
        fields = parse_qsl(call.raw.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:  # no UTF-8, or too many
        fields = [("\0", "")]
    if any("\0" in text for pair in fields for text in pair):
        raise refused(400, "structure", f"The body must be a form in UTF-8 of at most {_MOST_FIELDS} fields.")
    return await _found(call, [*call.request.query.items(), *fields])


async def _found(call: Call, pairs: Iterable[tuple[str, str]]) -> Answer:
    given = list(pairs)
    formats = [text for name, text in given if name == "_format"]
    check_accept(call.headers.getall(hdrs.ACCEPT, ()), formats)
    if call.gateway.audit_trail.answers(call.principal, call.path["type"]):
        told, bundle, count = await call.gateway.audit_trail.search(
            given, lenient=lenient(call.headers.getall("Prefer", ()))
        )
        note(call.request, parameters=told.names, items=count)
        return Answer(bundle)
    view = await call.gateway.searching.permit(call.principal, call.path["type"])
    query = parse_search(call.path["type"], given, lenient=lenient(call.headers.getall("Prefer", ())))
    found = await call.gateway.searching.search(view, query)
    note(
        call.request,
        parameters=query.names,
        patients=tuple(sorted(found.patients)) or None,
        items=found.count,
    )
    return Answer(found.bundle)


def _wants_json(accepted: list[str] | tuple[()]) -> bool:
    return any(name in _JSON and weight(parameters) > 0 for name, parameters in listed(accepted))


async def _content(body: bytes, headers: dict[str, str]) -> web.Response:
    """Give what a Binary holds; never as something that a browser would run here."""
    binary = decoded(body)
    held = None if binary is None else binary.get("data", "")
    data = await asyncio.to_thread(_bytes, held)
    if binary is None or data is None:
        text = "The content cannot be read. Send Accept: application/fhir+json to get it as it is kept."
        raise refused(406, "processing", text)
    return web.Response(
        body=data,
        headers={
            **headers,
            hdrs.CONTENT_TYPE: _sound_type(binary.get("contentType")),
            hdrs.CONTENT_DISPOSITION: "attachment",
            "Content-Security-Policy": "sandbox; default-src 'none'",
        },
    )


def _bytes(data: Any) -> bytes | None:
    """Decode Base64; None for what is none."""
    try:
        return b64decode(data, validate=True)
    except (TypeError, ValueError):
        return None


def _sound_type(text: Any) -> str:
    """Give a content type that is fit to be a header; what is not is just bytes."""
    sound = type(text) is str and 0 < len(text) <= 255 and text.isascii() and text.isprintable()
    return text if sound and "/" in text else "application/octet-stream"


_READ = (404, 406, 410)
ROUTES = (
    fhir_route("GET", _VERSION, read_version, "Read a resource by its version", TAG, errors=_READ),
    fhir_route(
        "HEAD", _VERSION, head_version, "Ask about a resource by its version", TAG, {200: None}, errors=_READ
    ),
    fhir_route("GET", _ITEM, read_resource, "Read a resource", TAG, errors=_READ),
    fhir_route("HEAD", _ITEM, head_resource, "Ask about a resource", TAG, {200: None}, errors=_READ),
    fhir_route(
        "GET",
        "/{type}",
        search_resources,
        "Search a type",
        TAG,
        errors=(403, 404, 406),
        parameters=tuple(
            {"name": name, "in": place, "required": False, "description": text, "schema": schema}
            for name, place, text, schema in _SEARCHED
        ),
    ),
    fhir_route(
        "POST",
        "/{type}/_search",
        search_resources_by_form,
        "Search a type by a form",
        TAG,
        body=dict,
        reads_body=True,
        form=True,
        example={"_id": "1,2", "_count": "50"},
        errors=(403, 404, 406),
    ),
)
