"""Every change that breaks readers or old records is found, and none that does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sluice_contracts.compatibility import breaks
from sluice_contracts.schemas import schemas

OLD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"enum": ["Told"]},
        "job": {"type": "string", "maxLength": 100},
        "count": {"type": "integer", "minimum": 0, "maximum": 10},
        "share": {"type": "number"},
        "stage": {"$ref": "#/$defs/Stage"},
        "status": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5, "default": []},
        "about": {"$ref": "#/$defs/About"},
        "more": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["type", "job", "count", "stage"],
    "$defs": {
        "Stage": {"enum": ["fetch", "attach"]},
        "About": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "within": {"$ref": "#/$defs/About"}},
            "required": ["name"],
        },
    },
}

BREAKING: dict[str, tuple[str, Any]] = {
    "a field is removed": ("properties.share", None),
    "a required field is removed": ("properties.count", None),
    "a field is made required": ("required", ["type", "job", "count", "stage", "share"]),
    "a new field is required": ("required", ["type", "job", "count", "stage", "new"]),
    "a field is not always there any more": ("required", ["type", "job", "count"]),
    "a type is another": ("properties.count", {"type": "string"}),
    "a number becomes whole": ("properties.share", {"type": "integer"}),
    "a whole number becomes any": ("properties.count.type", "number"),
    "null is no longer allowed": ("properties.status", {"type": "integer", "default": None}),
    "null is added": ("properties.job", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "a value of an enumeration is removed": ("$defs.Stage.enum", ["fetch"]),
    "the type's own name changes": ("properties.type.enum", ["Said"]),
    "a text is limited to some": ("properties.job", {"enum": ["a", "b"]}),
    "a text becomes shorter": ("properties.job.maxLength", 50),
    "a text gets a least length": ("properties.job.minLength", 1),
    "a text gets a pattern": ("properties.job.pattern", "^a"),
    "a number's most is lowered": ("properties.count.maximum", 9),
    "a number's least is raised": ("properties.count.minimum", 1),
    "a list becomes shorter": ("properties.tags.maxItems", 4),
    "a list's entries are others": ("properties.tags.items", {"type": "integer"}),
    "a default changes": ("properties.tags.default", ["x"]),
    "a field within is removed": ("$defs.About.properties.within", None),
    "a field within is made required": ("$defs.About.required", ["name", "within"]),
    "further fields are of another type": ("properties.more.additionalProperties", {"type": "string"}),
    "further fields are refused": ("additionalProperties", False),
}

HARMLESS: dict[str, tuple[str, Any]] = {
    "nothing": ("type", "object"),
    "a new optional field": ("properties.new", {"type": "string"}),
    "a new value of an enumeration": ("$defs.Stage.enum", ["fetch", "scrape", "attach"]),
    "a longer text": ("properties.job.maxLength", 200),
    "a greater number": ("properties.count.maximum", 11),
    "other words": ("description", "Told."),
    "the same by another name": (
        "properties.about",
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "within": {"$ref": "#/$defs/About"}},
            "required": ["name"],
        },
    ),
}


def changed(path: str, value: Any) -> dict[str, Any]:
    new = copy.deepcopy(OLD)
    *steps, last = path.split(".")
    place = new
    for step in steps:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return new


@pytest.mark.parametrize("change", BREAKING)
def test_what_breaks_is_found(change: str) -> None:
    assert breaks(OLD, changed(*BREAKING[change]))


@pytest.mark.parametrize("change", HARMLESS)
def test_what_breaks_nobody_is_let_pass(change: str) -> None:
    assert breaks(OLD, changed(*HARMLESS[change])) == []


def test_what_breaks_is_told_by_its_place() -> None:
    assert breaks(OLD, changed(*BREAKING["a text becomes shorter"])) == ["$.job: maxLength is 50"]


@pytest.mark.parametrize("name", schemas())
def test_every_field_of_every_message_is_kept(name: str) -> None:
    schema = schemas()[name]
    assert breaks(schema, schema) == []
    for field in schema["properties"]:
        lost = copy.deepcopy(schema)
        del lost["properties"][field]
        assert f"$.{field}: is removed" in breaks(schema, lost)
