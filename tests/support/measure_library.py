"""Measures, Libraries and ELM for tests, as small as they can be."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from sluice_fhir.measures.artifacts import BundledArtifacts, look_up
from sluice_fhir.measures.requirements import Requirements, find_requirements

BASE = "http://example.org/ig"
MEASURE = f"{BASE}/Measure/M"
Json = dict[str, Any]


def retrieve(type_: str, path: str | None = None, codes: Json | None = None, **more: Any) -> Json:
    node: Json = {"type": "Retrieve", "dataType": "{http://hl7.org/fhir}" + type_, **more}
    if path is not None:
        node |= {"codeProperty": path}
    if codes is not None:
        node |= {"codes": codes}
    return node


def in_value_set(name: str, library: str | None = None) -> Json:
    return {"type": "ValueSetRef", "name": name} | ({"libraryName": library} if library else {})


def ref(name: str, library: str | None = None, kind: str = "ExpressionRef") -> Json:
    return {"type": kind, "name": name} | ({"libraryName": library} if library else {})


def call(name: str, *operands: Json, library: str | None = None) -> Json:
    return ref(name, library, "FunctionRef") | {"operand": list(operands)}


def elm(
    name: str,
    statements: dict[str, Any],
    *,
    includes: Mapping[str, tuple[str, str | None]] | None = None,
    value_sets: dict[str, str] | None = None,
    more: Json | None = None,
    version: str = "1.0.0",
) -> Json:
    """ELM of statements by name; a list is a function's overloads."""
    definitions = [
        {"name": each, "expression": body}
        for each, bodies in statements.items()
        for body in (bodies if isinstance(bodies, list) else [bodies])
    ]
    return {
        "library": {
            "identifier": {"id": name, "system": BASE, "version": version},
            "schemaIdentifier": {"id": "urn:hl7-org:elm", "version": "r1"},
            "includes": {
                "def": [
                    {"localIdentifier": local, "path": path, **({"version": wanted} if wanted else {})}
                    for local, (path, wanted) in (includes or {}).items()
                ]
            },
            "valueSets": {"def": [{"name": each, "id": id_} for each, id_ in (value_sets or {}).items()]},
            "statements": {"def": definitions},
            **(more or {}),
        }
    }


def library(
    content: Json | bytes | None, name: str | None = None, version: str = "1.0.0", **more: Any
) -> Json:
    """A Library with this ELM; bytes are taken as they are, before base64."""
    if isinstance(content, dict):
        name = name or content["library"]["identifier"]["id"]
        version = content["library"]["identifier"].get("version", version)
        content = json.dumps(content).encode()
    attachments: list[Json] = [{"contentType": "text/cql", "data": "bGlicmFyeSBY"}]
    if content is not None:
        attachments.append(
            {"contentType": "application/elm+json", "data": base64.b64encode(content).decode()}
        )
    return {
        "resourceType": "Library",
        "id": name,
        "url": f"{BASE}/Library/{name}",
        "version": version,
        "name": name,
        "content": attachments,
    } | more


def measure(*libraries: str, **more: Any) -> Json:
    return {
        "resourceType": "Measure",
        "id": "M",
        "url": MEASURE,
        "version": "1.0.0",
        "library": list(libraries),
    } | more


def value_set(id_: str) -> Json:
    return {"resourceType": "ValueSet", "id": id_.rpartition("/")[2], "url": id_}


def bundle(*resources: Json, type_: str = "collection") -> bytes:
    entries = [{"resource": each} for each in resources]
    return json.dumps({"resourceType": "Bundle", "type": type_, "entry": entries}).encode()


def artifacts(*resources: Json) -> BundledArtifacts:
    return BundledArtifacts.of(bundle(*resources))


def requirements(*resources: Json, measure_url: str = MEASURE) -> Requirements:
    return look_up(find_requirements(measure_url), artifacts(*resources))


def needed(found: Requirements) -> set[tuple[str, str | None, str | None]]:
    """Types, paths, and value sets or codes (`system|code,…`), but for the Patient that always comes."""
    plain: set[tuple[str, str | None, str | None]] = set()
    for each in found.requirements:
        if each.type == "Patient" and not each.code_filter:
            continue
        if not each.code_filter:
            plain.add((each.type, None, None))
        for one in each.code_filter:
            codes = ",".join(f"{code.system}|{code.code}" for code in one.code)
            plain.add((each.type, one.path, one.value_set or codes))
    return plain


def of_statements(statements: dict[str, Any], **more: Any) -> set[tuple[str, str | None, str | None]]:
    """What a measure of one library with these statements needs."""
    text = elm("Main", statements, **more)
    return needed(requirements(measure(f"{BASE}/Library/Main|1.0.0"), library(text)))
