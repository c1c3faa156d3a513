"""Makes the table of search parameters of HL7's definitions: `python -m support.resource_search_table JAR`.

The jar is hapi-fhir-validation-resources-r4, which holds the R4 definitions as one Bundle. How the table is
written is said in `sluice_fhir.search_table`.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUNDLE = "org/hl7/fhir/r4/model/sp/search-parameters.json"
_RESOLVED = re.compile(r"\.where\(resolve\(\) is (\w+)\)")
_WHERE = re.compile(r"\.where\((\w+)='([^']+)'\)")
_CAST = re.compile(r"\((\w[\w.]*) as (\w+)\)")
_AS = re.compile(r"\.as\((\w+)\)")
_INDEX = re.compile(r"\[(\d+)\]")
_PATH = re.compile(r"\w+(\[\w+\]|\{\w+\}|\(\w+=[\w-]+\)|#\d+)?(\.\w+(\[\w+\]|\{\w+\}|\(\w+=[\w-]+\)|#\d+)?)*")
# "Patient.deceased.exists() and Patient.deceased != false" is a path of its own here.
_DECEASED = "Patient.deceased.exists() and Patient.deceased != false"

# Slips of R4's: a type that is not written so, and two components that name each other's definition.
_CORRECTED = {
    ".;token:code;date:value[DateTime]|value[Period]": ".;token:code;date:value[dateTime]|value[Period]",
    "relatesTo;reference:code;token:target": "relatesTo;token:code;reference:target",
}


def alternatives(expression: str) -> list[str]:
    """Split an expression at the unions outside of parentheses."""
    found, depth, start = [], 0, 0
    for place, character in enumerate(expression):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            found.append(expression[start:place])
            start = place + 1
    return [each.strip() for each in (*found, expression[start:])]


def path_of(expression: str, base: str) -> str | None:
    """Give one alternative in the table's form, None if it is of another type."""
    if expression == _DECEASED:
        return "deceased#true" if base == "Patient" else None
    text = _INDEX.sub(r"#\1", expression)
    text = _WHERE.sub(r"(\1=\2)", _RESOLVED.sub(r"{\1}", _AS.sub(r"[\1]", _CAST.sub(r"\1[\2]", text))))
    if text.startswith(f"{base}."):
        text = text.removeprefix(f"{base}.")
    elif text == base:
        return "."
    elif text[0].isupper():
        return None
    if not _PATH.fullmatch(text):
        raise ValueError(expression)
    return text


def rows(bundle: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Give type, name, kind and path of every parameter."""
    resources = {entry["resource"]["url"]: entry["resource"] for entry in bundle["entry"]}
    for resource in resources.values():
        for base in resource["base"]:
            expression = resource.get("expression") or "none"
            paths = [path_of(each, base) for each in alternatives(expression)]
            path = "|".join(sorted({each for each in paths if each}))
            if resource["type"] == "composite":
                path += "".join(
                    f";{resources[part['definition']]['type']}:{composite_path(part['expression'])}"
                    for part in resource["component"]
                )
            # Parameters without an element are for servers that index texts.
            if path != "none":
                yield base, resource["code"], resource["type"], _CORRECTED.get(path, path)


def composite_path(expression: str) -> str:
    """Give the path of a composite's component, from the composite's own element on."""
    found = []
    for each in alternatives(expression):
        own = each.removeprefix("%resource.")
        found.append(("%" if own != each else "") + str(path_of(own, "")))
    return "|".join(found)


def table(bundle: dict[str, Any]) -> str:
    """Give the table's text."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for base, name, kind, path in rows(bundle):
        grouped.setdefault((name, kind, path), []).append(base)
    return "".join(
        "\t".join((*key, " ".join(sorted(types)))) + "\n" for key, types in sorted(grouped.items())
    )


def read_bundle(jar: Path) -> dict[str, Any]:
    """Read HL7's definitions."""
    with zipfile.ZipFile(jar) as archive:
        bundle: dict[str, Any] = json.loads(archive.read(BUNDLE))
    return bundle


if __name__ == "__main__":
    sys.stdout.write(table(read_bundle(Path(sys.argv[1]))))
