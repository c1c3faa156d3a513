"""What a file is called: `sluice_storage.catalogue.naming` makes each candidate safe."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from urllib.parse import unquote

from sluice_attacher.documents import Chosen
from sluice_storage.catalogue.naming import safe_name

_LAST_RESORT = "document"
# Types that the interpreter's own table, which must not vary from host to host, has not or has otherwise.
_EXTENSIONS = {
    "application/dicom": ".dcm",
    "application/fhir+json": ".json",
    "application/fhir+xml": ".xml",
    "application/hl7-cda+xml": ".xml",
    "application/hl7-v2": ".hl7",
    "text/x-hl7-ft": ".hl7",
    "application/xml": ".xml",
    "image/jpeg": ".jpg",
    "text/plain": ".txt",
}
_types = mimetypes.MimeTypes(filenames=())


def file_name(asked: str | None, chosen: Chosen, content_type: str | None) -> str:
    """Name a file: as the caller asked, else the attachment's title, else its URL's last segment.

    Without any of these that leaves something when it is made safe, it is the document's id with an extension
    for its media type (the import API's `items[].name`).
    """
    for candidate in _candidates(asked, chosen):
        name = safe_name(candidate)
        if name is not None:
            return name
    return (safe_name(chosen.document or "") or _LAST_RESORT) + extension_of(content_type)


def extension_of(content_type: str | None) -> str:
    """Give the usual extension for a media type with its dot, or nothing."""
    if content_type is None:
        return ""
    return _EXTENSIONS.get(content_type) or _types.guess_extension(content_type) or ""


def _candidates(asked: str | None, chosen: Chosen) -> Iterator[str]:
    if asked:
        yield asked
    if chosen.content.title:
        yield chosen.content.title
    if chosen.content.url:
        # The address's path alone: queries often carry signatures.
        path = chosen.content.url.partition("#")[0].partition("?")[0]
        scheme, _, rest = path.partition("://")
        yield unquote((rest.partition("/")[2] if rest else scheme).rstrip("/").rpartition("/")[2])
