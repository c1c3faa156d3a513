"""`_elements`: leaving out what was not asked for, without decoding what stays.

Bulk Data Access 2.0.0, "Query Parameters": only root elements; unlisted, non-mandatory ones are left out;
what is not whole is tagged SUBSETTED, so that nobody takes it for all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from sluice_exporter.mandatory import MANDATORY

# What makes a resource one, and what may change the meaning of the rest.
_ALWAYS = ("resourceType", "id", "meta", "implicitRules", "modifierExtension")
_TAG = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
}
# The types that an element may be a choice of, as they are written at the end of its name.
_CHOICES = frozenset(
    {
        *("Base64Binary", "Boolean", "Canonical", "Code", "Date", "DateTime", "Decimal", "Id", "Instant"),
        *("Integer", "Markdown", "Oid", "PositiveInt", "String", "Time", "UnsignedInt", "Uri", "Url", "Uuid"),
        *("Address", "Age", "Annotation", "Attachment", "CodeableConcept", "Coding", "ContactPoint", "Count"),
        *("Distance", "Duration", "HumanName", "Identifier", "Money", "Period", "Quantity", "Range", "Ratio"),
        *("Reference", "SampledData", "Signature", "Timing", "ContactDetail", "Contributor"),
        *("DataRequirement", "Expression", "ParameterDefinition", "RelatedArtifact", "TriggerDefinition"),
        *("Dosage", "Meta", "UsageContext"),
    }
)


class _Tag(Struct):
    system: str = ""
    code: str = ""


_SUBSETTED = _Tag(_TAG["system"], _TAG["code"])
_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_tags = msgspec.json.Decoder(list[Raw]).decode
_decode_tag = msgspec.json.Decoder(_Tag).decode
_encode = msgspec.json.Encoder().encode


def subset_of(type_: str, elements: Sequence[str]) -> Callable[[bytes], bytes] | None:
    """Give what leaves unlisted elements out of a line of this type; None if all of them stay.

    Parameters
    ----------
    elements
        `element`, for every type, or `Type.element`. Where all that is listed is about other types, this
        one's resources stay whole.
    """
    asked = {name for of, _, name in (each.rpartition(".") for each in elements) if of in ("", type_)}
    if not asked:
        return None
    roots = asked | set(MANDATORY.get(type_, ())) | set(_ALWAYS)
    known: dict[str, bool] = {}

    def subset(line: bytes) -> bytes:
        resource = _decode(line)
        kept: dict[str, object] = {}
        for name, value in resource.items():
            keep = known.get(name)
            if keep is None:
                keep = _stays(name, roots)
                if len(known) < 1000:
                    known[name] = keep
            if keep:
                kept[name] = value
        kept["meta"] = _tagged(resource.get("meta"))
        return _encode(kept)

    return subset


def _stays(name: str, roots: set[str]) -> bool:
    # What begins with an underscore says more about the primitive element of that name.
    plain = name.removeprefix("_")
    if plain in roots:
        return True
    return any(plain.startswith(root) and plain[len(root) :] in _CHOICES for root in roots)


def _tagged(meta: Raw | None) -> dict[str, object]:
    """Give the meta with the tag; tags of another shape than R4 gives them are passed on as they are."""
    found: dict[str, object] = dict(_read(_decode, meta, {}))
    held = found.get("tag")
    tags: list[object] = [] if held is None else list(_read(_decode_tags, held, [held]))
    if not any(_read(_decode_tag, tag, None) == _SUBSETTED for tag in tags):
        tags.append(_TAG)
    found["tag"] = tags
    return found


def _read(decode: Callable[[Any], Any], raw: object, otherwise: Any) -> Any:
    if raw is None:
        return otherwise
    try:
        return decode(raw)
    except msgspec.DecodeError:
        return otherwise
